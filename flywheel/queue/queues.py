"""Queues: how the items of each are reviewed, by how many people, and whether blind.

Rows of `queues` in and out; the one idea is that the trace's hash says which items one more person
decides on, so that the share is drawn anew by nobody and guessed by nobody.
"""

import re
from collections import defaultdict
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound
from flywheel.queue.filters import Condition, n_claimed, n_decided, parts
from flywheel.records import QueueReason, unit_hash
from flywheel.store.ledger import Ledger, record_action
from flywheel.store.tables import queue_items, queues

# Where a day's draw goes.
QUEUE = "review"
# Where panels of judges hand over to people.
PANEL_QUEUE = "panel"
# What end users complain of.
COMPLAINT_QUEUE = "complaints"
# What an engineer wants looked at.
PICKED_QUEUE = "picked"
# Queues and reasons of items that no draw of the day took: an estimate leaves them out.
UNDRAWN_QUEUES = (PANEL_QUEUE, COMPLAINT_QUEUE, PICKED_QUEUE)
COMPLAINT: QueueReason = "complaint"
PICKED: QueueReason = "picked"
UNDRAWN_REASONS = (COMPLAINT, PICKED)
# More would never be done with an item.
MAX_REVIEWERS = 9


@dataclass(frozen=True, slots=True)
class Queue:
    """How items are reviewed: `reviewers` decide on each, one more on a random `double_share`."""

    name: str
    reviewers: int = 1
    double_share: float = 0.0
    is_blind: bool = True

    def needs(self, trace_id: str) -> int:
        """How many people decide on this trace."""
        return self.reviewers + (unit_hash(trace_id, "double") < self.double_share)


def list_queues(ledger: Ledger) -> list[Queue]:
    """Every queue, by name."""
    with ledger.read() as connection:
        return _queues(connection)


def set_queue(ledger: Ledger, queue: Queue, actor: str) -> None:
    """Make a queue, or say anew how its items are reviewed.

    Waiting items that nobody decided on and nobody has on the desk follow; the others keep the
    number of reviewers that they were begun with. Raises BadInput.
    """
    _check(queue)
    settings = asdict(queue)
    with ledger.begin() as connection:
        is_known = queues.c.name == queue.name
        if not connection.execute(queues.update().where(is_known).values(settings)).rowcount:
            connection.execute(queues.insert().values(settings))
        follow_queue(connection, queue, queue_items.c.queue == queue.name)
        record_action(connection, actor, "set_queue", queue.name, **settings)


def queue_named(connection: sa.Connection, name: str) -> Queue:
    """The queue of this name; raises NotFound."""
    known = {queue.name: queue for queue in _queues(connection)}
    if name not in known:
        raise NotFound("queue", name, list(known))
    return known[name]


def follow_queue(connection: sa.Connection, queue: Queue, *conditions: Condition) -> None:
    """Let items that wait untouched need as many reviewers as the queue says."""
    untouched = sa.select(*queue_items.c["item_id", "trace_id", "reviewers_needed"]).where(
        *conditions, queue_items.c.status == "pending", n_claimed() == 0, n_decided() == 0
    )
    changed = defaultdict(list)
    for item in connection.execute(untouched.with_for_update()):
        if item.reviewers_needed != (needed := queue.needs(item.trace_id)):
            changed[needed].append(item.item_id)
    for needed, item_ids in changed.items():
        for part in parts(item_ids):
            of_part = queue_items.update().where(queue_items.c.item_id.in_(part))
            connection.execute(of_part.values(reviewers_needed=needed))


def _queues(connection: sa.Connection) -> list[Queue]:
    rows = connection.execute(sa.select(queues).order_by(queues.c.name))
    return [Queue(**row) for row in rows.mappings()]


def _check(queue: Queue) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", queue.name):
        raise BadInput(f"a queue's name is made of a-z, 0-9, _ and -; {queue.name[:40]!r} is not")
    if not 1 <= queue.reviewers <= MAX_REVIEWERS:
        raise BadInput(f"an item needs 1 to {MAX_REVIEWERS} reviewers, not {queue.reviewers}")
    if not 0 <= queue.double_share <= 1:
        raise BadInput(f"double_share is a share from 0 to 1, not {queue.double_share}")
