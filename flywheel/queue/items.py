"""Items as a list or a page shows them: why each is there, who has it, how far it is.

Rows of the ledger in, `Item` out; the one idea is that the ledger alone is read, in a handful of
statements whatever the number of items.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from flywheel.errors import NotFound
from flywheel.queue.filters import Condition, ItemFilter, is_live, matching, n_decided
from flywheel.queue.queues import PANEL_QUEUE
from flywheel.records import ItemStatus, QueueReason
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import claims, item_metrics, queue_items, queues, trace_documents


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has an item on the desk, and until when, in UTC."""

    reviewer: str
    claimed_until: datetime


@dataclass(frozen=True, slots=True)
class ItemMetric:
    """A metric by code that speaks against a trace, or that is itself in question on it."""

    metric: str
    value: float | None
    label: str | None
    is_against: bool = True
    is_questioned: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A version of a trace in a queue.

    `probability` and the judge's words are those of the verdict that it was drawn by. `similar` are
    (correction_id, cosine), best first; `opening` is what the user said first, in one line, and
    empty where the trace has no document.
    """

    item_id: int
    queue: str
    trace_id: str
    content_hash: str
    app: str
    day: date
    reason: QueueReason
    priority: float
    draw_probability: float
    audit_probability: float
    probability: float | None
    judge_version: str | None
    judge_reason: str | None
    judge_reason_code: str | None
    evidence_turn: int | None
    similar: tuple[tuple[str, float], ...]
    status: ItemStatus
    assigned_to: str | None
    reviewers_needed: int
    queued_at: datetime
    is_blind: bool
    opening: str
    n_messages: int
    n_decided: int
    claims: tuple[Claim, ...]
    metrics: tuple[ItemMetric, ...]


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some of the items that match a filter, how many match, and how many there are at all."""

    items: list[Item]
    n_matching: int
    n_all: int


_STATUS = sa.select(queue_items.c.status).where(queue_items.c.item_id == sa.bindparam("item"))
_AT: "sa.BindParameter[datetime]" = sa.bindparam("at", type_=claims.c.claimed_until.type)
_Statements = tuple["sa.Select[Any]", "sa.Select[Any]", "sa.Select[Any]"]


def _reading(is_chosen: Callable[["sa.Column[Any]"], Condition]) -> _Statements:
    """What reads items: themselves, who has them on the desk, what speaks against them."""
    shown = (
        sa.select(
            *(queue_items.c[field.name] for field in fields(Item) if field.name in queue_items.c),
            sa.func.coalesce(queues.c.is_blind, sa.true()).label("is_blind"),
            sa.func.coalesce(trace_documents.c.opening, "").label("opening"),
            sa.func.coalesce(trace_documents.c.n_messages, 0).label("n_messages"),
            n_decided().label("n_decided"),
        )
        .outerjoin(queues, queues.c.name == queue_items.c.queue)
        .outerjoin(
            trace_documents,
            sa.and_(
                trace_documents.c.trace_id == queue_items.c.trace_id,
                trace_documents.c.content_hash == queue_items.c.content_hash,
            ),
        )
        .where(is_chosen(queue_items.c.item_id))
    )
    on_desk = (
        sa.select(claims)
        .where(is_chosen(claims.c.item_id), is_live(_AT))
        .order_by(claims.c.item_id, claims.c.claimed_at)
    )
    against = (
        sa.select(item_metrics)
        .where(is_chosen(item_metrics.c.item_id))
        .order_by(item_metrics.c.item_id, item_metrics.c.metric)
    )
    return shown, on_desk, against


# Made once: to make a statement costs more than to run it; and a list of one more than the one.
_OF_ONE = _reading(lambda item_id: item_id == sa.bindparam("item"))
_OF_MANY = _reading(lambda item_id: item_id.in_(sa.bindparam("item_ids", expanding=True)))


def list_items(ledger: Ledger, wanted: ItemFilter, limit: int = 50, offset: int = 0) -> ItemPage:
    """The items that match, the most urgent first, from `offset` on and at most `limit`."""
    counted = sa.select(sa.func.count()).select_from(queue_items)
    urgent = queue_items.c.priority.desc(), queue_items.c.item_id
    chosen = sa.select(queue_items.c.item_id).where(*matching(wanted)).order_by(*urgent)
    with ledger.read() as connection:
        item_ids = connection.scalars(chosen.limit(limit).offset(offset)).all()
        n_matching = connection.execute(counted.where(*matching(wanted))).scalar_one()
        n_all = connection.execute(counted).scalar_one()
        by_id = _items(connection, item_ids)
    return ItemPage([by_id[item_id] for item_id in item_ids], n_matching, n_all)


def get_item(ledger: Ledger, item_id: int) -> Item:
    """The item of this number; raises NotFound."""
    with ledger.read() as connection:
        found = _items(connection, [item_id] if 0 < item_id < 2**31 else [])
    if item_id not in found:
        raise NotFound("item", str(item_id), None)
    return found[item_id]


