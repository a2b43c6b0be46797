"""Complaints: traces of which an end user says that they were bad, for people to look at.

What stands of the feedback in, items of the queue `complaints` out. The one idea is that a
complaint is no draw: every one becomes an item, so that its chance is 1, in a queue of its own that
the estimates leave out as they do a panel's. They say how often the judge errs where users
complain, and nothing of where they do not. A trace that the day's draw takes as well has an item
of that, with that draw's chance, and a decision counts for both.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flywheel.queue.queues import (
    COMPLAINT,
    COMPLAINT_QUEUE,
    Queue,
    list_queues,
    queue_named,
    set_queue,
)
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import queue_items
from flywheel.traces.documents import publish_documents

_ACTOR = "pipeline"


@dataclass(frozen=True, slots=True)
class ComplaintReport:
    """Traces with a complaint that nobody has decided on, and how many of them are items now."""

    complaints: int
    added: int


def queue_complaints(stores: Stores) -> ComplaintReport:
    """Add an item for each trace, as it is now, with a complaint that stands and no item yet.

    What people have decided on is left out.
    """
    with stores.warehouse.read() as connection:
        found = connection.table("queue/complaints").to_pylist()
    queued = _queued(stores.ledger)
    fresh = [row for row in found if (row["trace_id"], row["content_hash"]) not in queued]
    publish_documents(stores, [(row["trace_id"], row["content_hash"]) for row in fresh])
    if fresh:
        _insert(stores.ledger, fresh)
    return ComplaintReport(len(found), len(fresh))


def _queued(ledger: Ledger) -> set[tuple[str, str]]:
    """Versions with an item of a complaint, whatever queue somebody moved it to."""
    is_complaint = sa.or_(queue_items.c.queue == COMPLAINT_QUEUE, queue_items.c.reason == COMPLAINT)
    wanted = sa.select(*queue_items.c["trace_id", "content_hash"]).where(is_complaint)
    with ledger.read() as connection:
        return {(row.trace_id, row.content_hash) for row in connection.execute(wanted)}


def _insert(ledger: Ledger, found: list[dict[str, Any]]) -> None:
    if COMPLAINT_QUEUE not in {queue.name for queue in list_queues(ledger)}:
        set_queue(ledger, Queue(COMPLAINT_QUEUE, is_blind=False), _ACTOR)
    with ledger.begin() as connection:
        queue = queue_named(connection, COMPLAINT_QUEUE)
        rows = []
        for number, row in enumerate(found):
            own = {name: value for name, value in row.items() if name != "complained_at"}
            rows.append(
                own
                | {
                    "queue": COMPLAINT_QUEUE,
                    "reason": COMPLAINT,
                    "status": "pending",
                    # The newest first.
                    "priority": 1 - number / len(found),
                    "draw_probability": 1.0,
                    "audit_probability": 0.0,
                    "reviewers_needed": queue.needs(str(row["trace_id"])),
                    "queued_at": now(),
                }
            )
        connection.execute(queue_items.insert(), rows)
