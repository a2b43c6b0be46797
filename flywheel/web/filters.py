"""Which items a page is about: the filter of the queue, in an address and out of it.

Query strings in, `ItemFilter` out; the one idea is that a filter travels along as text, so that
reviewing goes on with what was filtered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TypeVar, get_args
from urllib.parse import parse_qsl, urlencode

from flywheel.errors import BadInput
from flywheel.queue import ItemFilter
from flywheel.records import ItemStatus, QueueReason
from flywheel.safety import encodable
from flywheel.web.access import Actor, allows

Known = TypeVar("Known", ItemStatus, QueueReason)
PENDING = "pending"
ANY = "any"
_NAMES = ("status", "app", "reason", "metric", "day", "queue", "mine")


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter as it stands in an address; an empty text asks for nothing."""

    status: str = PENDING
    app: str = ""
    reason: str = ""
    metric: str = ""
    day: str = ""
    queue: str = ""
    mine: str = ""

    def query(self) -> str:
        """The filter as a query string, empty where it is the one that pages begin with."""
        said = [(name, getattr(self, name)) for name in _NAMES]
        return urlencode([pair for pair in said if pair[1] and pair != ("status", PENDING)])


def asked_of(fields: Mapping[str, str]) -> Asked:
    """The filter in these fields; others are left alone, and so is text that nothing can have."""
    said = {name: encodable(str(fields.get(name, "")))[:400] for name in _NAMES}
    return Asked(**{name: value.replace("\0", "") for name, value in said.items() if value})


def asked_in(query: str) -> Asked:
    """The filter in a query string that a form carried along."""
    return asked_of(dict(parse_qsl(query[:4_000])))


def filter_of(asked: Asked, actor: Actor) -> ItemFilter:
    """The filter for this person.

    Why an item was drawn would tell a blind reviewer what the judge thinks, so only those who
    manage the queue can ask for that. Raises BadInput on a status, reason or day that there is not.
    """
    manages = allows(actor.role, "manage")
    return ItemFilter(
        queue=asked.queue or None,
        app=asked.app or None,
        reason=_one_of(asked.reason, get_args(QueueReason), "reason") if manages else None,
        metric=(asked.metric or None) if manages else None,
        day=_day(asked.day),
        status=None
        if asked.status == ANY
        else _one_of(asked.status, get_args(ItemStatus), "status"),
        mine=actor.name if asked.mine else None,
    )


def _one_of(text: str, known: tuple[Known, ...], what: str) -> Known | None:
    if not text:
        return None
    for name in known:
        if name == text:
            return name
    raise BadInput(f"there is no {what} {text[:40]!r}; there are {', '.join(known)}")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadInput(f"{text[:40]!r} is no day; write it as 2026-03-31") from error
