"""A day's draw: the traces that are worth a person's time, and why, as items of the queue.

Judged traces of the warehouse in, items of the ledger out; the one idea is that the draw is by
hash. It can be run again and gives the same items, every trace could have been drawn, and an
estimate can undo the preference for bad and uncertain ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import sqlalchemy as sa

from flywheel.queue.filters import n_claimed, parts
from flywheel.queue.overdue import AGAINST, draw_overdue, keys_of, noted
from flywheel.queue.queues import QUEUE, UNDRAWN_QUEUES, UNDRAWN_REASONS, queue_named
from flywheel.settings import QueueSettings
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import item_metrics, queue_items
from flywheel.traces.documents import publish_documents

if TYPE_CHECKING:
    from flywheel.metrics import Metric

AUDIT = "random_audit"
# Of the targeted draw behind its floor, what goes to likely errors: they are what people repair,
# and the more of them, the less the estimate is worth.
LIKELY_SHARE = 0.25
ACTOR = "pipeline"
# What an item keeps of the verdict that it was drawn by last.
_OF_VERDICT = (
    *("probability", "judge_version", "judge_reason", "judge_reason_code"),
    *("evidence_turn", "similar"),
)

# What an item keeps of what a metric says of it.
_OF_METRIC = ("metric", "value", "label", "is_against", "is_questioned")

_Row: TypeAlias = Mapping[str, object]
_Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class QueueReport:
    """What was drawn of one day.

    `already_open` of it were items before; `superseded` are waiting items of earlier versions of
    the day's traces, that were declined for the version of now. `expected_items` is what the
    chances add up to. `expected_se` is the standard error of the day's weighted rate that they make
    the draw worth, and `uniform_se` that of as many traces drawn uniformly; both rest on a judge
    that is calibrated.
    """

    day: date
    pool: int
    drawn: int
    by_reason: dict[str, int]
    already_open: int
    superseded: int
    expected_items: float = 0.0
    expected_se: float | None = None
    uniform_se: float | None = None


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What the warehouse says of a day."""

    pool: int
    expected_items: float
    expected_se: float | None
    uniform_se: float | None
    items: list[_Row]
    # By version of a trace.
    against: Mapping[_Key, list[_Row]]
    changed: list[_Row]


def fill_queue(
    stores: Stores, settings: QueueSettings, day: date, metrics: Iterable["Metric"] = ()
) -> QueueReport:
    """Put the day's traces that are worth a person's time into the review queue.

    Of the eligible traces with a verdict, a uniform audit takes `daily_items * audit_share` and a
    targeted draw the rest, in expectation; each item keeps the probability that either took it, and
    that the audit did. The targeted draw goes where the error of the day's rate falls most, with a
    uniform floor and a share for likely errors. Drawn again with other verdicts, a waiting item
    keeps the larger of its probabilities, which is exact because its hash is the same. `metrics`
    say which of the day's scores by code speak against a trace, and which are overdue for a review
    of their own: `review_due_items` verdicts of each of those are drawn besides. A waiting item of
    an earlier version of a trace is declined. What somebody has on the desk, or does not wait, is
    never touched.

    Source: active statistical inference (Zrnic and Candès, 2403.03208).
    """
    drawn = _draw(stores, settings, day, metrics)
    # Who is given an item is to find the trace.
    publish_documents(stores, [_key(item) for item in drawn.items])
    with stores.ledger.begin() as ledger:
        known = _known_items(ledger, drawn.items)
        new = [item for item in drawn.items if _key(item) not in known]
        kept = [(known[_key(item)], item) for item in drawn.items if _key(item) in known]
        item_ids = _insert(ledger, new, day) | _refresh(ledger, kept)
        _note_metrics(ledger, item_ids, drawn.against)
        superseded = _supersede(ledger, drawn.changed, day)
    reasons = Counter(str(item["reason"]) for item in drawn.items)
    return QueueReport(
        day,
        drawn.pool,
        len(drawn.items),
        dict(sorted(reasons.items())),
        len(known),
        superseded,
        drawn.expected_items,
        drawn.expected_se,
        drawn.uniform_se,
    )


def queued_traces(ledger: Ledger) -> set[str]:
    """The ids of all traces that were ever drawn for people."""
    with ledger.read() as connection:
        return set(connection.scalars(sa.select(queue_items.c.trace_id)))


def _draw(
    stores: Stores, settings: QueueSettings, day: date, metrics: Iterable["Metric"]
) -> _Drawn:
    audit_items = settings.daily_items * settings.audit_share
    metrics = list(metrics)
    directed = [(m.name, AGAINST[m.direction]) for m in metrics if m.direction != "neutral"]
    names, labels = zip(*directed, strict=True) if directed else ((), ())
    directions = pa.table(
        {"metric": pa.array(names, pa.string()), "label": pa.array(labels, pa.string())}
    )
    with stores.warehouse.read() as connection:
        chances = connection.table(
            "queue/chances_of_day",
            day=day,
            items=settings.daily_items,
            audit_items=audit_items,
            uniform_floor=settings.uniform_floor,
            likely_share=LIKELY_SHARE,
        )
        with connection.given(chances=chances):
            (worth,) = connection.table("queue/expected_error").to_pylist()
            table = connection.table("queue/drawn_traces", day=day)
        late = draw_overdue(connection, chances, table, metrics, day, settings.review_due_items)
        items = [*map(late.with_chance, table.to_pylist()), *late.items]
        with connection.given(drawn=keys_of(items), directions=directions):
            flags = connection.table("queue/metrics_against", day=day).to_pylist()
        changed = connection.table("queue/changed_traces", day=day).to_pylist()
    against = defaultdict(list)
    for flag in flags:
        against[_key(flag)].append(flag)
    return _Drawn(**worth, items=items, against=noted(against, late), changed=changed)


