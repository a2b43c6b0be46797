"""Which items are meant, and what is true of them: conditions on rows of `queue_items`.

A filter in, SQL conditions out. The one idea is that what a list shows, what a bulk change touches
and what a reviewer may claim are told apart by the same few conditions. A decision stands unless a
row of the kind `undo` takes it back; a claim is live until its time is over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias, TypeVar

import sqlalchemy as sa

from flywheel.records import DecisionKind, ItemStatus, QueueReason
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import claims, decisions, item_metrics, queue_items

# Bound variables of one statement; SQLite allows 32,766.
_IN_LIMIT = 10_000

# Made once: an alias costs more than the statement it stands in.
_TAKEN_BACK = decisions.alias("taken_back")

Condition = sa.ColumnElement[bool]
# Known now, or bound each time that a statement made once is run.
Name: TypeAlias = str | sa.BindParameter[str]
Moment: TypeAlias = datetime | sa.BindParameter[datetime]
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Items of which all is true that is not None here.

    `mine` names a reviewer: what is assigned to them, on their desk, or decided by them.
    """

    queue: str | None = None
    app: str | None = None
    reason: QueueReason | None = None
    metric: str | None = None
    day: date | None = None
    status: ItemStatus | None = "pending"
    assigned_to: str | None = None
    mine: str | None = None


@dataclass(frozen=True, slots=True)
class FilterChoices:
    """What there is to filter by; days newest first, the others by name."""

    queues: list[str]
    apps: list[str]
    reasons: list[str]
    metrics: list[str]
    days: list[date]


def filter_choices(ledger: Ledger) -> FilterChoices:
    """The values that items have, whatever their status."""
    columns = queue_items.c["queue", "app", "reason", "day"]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).distinct()).all()
        metrics = connection.scalars(sa.select(item_metrics.c.metric).distinct()).all()
    return FilterChoices(
        sorted({row.queue for row in rows}),
        sorted({row.app for row in rows}),
        sorted({row.reason for row in rows}),
        sorted(metrics),
        sorted({row.day for row in rows}, reverse=True),
    )


def matching(wanted: ItemFilter) -> list[Condition]:
    """The conditions on an item that the filter stands for."""
    columns = ("queue", "app", "reason", "day", "status", "assigned_to")
    asked = [(queue_items.c[name], getattr(wanted, name)) for name in columns]
    conditions = [column == value for column, value in asked if value is not None]
    if wanted.metric is not None:
        flagged = sa.select(item_metrics.c.item_id).where(item_metrics.c.metric == wanted.metric)
        conditions.append(queue_items.c.item_id.in_(flagged))
    if wanted.mine is not None:
        conditions.append(_is_of(wanted.mine))
    return conditions


def not_undone() -> Condition:
    """Whether nobody took the decision back."""
    # By trace first: that is the index.
    return ~sa.exists().where(
        _TAKEN_BACK.c.trace_id == decisions.c.trace_id,
        _TAKEN_BACK.c.undoes == decisions.c.decision_id,
    )


def has_said(reviewer: Name, *kinds: DecisionKind) -> Condition:
    """Whether a row of one of these kinds, by this reviewer on the item's trace, stands."""
    said = sa.exists().where(
        *_on_the_item(), decisions.c.reviewer == reviewer, decisions.c.kind.in_(kinds), not_undone()
    )
    return said.correlate(queue_items)


def n_decided(besides: Name | None = None) -> "sa.ScalarSelect[int]":
    """How many people's decisions on the item's trace stand, `besides` not among them."""
    of_others = [] if besides is None else [decisions.c.reviewer != besides]
    counted = sa.select(sa.func.count(decisions.c.reviewer.distinct())).where(
        *_on_the_item(), decisions.c.kind == "decide", not_undone(), *of_others
    )
    return counted.correlate(queue_items).scalar_subquery()


def n_claimed(besides: Name | None = None, at: Moment | None = None) -> "sa.ScalarSelect[int]":
    """How many people have the item on their desk now, `besides` not among them."""
    of_others = [] if besides is None else [claims.c.reviewer != besides]
    counted = sa.select(sa.func.count()).where(
        claims.c.item_id == queue_items.c.item_id, is_live(at), *of_others
    )
    return counted.correlate(queue_items).scalar_subquery()


def is_live(at: Moment | None = None) -> Condition:
    """Whether the claim still counts, now or at that moment."""
    return claims.c.claimed_until > (now() if at is None else at)


def parts(keys: Sequence[_Key]) -> Iterator[Sequence[_Key]]:
    """The keys in as many pieces as it takes to bind each in one statement."""
    for start in range(0, len(keys), _IN_LIMIT):
        yield keys[start : start + _IN_LIMIT]


def _on_the_item() -> tuple[Condition, Condition]:
    return (
        decisions.c.trace_id == queue_items.c.trace_id,
        decisions.c.content_hash == queue_items.c.content_hash,
    )


def _is_of(reviewer: str) -> Condition:
    # Three sets, each by its own index, rather than three questions of every item.
    item = queue_items.alias("item")
    assigned = sa.select(item.c.item_id).where(item.c.assigned_to == reviewer)
    on_desk = sa.select(claims.c.item_id).where(claims.c.reviewer == reviewer, is_live())
    is_of_version = sa.and_(
        item.c.trace_id == decisions.c.trace_id, item.c.content_hash == decisions.c.content_hash
    )
    decided = (
        sa.select(item.c.item_id)
        .join(decisions, is_of_version)
        .where(
            decisions.c.reviewer == reviewer,
            decisions.c.kind.in_(("decide", "adjudicate")),
            not_undone(),
        )
    )
    return queue_items.c.item_id.in_(sa.union(assigned, on_desk, decided))