def status_of(ledger: Ledger, item_id: int) -> ItemStatus:
    """How far the item of this number is; raises NotFound."""
    with ledger.read() as connection:
        status: ItemStatus | None = connection.scalar(_STATUS, {"item": item_id})
    if status is None:
        raise NotFound("item", str(item_id), None)
    return status


def item_of_trace(ledger: Ledger, trace_id: str, content_hash: str) -> int | None:
    """The item of this version of a trace, where it was ever drawn."""
    of_version = sa.select(sa.func.min(queue_items.c.item_id)).where(
        queue_items.c.trace_id == trace_id, queue_items.c.content_hash == content_hash
    )
    with ledger.read() as connection:
        found = connection.scalar(of_version)
    return None if found is None else int(found)


def why_here(item: Item) -> list[str]:
    """Why somebody is asked to look at the item, in sentences with their numbers.

    For a blind queue it is one that tells nothing of what the judge, a metric or a person thinks.
    """
    if item.is_blind:
        return ["Drawn for review."]
    is_of_panel = item.queue == PANEL_QUEUE
    sentences = ["Reviewers disagree."] if item.status == "disputed" else []
    if is_of_panel:
        return [*sentences, _OF_PANEL[item.reason == "panel_audit"]]
    if item.reason == "random_audit":
        share = _share(item.audit_probability)
        sentences.append(f"Drawn at random, to measure the judge: {share} of that day's traces.")
    elif item.reason == "disputed":
        sentences.append("Tiers of the judge disagree.")
    elif item.reason == "complaint":
        sentences.append("A user complained.")
    elif item.reason == "picked":
        sentences.append("Somebody who manages the queue wants it looked at.")
    elif item.reason == "review_due":
        sentences.append(_of_overdue([m.metric for m in item.metrics if m.is_questioned]))
    sentences.append(_of_the_judge(item))
    return sentences + _of_metrics([metric.metric for metric in item.metrics if metric.is_against])


# Whether the panel agreed, and so an audit drew the item.
_OF_PANEL = {
    False: "A panel of judges is not of one mind.",
    True: "A panel of judges is of one mind; drawn at random, to see how often that is wrong.",
}


def _of_the_judge(item: Item) -> str:
    if item.probability is None:
        # What a person brought here may never have been judged.
        is_unasked = item.judge_version is None and item.reason in ("complaint", "picked")
        if is_unasked:
            return "The judge has said nothing of it."
        return "The judge's verdict could not be read."
    chance = _percent(item.probability)
    if item.reason == "uncertain" and 0.2 <= item.probability <= 0.8:
        return f"The judge is unsure: it puts the chance of a perceived error at {chance}."
    doubt = ", and may be wrong" if item.reason == "uncertain" else ""
    return f"The judge puts the chance of a perceived error at {chance}{doubt}."


def _of_metrics(names: Sequence[str]) -> list[str]:
    if len(names) < 2:
        return [f"The metric {name} speaks against it." for name in names]
    return [f"The metrics {', '.join(names[:-1])} and {names[-1]} speak against it."]


def _of_overdue(names: Sequence[str]) -> str:
    of = f" of {', '.join(names)}" if names else ""
    return f"The review{of} is overdue: say whether the metric is right here."


def _share(probability: float) -> str:
    if probability >= 1:
        return "all"
    return f"1 in {round(1 / probability)}" if 0 < probability <= 0.4 else _percent(probability)


def _percent(probability: float) -> str:
    if 0.01 <= probability <= 0.99:
        return f"{100 * probability:.0f} %"
    return "less than 1 %" if probability < 0.5 else "more than 99 %"


def _items(connection: sa.Connection, item_ids: Sequence[int]) -> dict[int, Item]:
    if not item_ids:
        return {}
    one = len(item_ids) == 1
    these: dict[str, object] = {"item": item_ids[0]} if one else {"item_ids": item_ids}
    shown, who, what = _OF_ONE if one else _OF_MANY
    rows = connection.execute(shown, these).mappings()
    on_desk = _by_item(connection.execute(who, these | {"at": now()}))
    against = _by_item(connection.execute(what, these))
    return {
        row["item_id"]: _item(row, on_desk[row["item_id"]], against[row["item_id"]]) for row in rows
    }


def _by_item(found: "sa.CursorResult[Any]") -> dict[int, list[sa.RowMapping]]:
    grouped = defaultdict(list)
    for row in found.mappings():
        grouped[row["item_id"]].append(row)
    return grouped


def _item(
    row: sa.RowMapping, on_desk: Sequence[sa.RowMapping], against: Sequence[sa.RowMapping]
) -> Item:
    held = [Claim(claim["reviewer"], in_utc(claim["claimed_until"])) for claim in on_desk]
    metrics = [ItemMetric(*(one[field.name] for field in fields(ItemMetric))) for one in against]
    similar = json.loads(row["similar"] or "[]")
    of_row: Mapping[str, Any] = dict(row) | {
        "queued_at": in_utc(row["queued_at"]),
        "similar": tuple((str(key), float(cosine)) for key, cosine in similar),
    }
    return Item(**of_row, claims=tuple(held), metrics=tuple(metrics))
