"""What a reviewer did last, so that the page can go back to it.

Rows of `decisions` in, queue items out, newest first.
"""

import sqlalchemy as sa

from flywheel.queue.filters import not_undone
from flywheel.store.ledger import Ledger
from flywheel.store.tables import decisions, queue_items

_ACTS = ("decide", "adjudicate", "decline", "skip")


def items_done_by(ledger: Ledger, reviewer: str, limit: int = 200) -> list[int]:
    """The items that the reviewer dealt with and did not take back, the last one first."""
    last = sa.func.max(decisions.c.decision_id)
    done = (
        sa.select(queue_items.c.item_id)
        .join_from(
            decisions,
            queue_items,
            sa.and_(
                queue_items.c.trace_id == decisions.c.trace_id,
                queue_items.c.content_hash == decisions.c.content_hash,
            ),
        )
        .where(
            decisions.c.reviewer == reviewer,
            decisions.c.kind.in_(_ACTS),
            not_undone(),
        )
        .group_by(queue_items.c.item_id)
        .order_by(last.desc())
        .limit(limit)
    )
    with ledger.read() as connection:
        return [int(item_id) for item_id in connection.scalars(done)]


def item_before(ledger: Ledger, reviewer: str, item_id: int | None) -> int | None:
    """The item dealt with before this one; before an item still to be decided stands the last."""
    done = items_done_by(ledger, reviewer)
    if item_id in done:
        done = done[done.index(item_id) + 1 :]
    return next(iter(done), None)


def count_skipped(ledger: Ledger, reviewer: str) -> int:
    """How many traces the reviewer leaves to somebody else."""
    skipped = sa.select(sa.func.count(sa.distinct(decisions.c.trace_id))).where(
        decisions.c.reviewer == reviewer,
        decisions.c.kind == "skip",
        not_undone(),
    )
    with ledger.read() as connection:
        return int(connection.execute(skipped).scalar_one())
