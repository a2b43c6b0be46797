"""What people are asked to look at: a day's traces, drawn with a known probability.

Judged traces of the warehouse in, items of the ledger out; the one idea is that the draw is by
hash. It can be run again and gives the same items, every trace could have been drawn, and an
estimate can undo the preference for bad and uncertain ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date

import pyarrow as pa
import sqlalchemy as sa

from flywheel.records import QueueReason
from flywheel.settings import QueueSettings
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import claims, queue_items

QUEUE = "review"
AUDIT = "random_audit"
# Bound variables of one statement; SQLite allows 32,766.
_IN_LIMIT = 10_000

_Item = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class QueueReport:
    """What was drawn of one day; `already_open` of it stood in the queue before."""

    day: date
    pool: int
    drawn: int
    by_reason: dict[str, int]
    already_open: int


@dataclass(frozen=True, slots=True)
class OpenItem:
    """A trace that waits for a person; `why` is the reason that the judge gave for its verdict."""

    item_id: int
    trace_id: str
    content_hash: str
    app: str
    day: date
    reason: QueueReason
    priority: float
    probability: float | None
    why: str


def fill_queue(stores: Stores, settings: QueueSettings, day: date) -> QueueReport:
    """Put the day's traces that are worth a person's time into the review queue.

    Of the eligible traces with a verdict, a uniform audit takes `daily_items * audit_share` and a
    targeted draw the rest, both in expectation; each item keeps the probability that either took
    it, and that the audit did. Drawn again with other verdicts, a waiting item keeps the larger of
    its probabilities, which is exact because its hash is the same; a claimed or finished item is
    never touched.

    Source: active statistical inference (Zrnic and Candès, 2403.03208).
    """
    audit_items = settings.daily_items * settings.audit_share
    with stores.warehouse.open() as connection:
        pool = connection.count("queue/pool_size", day=day)
        drawn = connection.table(
            "queue/drawn_traces",
            day=day,
            audit_items=audit_items,
            targeted_items=settings.daily_items - audit_items,
            uniform_floor=settings.uniform_floor,
        ).to_pylist()
    with stores.ledger.begin() as ledger:
        known = _known_items(ledger, drawn)
        _insert(ledger, [item for item in drawn if _key(item) not in known], day)
        _refresh(ledger, [(known[_key(item)], item) for item in drawn if _key(item) in known])
    reasons = Counter(str(item["reason"]) for item in drawn)
    return QueueReport(day, pool, len(drawn), dict(sorted(reasons.items())), len(known))


def open_items(stores: Stores, limit: int = 10) -> tuple[int, list[OpenItem]]:
    """How many items wait for a person, and the `limit` most urgent of them."""
    waiting = queue_items.c.status == "pending"
    count = sa.select(sa.func.count()).select_from(queue_items).where(waiting)
    urgent = (
        sa.select(queue_items)
        .where(waiting)
        .order_by(queue_items.c.priority.desc(), queue_items.c.item_id)
        .limit(limit)
    )
    with stores.ledger.begin() as ledger:
        total = ledger.execute(count).scalar_one()
        items = [dict(row) for row in ledger.execute(urgent).mappings()]
    columns = ("item_id", "day", "trace_id", "content_hash", "judge_version")
    wanted = pa.table({name: pa.array([item[name] for item in items]) for name in columns})
    with stores.warehouse.open() as connection, connection.given(items=wanted):
        why = {row[0]: str(row[1] or "") for row in connection.rows("queue/reasons_of_items")}
    own = [field.name for field in fields(OpenItem) if field.name != "why"]
    return total, [
        OpenItem(**{name: item[name] for name in own}, why=why[item["item_id"]]) for item in items
    ]


def queued_traces(ledger: Ledger) -> set[str]:
    """The ids of all traces that were ever put into the review queue."""
    with ledger.begin() as connection:
        found = connection.scalars(
            sa.select(queue_items.c.trace_id).where(queue_items.c.queue == QUEUE)
        )
        return set(found)


def _key(item: _Item) -> tuple[object, object]:
    return item["trace_id"], item["content_hash"]


def _known_items(
    ledger: sa.Connection, drawn: Sequence[_Item]
) -> dict[tuple[object, object], sa.RowMapping]:
    wanted = {_key(item) for item in drawn}
    trace_ids = sorted({str(item["trace_id"]) for item in drawn})
    known = {}
    for start in range(0, len(trace_ids), _IN_LIMIT):
        of_traces = sa.select(queue_items).where(
            queue_items.c.queue == QUEUE,
            queue_items.c.trace_id.in_(trace_ids[start : start + _IN_LIMIT]),
        )
        for row in ledger.execute(of_traces).mappings():
            if _key(row) in wanted:  # type: ignore[arg-type]
                known[_key(row)] = row  # type: ignore[arg-type]
    return known


def _insert(ledger: sa.Connection, items: Sequence[_Item], day: date) -> None:
    if items:
        same = {
            "queue": QUEUE,
            "day": day,
            "status": "pending",
            "reviewers_needed": 1,
            "queued_at": now(),
        }
        ledger.execute(queue_items.insert(), [dict(item) | same for item in items])


def _refresh(ledger: sa.Connection, pairs: Sequence[tuple[sa.RowMapping, _Item]]) -> None:
    rows = [
        {
            "known_item": old["item_id"],
            # What the audit drew once stays an audit.
            "reason": AUDIT if old["reason"] == AUDIT else new["reason"],
            "priority": old["priority"] if old["reason"] == AUDIT else new["priority"],
            "draw_probability": max(old["draw_probability"], new["draw_probability"]),
            "audit_probability": max(old["audit_probability"], new["audit_probability"]),
            "probability": new["probability"],
            "judge_version": new["judge_version"],
        }
        for old, new in pairs
    ]
    if rows:
        is_claimed = sa.exists().where(
            claims.c.item_id == queue_items.c.item_id, claims.c.claimed_until > now()
        )
        waiting = sa.and_(
            queue_items.c.item_id == sa.bindparam("known_item"),
            queue_items.c.status == "pending",
            ~is_claimed,
        )
        ledger.execute(queue_items.update().where(waiting), rows)
