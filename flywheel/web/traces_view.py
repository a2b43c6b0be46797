"""The published traces as a list: the newest version of each, by what is asked for.

Rows of `trace_documents` in, a page of them out with how many match. The one idea is that the
ledger alone is read, in three statements whatever the number of traces.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound
from flywheel.safety import encodable
from flywheel.store.ledger import Ledger
from flywheel.store.tables import trace_documents

PAGE_SIZE = 50
# Applications that the filter offers.
MAX_APPS = 200
# An id that an address holds as it is.
_PLAIN = re.compile(r"[A-Za-z0-9._~:-]+")


@dataclass(frozen=True, slots=True)
class AskedTraces:
    """A filter as it stands in an address; an empty text asks for nothing."""

    app: str = ""
    day: str = ""
    session: str = ""
    text: str = ""

    def query(self) -> str:
        """The filter as a query string."""
        fields = (("app", self.app), ("day", self.day), ("session", self.session))
        return urlencode([pair for pair in (*fields, ("text", self.text)) if pair[1]])


@dataclass(frozen=True, slots=True)
class TraceRow:
    """A trace of the list; `opening` is what the user said first, in one line."""

    trace_id: str
    content_hash: str
    app: str
    day: date
    session_id: str
    n_messages: int
    opening: str

    @property
    def href(self) -> str:
        """The address of its page."""
        return trace_href(self.trace_id)


@dataclass(frozen=True, slots=True)
class TracePage:
    """Some of the traces that match, how many do, and how many there are at all."""

    traces: list[TraceRow]
    n_matching: int
    n_all: int


def trace_href(trace_id: str) -> str:
    """The address of the page of a trace."""
    # Dots are a way up, and what stands between must take a slash apart from a part of a name.
    is_plain = _PLAIN.fullmatch(trace_id) and trace_id not in (".", "..")
    return f"/traces/{trace_id}" if is_plain else f"/traces?{urlencode({'id': trace_id})}"


def list_traces(ledger: Ledger, asked: AskedTraces, offset: int = 0) -> TracePage:
    """The traces that match, the newest day and then the last published first.

    Raises BadInput where `day` is no day.
    """
    newest = [trace_documents.c[name].desc() for name in ("day", "published_at")]
    columns = trace_documents.c[tuple(TraceRow.__dataclass_fields__)]
    is_last = trace_documents.c.is_last
    wanted = sa.select(*columns).where(is_last, *_matching(asked))
    counted = sa.select(sa.func.count()).select_from(trace_documents).where(is_last)
    with ledger.read() as connection:
        page = wanted.order_by(*newest, trace_documents.c.trace_id).limit(PAGE_SIZE).offset(offset)
        rows = [TraceRow(*row) for row in connection.execute(page)]
        n_all = connection.execute(counted).scalar_one()
        matching = counted.where(*_matching(asked))
        n_matching = n_all if asked == AskedTraces() else connection.execute(matching).scalar_one()
    return TracePage(rows, n_matching, n_all)


def apps_of_traces(ledger: Ledger) -> list[str]:
    """The applications that have published traces."""
    apps = sa.select(trace_documents.c.app).distinct().order_by(trace_documents.c.app)
    with ledger.read() as connection:
        return list(connection.scalars(apps.limit(MAX_APPS)))


def last_version(ledger: Ledger, trace_id: str) -> str:
    """The content hash of the version of a trace that was published last; raises NotFound."""
    wanted = sa.select(trace_documents.c.content_hash).where(
        trace_documents.c.trace_id == trace_id, trace_documents.c.is_last
    )
    with ledger.read() as connection:
        found: str | None = connection.scalar(wanted)
    if found is None:
        raise NotFound("published trace", trace_id, None)
    return found


def _matching(asked: AskedTraces) -> list["sa.ColumnElement[bool]"]:
    columns: Any = trace_documents.c
    conditions = []
    if asked.app:
        conditions.append(columns.app == encodable(asked.app))
    if asked.session:
        conditions.append(columns.session_id == encodable(asked.session))
    if asked.day:
        conditions.append(columns.day == _day(asked.day))
    if asked.text:
        conditions.append(columns.opening.icontains(encodable(asked.text), autoescape=True))
    return conditions


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{text[:40]!r} is no day; write it as 2026-03-31") from None
