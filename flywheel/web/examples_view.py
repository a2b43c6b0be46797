"""Examples that applications were served: which, how often, when last, and what is switched off.

Rows of `served_examples` and `example_switches` in, what the page shows out.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from flywheel.retrieval.switches import Switch, list_switches
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import decisions, served_examples, trace_documents

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class ServedExample:
    """An example as an application was served it; `similarity` is the mean cosine to requests."""

    app: str
    correction_id: str
    trace_id: str
    n_served: int
    n_conversations: int
    last_served: datetime
    similarity: float
    best_rank: int
    opening: str
    reason: str
    corrected_text: str
    is_off: bool


@dataclass(frozen=True, slots=True)
class ExamplesPage:
    """Some of what was served, the last first, how many match, and every switch that is off."""

    examples: list[ServedExample]
    n_matching: int
    n_all: int
    switches: list[Switch]
    apps: list[str]
    is_all_off: bool


def examples_page(ledger: Ledger, app: str, offset: int) -> ExamplesPage:
    """What was served to an application, or to all where `app` is empty."""
    served = served_examples.c
    grouped = (
        sa.select(
            *(served.app, served.correction_id, served.example_trace_id),
            sa.func.count().label("n"),
            sa.func.count(sa.distinct(served.trace_id)).label("n_conversations"),
            sa.func.max(served.served_at).label("last"),
            sa.func.avg(served.similarity).label("similarity"),
            sa.func.min(served.rank).label("rank"),
        )
        .group_by(served.app, served.correction_id, served.example_trace_id)
        .order_by(sa.desc("last"), served.correction_id, served.app)
    )
    wanted = grouped.where(served.app == app) if app else grouped
    switches = list_switches(ledger)
    off = {(one.scope, one.subject) for one in switches}
    with ledger.read() as connection:
        rows = connection.execute(wanted.limit(PAGE_SIZE).offset(offset)).all()
        n_all = _count(connection, grouped)
        n_matching = _count(connection, wanted) if app else n_all
        apps = list(connection.scalars(sa.select(served.app).distinct().order_by(served.app)))
        openings = _openings(connection, [row.example_trace_id for row in rows])
        said = _said(connection, [row.correction_id for row in rows])
    examples = [
        ServedExample(
            *(row.app, row.correction_id, row.example_trace_id, row.n, row.n_conversations),
            *(in_utc(row.last), row.similarity, row.rank),
            openings.get(row.example_trace_id, ""),
            *said.get(row.correction_id, ("", "")),
            bool({("example", row.correction_id), ("app", row.app), ("all", "")} & off),
        )
        for row in rows
    ]
    return ExamplesPage(examples, n_matching, n_all, switches, apps, ("all", "") in off)


def _count(connection: sa.Connection, grouped: "sa.Select[tuple[object, ...]]") -> int:
    counted = sa.select(sa.func.count()).select_from(grouped.order_by(None).subquery())
    return int(connection.execute(counted).scalar_one())


def _openings(connection: sa.Connection, trace_ids: list[str]) -> dict[str, str]:
    found = sa.select(trace_documents.c.trace_id, trace_documents.c.opening).where(
        trace_documents.c.trace_id.in_(trace_ids)
    )
    return {row.trace_id: row.opening for row in connection.execute(found)}


def _said(connection: sa.Connection, correction_ids: list[str]) -> dict[str, tuple[str, str]]:
    """What each decision says: its reason, and the better answer."""
    numbers = [int(one) for one in correction_ids if one.isdecimal() and len(one) < 18]
    found = sa.select(*decisions.c["decision_id", "reason", "corrected_text"]).where(
        decisions.c.decision_id.in_(numbers)
    )
    return {
        str(row.decision_id): (row.reason or "", row.corrected_text or "")
        for row in connection.execute(found)
    }
