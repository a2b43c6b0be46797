"""Many items at once: declined, put back, assigned or moved, by those who manage the queue.

A filter or a list of items in, one transaction and one entry of the audit log out. The one idea is
that this is about items alone: what people decided of their traces stands as it stood.
"""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from flywheel.errors import NotFound
from flywheel.queue.filters import Condition, ItemFilter, matching, n_decided, not_undone, parts
from flywheel.queue.queues import follow_queue, queue_named
from flywheel.records import ItemStatus
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import claims, decisions, queue_items, users

_OPEN: tuple[ItemStatus, ...] = ("pending", "disputed")
_CLOSED: tuple[ItemStatus, ...] = ("complete", "declined")
# What ends an item whatever was voted.
_ENDINGS = ("decline", "adjudicate")


def decline_items(
    ledger: Ledger,
    wanted: ItemFilter,
    item_ids: Sequence[int] | None,
    actor: str,
    reason: str = "",
) -> int:
    """Close open items that nobody need decide on, and take them off all desks; how many.

    The items are those named, or where `item_ids` is None all that match; so in all of these.
    """
    with ledger.begin() as connection:
        chosen = _chosen(connection, wanted, item_ids, queue_items.c.status.in_(_OPEN))
        _change(connection, chosen, status="declined")
        for part in parts(chosen):
            connection.execute(claims.delete().where(claims.c.item_id.in_(part)))
        _record(connection, actor, "decline_items", wanted, item_ids, chosen, reason=reason)
    return len(chosen)


def requeue_items(
    ledger: Ledger,
    wanted: ItemFilter,
    item_ids: Sequence[int] | None,
    actor: str,
    reason: str = "",
) -> int:
    """Let complete and declined items wait again; how many.

    Decisions on them stand, and declines are taken back. An item that has as many decisions as it
    needs will need one more, from somebody who has not decided on it.
    """
    needed = sa.case(
        (n_decided() >= queue_items.c.reviewers_needed, n_decided() + 1),
        else_=queue_items.c.reviewers_needed,
    )
    with ledger.begin() as connection:
        chosen = _chosen(connection, wanted, item_ids, queue_items.c.status.in_(_CLOSED))
        _change(connection, chosen, status="pending", reviewers_needed=needed)
        _take_back_endings(connection, chosen, actor)
        _record(connection, actor, "requeue_items", wanted, item_ids, chosen, reason=reason)
    return len(chosen)


def assign_items(
    ledger: Ledger, wanted: ItemFilter, item_ids: Sequence[int] | None, actor: str, to: str | None
) -> int:
    """Keep open items for one person, or with None for whoever comes; how many changed.

    Who has one on the desk keeps it there. Raises NotFound where nobody of that name reviews.
    """
    is_other = queue_items.c.assigned_to.is_distinct_from(to)
    with ledger.begin() as connection:
        if to is not None:
            _check_reviewer(connection, to)
        chosen = _chosen(connection, wanted, item_ids, queue_items.c.status.in_(_OPEN), is_other)
        _change(connection, chosen, assigned_to=to)
        _record(connection, actor, "assign_items", wanted, item_ids, chosen, to=to)
    return len(chosen)


def move_items(
    ledger: Ledger, wanted: ItemFilter, item_ids: Sequence[int] | None, actor: str, queue: str
) -> int:
    """Move open items to another queue; how many were not there.

    Those that nobody decided on and nobody has on the desk will need as many reviewers as that
    queue says. Raises NotFound.
    """
    there = queue_items.alias("there")
    is_there = sa.exists().where(
        there.c.trace_id == queue_items.c.trace_id,
        there.c.content_hash == queue_items.c.content_hash,
        there.c.queue == queue,
    )
    with ledger.begin() as connection:
        target = queue_named(connection, queue)
        chosen = _chosen(connection, wanted, item_ids, queue_items.c.status.in_(_OPEN), ~is_there)
        _change(connection, chosen, queue=queue)
        for part in parts(chosen):
            follow_queue(connection, target, queue_items.c.item_id.in_(part))
        _record(connection, actor, "move_items", wanted, item_ids, chosen, queue=queue)
    return len(chosen)


def _chosen(
    connection: sa.Connection,
    wanted: ItemFilter,
    item_ids: Sequence[int] | None,
    *conditions: Condition,
) -> list[int]:
    """The items that are meant, locked where the ledger locks rows."""
    if item_ids is None:
        meant = [matching(wanted)]
    else:
        known = [item_id for item_id in item_ids if 0 < item_id < 2**31]
        meant = [[queue_items.c.item_id.in_(part)] for part in parts(known)]
    chosen: list[int] = []
    for of_part in meant:
        found = sa.select(queue_items.c.item_id).where(*of_part, *conditions)
        chosen += connection.scalars(found.order_by(queue_items.c.item_id).with_for_update())
    return chosen


def _change(connection: sa.Connection, item_ids: Sequence[int], **values: object) -> None:
    for part in parts(item_ids):
        of_part = queue_items.update().where(queue_items.c.item_id.in_(part))
        connection.execute(of_part.values(**values))


def _take_back_endings(connection: sa.Connection, item_ids: Sequence[int], actor: str) -> None:
    """Undo what stands and would end the item again, whatever is decided next."""
    version = sa.and_(
        decisions.c.trace_id == queue_items.c.trace_id,
        decisions.c.content_hash == queue_items.c.content_hash,
    )
    of_undo = {"kind": "undo", "rubric_version": "", "is_audit": False}
    same = of_undo | {"reviewer": actor, "decided_at": now()}
    for part in parts(item_ids):
        endings = (
            sa.select(
                decisions.c.decision_id.label("undoes"), *decisions.c["trace_id", "content_hash"]
            )
            .join(queue_items, version)
            .where(queue_items.c.item_id.in_(part), decisions.c.kind.in_(_ENDINGS), not_undone())
            .order_by(decisions.c.decision_id)
        )
        rows = [dict(row) | same for row in connection.execute(endings).mappings()]
        if rows:
            connection.execute(decisions.insert(), rows)


def _record(
    connection: sa.Connection,
    actor: str,
    action: str,
    wanted: ItemFilter,
    item_ids: Sequence[int] | None,
    chosen: Sequence[int],
    **detail: object,
) -> None:
    if not chosen:
        return
    asked = {name: value for name, value in asdict(wanted).items() if value is not None}
    meant = {"filter": asked} if item_ids is None else {"item_ids": list(chosen)}
    subject = "1 item" if len(chosen) == 1 else f"{len(chosen):,} items"
    record_action(connection, actor, action, subject, items=len(chosen), **meant, **detail)


def _check_reviewer(connection: sa.Connection, name: str) -> None:
    known = sa.select(users.c.name).where(users.c.is_active, users.c.role != "service")
    names = connection.scalars(known).all()
    if name not in names:
        raise NotFound("reviewer", name, names)
