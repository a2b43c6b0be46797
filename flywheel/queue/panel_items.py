"""What panels of judges hand to people: what they dispute, and an audit of what they agree on.

Rows of `panel_outcomes` in, items of the queue `panel` out; the one idea is that an item is worked
out from its outcome, so that one that a killed run did not add is added by the next.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from flywheel.queue.queues import PANEL_QUEUE, Queue, list_queues, queue_named, set_queue
from flywheel.records import QueueReason, unit_hash
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import panel_outcomes, queue_items
from flywheel.traces.documents import publish_documents

DISPUTED: QueueReason = "disputed"
PANEL_AUDIT: QueueReason = "panel_audit"
_ACTOR = "pipeline"


@dataclass(frozen=True, slots=True)
class PanelItems:
    """How many items were added, by why."""

    added: int
    by_reason: dict[str, int]


def queue_panel_items(stores: Stores, audit_share: float) -> PanelItems:
    """Add an item for each outcome that people are to look at and that has none yet.

    An item's chance is that of its trace to be given to the panel, times `audit_share` for an
    audit. A trace that has changed since, or that people have decided on, is left out.
    """
    waiting = _without_item(stores.ledger)
    wanted = pa.table(
        {
            "trace_id": pa.array([row.trace_id for row in waiting], pa.string()),
            "content_hash": pa.array([row.content_hash for row in waiting], pa.string()),
        }
    )
    with stores.warehouse.read() as connection, connection.given(wanted=wanted):
        found = connection.table("queue/panel_items").to_pylist()
    publish_documents(stores, [(row["trace_id"], row["content_hash"]) for row in found])
    outcomes = {(row.trace_id, row.content_hash): row for row in waiting}
    items = [
        row | _drawn(outcomes[row["trace_id"], row["content_hash"]], audit_share) for row in found
    ]
    _insert(stores.ledger, items)
    reasons = Counter(str(item["reason"]) for item in items)
    return PanelItems(len(items), dict(sorted(reasons.items())))


def _without_item(ledger: Ledger) -> list["sa.Row[Any]"]:
    """Outcomes for people that are no item of the panel's queue."""
    is_item = sa.and_(
        queue_items.c.trace_id == panel_outcomes.c.trace_id,
        queue_items.c.content_hash == panel_outcomes.c.content_hash,
        sa.or_(
            queue_items.c.queue == PANEL_QUEUE,
            # Somebody moved it.
            queue_items.c.reason.in_((DISPUTED, PANEL_AUDIT)),
        ),
    )
    for_people = sa.or_(panel_outcomes.c.perceived_error.is_(None), panel_outcomes.c.is_audited)
    wanted = (
        sa.select(panel_outcomes)
        .where(for_people, ~sa.exists().where(is_item))
        .order_by(*panel_outcomes.c["trace_id", "content_hash"])
    )
    with ledger.read() as connection:
        return list(connection.execute(wanted))


def _drawn(outcome: "sa.Row[Any]", audit_share: float) -> dict[str, object]:
    is_audit = outcome.perceived_error is not None
    share = min(1.0, audit_share) if is_audit else 1.0
    return {
        "reason": PANEL_AUDIT if is_audit else DISPUTED,
        "priority": 1 - unit_hash(outcome.trace_id, "priority"),
        "draw_probability": outcome.draw_probability * (share or 1.0),
        # It is no uniform audit of the judge: that one has a draw of its own.
        "audit_probability": 0.0,
    }


def _insert(ledger: Ledger, items: list[dict[str, Any]]) -> None:
    if not items:
        return
    if PANEL_QUEUE not in {queue.name for queue in list_queues(ledger)}:
        set_queue(ledger, Queue(PANEL_QUEUE), _ACTOR)
    with ledger.begin() as connection:
        queue = queue_named(connection, PANEL_QUEUE)
        same = {"queue": PANEL_QUEUE, "status": "pending", "queued_at": now()}
        for item in items:
            needed = {"reviewers_needed": queue.needs(str(item["trace_id"]))}
            connection.execute(queue_items.insert(), item | same | needed)
