"""Picking: a trace that an engineer wants looked at, whatever the draw makes of it.

A published trace in, an item of the queue `picked` out. The one idea is that nobody knows by what
chance it was picked, so that no estimate counts it; its decisions teach and are served as others.
"""

import sqlalchemy as sa

from flywheel.errors import NotFound
from flywheel.queue.queues import (
    PICKED,
    PICKED_QUEUE,
    Queue,
    list_queues,
    queue_named,
    set_queue,
)
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import queue_items, trace_documents


def pick_trace(ledger: Ledger, trace_id: str, content_hash: str, actor: str) -> int:
    """Put a version of a trace into the queue, for any of its messages to be corrected; its item.

    One that is there already, in whatever queue, is left as it is. Raises NotFound where the trace
    has no document.
    """
    if PICKED_QUEUE not in {queue.name for queue in list_queues(ledger)}:
        set_queue(ledger, Queue(PICKED_QUEUE, is_blind=False), actor)
    of_version = {"trace_id": trace_id, "content_hash": content_hash}
    with ledger.begin() as connection:
        known = sa.select(sa.func.min(queue_items.c.item_id)).filter_by(**of_version)
        item_id = connection.scalar(known)
        if item_id is not None:
            return int(item_id)
        found = sa.select(*trace_documents.c["app", "day"]).filter_by(**of_version)
        document = connection.execute(found).one_or_none()
        if document is None:
            raise NotFound("published trace", trace_id, None)
        row = of_version | {
            "queue": PICKED_QUEUE,
            "app": document.app,
            "day": document.day,
            "reason": PICKED,
            "priority": 1.0,
            "draw_probability": 1.0,
            "audit_probability": 0.0,
            "status": "pending",
            "reviewers_needed": queue_named(connection, PICKED_QUEUE).needs(trace_id),
            "queued_at": now(),
        }
        added = queue_items.insert().values(row).returning(queue_items.c.item_id)
        item_id = int(connection.execute(added).scalar_one())
        record_action(connection, actor, "pick", trace_id, item_id=item_id)
    return item_id