def _key(row: _Row | sa.RowMapping) -> _Key:
    return str(row["trace_id"]), str(row["content_hash"])


def _known_items(ledger: sa.Connection, drawn: Sequence[_Row]) -> dict[_Key, sa.RowMapping]:
    """The items of these versions of traces, whatever queue they stand in by now.

    An item of a panel's, a complaint's or an engineer's is not of this draw, and is left alone.
    """
    wanted = {_key(item) for item in drawn}
    found = _locked_items(ledger, {trace_id for trace_id, _ in wanted})
    drawn_ones = [row for row in found if row["queue"] not in UNDRAWN_QUEUES]
    return {_key(row): row for row in drawn_ones if _key(row) in wanted}


def _locked_items(ledger: sa.Connection, trace_ids: Iterable[str]) -> list[sa.RowMapping]:
    """The items of all versions of these traces; nobody takes one until this transaction ends."""
    locked: list[sa.RowMapping] = []
    for part in parts(sorted(trace_ids)):
        found = sa.select(queue_items).where(queue_items.c.trace_id.in_(part))
        locked += ledger.execute(found.order_by(queue_items.c.item_id).with_for_update()).mappings()
    return locked


def _untouched(ledger: sa.Connection, items: Iterable[sa.RowMapping]) -> set[int]:
    """Which of these items wait and are on nobody's desk."""
    waiting = queue_items.c.status == "pending", n_claimed() == 0
    found: set[int] = set()
    for part in parts([item["item_id"] for item in items]):
        of_part = queue_items.c.item_id.in_(part)
        found.update(ledger.scalars(sa.select(queue_items.c.item_id).where(of_part, *waiting)))
    return found


def _insert(ledger: sa.Connection, items: Sequence[_Row], day: date) -> dict[_Key, int]:
    """Add these items; their numbers."""
    if not items:
        return {}
    queue = queue_named(ledger, QUEUE)
    same = {"queue": QUEUE, "day": day, "status": "pending", "queued_at": now()}
    rows = [
        dict(item) | same | {"reviewers_needed": queue.needs(str(item["trace_id"]))}
        for item in items
    ]
    added = queue_items.insert().returning(queue_items.c.item_id, sort_by_parameter_order=True)
    return dict(zip(map(_key, items), ledger.scalars(added, rows), strict=True))


def _refresh(ledger: sa.Connection, pairs: Sequence[tuple[sa.RowMapping, _Row]]) -> dict[_Key, int]:
    """Bring untouched items up to the verdicts of now; their numbers."""
    untouched = _untouched(ledger, [old for old, _ in pairs])
    rows = [
        {
            "known_item": old["item_id"],
            # What the audit drew once stays an audit.
            "reason": AUDIT if old["reason"] == AUDIT else new["reason"],
            "priority": old["priority"] if old["reason"] == AUDIT else new["priority"],
            "draw_probability": _larger("draw_probability", old, new),
            "audit_probability": _larger("audit_probability", old, new),
        }
        | {name: new[name] for name in _OF_VERDICT}
        for old, new in pairs
        if old["item_id"] in untouched
    ]
    if rows:
        is_known = queue_items.c.item_id == sa.bindparam("known_item")
        ledger.execute(queue_items.update().where(is_known), rows)
    return {_key(old): old["item_id"] for old, _ in pairs if old["item_id"] in untouched}


def _larger(chance: str, old: sa.RowMapping, new: _Row) -> float:
    """Of two draws by one hash; what was moved here undrawn has no chance of its own."""
    before = 0.0 if old["reason"] in UNDRAWN_REASONS else float(old[chance])
    return max(before, float(str(new[chance])))


def _note_metrics(
    ledger: sa.Connection, item_ids: Mapping[_Key, int], against: Mapping[_Key, Sequence[_Row]]
) -> None:
    """Replace what metrics say against these items."""
    for part in parts(list(item_ids.values())):
        ledger.execute(item_metrics.delete().where(item_metrics.c.item_id.in_(part)))
    rows = [
        {"item_id": item_id} | {name: flag[name] for name in _OF_METRIC}
        for key, item_id in item_ids.items()
        for flag in against.get(key, ())
    ]
    if rows:
        ledger.execute(item_metrics.insert(), rows)


def _supersede(ledger: sa.Connection, changed: Sequence[_Row], day: date) -> int:
    """Decline untouched items of versions that are no longer their trace's current one."""
    current = dict(map(_key, changed))
    items = _locked_items(ledger, current)
    old = [item for item in items if item["content_hash"] != current[item["trace_id"]]]
    superseded = sorted(_untouched(ledger, old))
    for part in parts(superseded):
        of_part = queue_items.update().where(queue_items.c.item_id.in_(part))
        ledger.execute(of_part.values(status="declined"))
    if superseded:
        record_action(ledger, ACTOR, "supersede", day.isoformat(), item_ids=superseded)
    return len(superseded)
