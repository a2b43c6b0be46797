"""Claims: who has which item on the desk, so that two people never do the same work.

A reviewer in, an item of the queue out; the one idea is that to look for an item, to count who is
on it and to take it are one transaction. A claim is a lease: it ends by itself, and a heartbeat
prolongs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from flywheel.errors import NotFound, Refused
from flywheel.queue.filters import (
    Condition,
    ItemFilter,
    has_said,
    is_live,
    matching,
    n_claimed,
    n_decided,
)
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import claims, queue_items

_Select = TypeVar("_Select", bound="sa.Select[Any]")

# The statements are made once: to make them costs more than to run them.
_REVIEWER: "sa.BindParameter[str]" = sa.bindparam("reviewer")
_AT: "sa.BindParameter[datetime]" = sa.bindparam("at", type_=claims.c.claimed_until.type)
_PASSED: "sa.BindParameter[Sequence[int]]" = sa.bindparam("passed", expanding=True)

_HAS_ROOM = (
    n_claimed(besides=_REVIEWER, at=_AT) + n_decided(besides=_REVIEWER)
    < queue_items.c.reviewers_needed
)
_IS_IT = queue_items.c.item_id == sa.bindparam("item")
_LOCKED = sa.select(queue_items).where(_IS_IT).with_for_update()
_WITH_ROOM = sa.select(queue_items.c.item_id).where(_IS_IT, _HAS_ROOM)
_MAY_GO_ON = queue_items.c.status == "pending", ~has_said(_REVIEWER, "decide", "skip")
_OVER = claims.delete().where(
    claims.c.item_id == sa.bindparam("item"), claims.c.claimed_until <= _AT
)
_ENTERED = claims.insert()
# What the reviewer has and may go on with, the oldest first.
_ON_DESK = (
    sa.select(claims.c.item_id)
    .join(queue_items, queue_items.c.item_id == claims.c.item_id)
    .where(claims.c.reviewer == _REVIEWER, is_live(_AT), *_MAY_GO_ON)
    .order_by(claims.c.claimed_at, claims.c.item_id)
)
# The most urgent item with room, locked; what somebody else is about to lock is passed over.
_WAITING = (
    sa.select(queue_items.c.item_id)
    .where(*_MAY_GO_ON, _HAS_ROOM, queue_items.c.item_id.not_in(_PASSED))
    .order_by(queue_items.c.priority.desc(), queue_items.c.item_id)
    .limit(1)
)
_MOST_URGENT = _WAITING.with_for_update(skip_locked=True)
_ASSIGNED, _FREE = queue_items.c.assigned_to == _REVIEWER, queue_items.c.assigned_to.is_(None)
# What is assigned to the reviewer comes before the rest.
_FOR_REVIEWER, _FOR_ANYBODY = _MOST_URGENT.where(_ASSIGNED), _MOST_URGENT.where(_FREE)
_PASSED_OVER = _WAITING.where(sa.or_(_ASSIGNED, _FREE))


def claim_next(
    ledger: Ledger,
    reviewer: str,
    wanted: ItemFilter,
    lease_s: float,
    also: int = 0,
    excluding: Sequence[int] = (),
) -> int | None:
    """Put the most urgent waiting item that the reviewer may take on their desk; None without one.

    What they have there already comes first, so that a page can be loaded again; what is assigned
    to them comes before the rest. Never an item that is assigned to somebody else, that they have
    decided on or skipped, or that has as many people as it needs. `excluding` are items that they
    look at now: the next is the one taken after those, or a new one while at most `also` others lie
    on the desk, or the oldest of the others.
    """
    conditions = matching(replace(wanted, status=None))
    with ledger.begin() as connection:
        said = {"reviewer": reviewer, "at": now()}
        held = list(connection.scalars(_narrowed(_ON_DESK, conditions), said))
        seen = [number for number, item_id in enumerate(held) if item_id in excluding]
        newer = held[seen[-1] + 1 :] if seen else held
        others = [item_id for item_id in held if item_id not in excluding]
        if not newer and len(others) <= also:
            taken = _take(connection, said, conditions, [*held, *excluding])
            if taken is not None:
                _enter(connection, taken, reviewer, lease_s)
                return taken
        item_id: int | None = next(iter(newer or others), None)
        if item_id is None:
            left = _narrowed(_PASSED_OVER, conditions)
            item_id = connection.scalar(left, {**said, "passed": excluding})
            if item_id is None:
                return None
        elif _prolong(connection, item_id, reviewer, lease_s):
            return item_id
    # Somebody else has it since this moment, or is at it: what is left is seen when they are done.
    with ledger.begin() as connection:
        connection.execute(_LOCKED, {"item": item_id})
    return claim_next(ledger, reviewer, wanted, lease_s, also, excluding)


def claim(ledger: Ledger, item_id: int, reviewer: str, lease_s: float) -> datetime:
    """Put this item on the reviewer's desk, or leave it there for longer; until when, in UTC.

    Raises NotFound, and Refused where it does not wait, is somebody else's, or has as many people
    as it needs.
    """
    with ledger.begin() as connection:
        item = lock_item(connection, item_id)
        if item.status != "pending":
            raise Refused(f"item {item_id} is {item.status}; only a pending one can be taken")
        until = _prolong(connection, item_id, reviewer, lease_s)
        if until is not None:
            return until
        if item.assigned_to not in (None, reviewer):
            raise Refused(f"item {item_id} is assigned to {item.assigned_to}; assign it anew first")
        if not has_room(connection, item_id, reviewer):
            raise Refused(_who_has(connection, item_id, reviewer))
        return _enter(connection, item_id, reviewer, lease_s)


def heartbeat(ledger: Ledger, item_id: int, reviewer: str, lease_s: float) -> bool:
    """Prolong the reviewer's claim from now on; False where it has ended.

    Raises NotFound where there is no such item.
    """
    with ledger.begin() as connection:
        return _prolong(connection, item_id, reviewer, lease_s) is not None


def release(ledger: Ledger, item_id: int, reviewer: str) -> None:
    """Take the item off the reviewer's desk; nothing happens where it is not there."""
    with ledger.begin() as connection:
        drop_claims(connection, item_id, reviewer)


def drop_claims(connection: sa.Connection, item_id: int, reviewer: str | None = None) -> None:
    """End the reviewer's claim on an item, or everybody's, in the caller's transaction."""
    of_reviewer = [] if reviewer is None else [claims.c.reviewer == reviewer]
    connection.execute(claims.delete().where(claims.c.item_id == item_id, *of_reviewer))


def has_room(connection: sa.Connection, item_id: int, reviewer: str) -> bool:
    """Whether the others on the item, deciding or done, leave room for this reviewer."""
    said = {"item": item_id, "reviewer": reviewer, "at": now()}
    return connection.scalar(_WITH_ROOM, said) is not None


def lock_item(connection: sa.Connection, item_id: int) -> "sa.Row[Any]":
    """The item's row, this transaction's alone to change; raises NotFound."""
    known = item_id if 0 < item_id < 2**31 else 0
    item = connection.execute(_LOCKED, {"item": known}).first()
    if item is None:
        raise NotFound("item", str(item_id), None)
    return item


def _take(
    connection: sa.Connection,
    said: Mapping[str, object],
    conditions: Sequence[Condition],
    passed: list[int],
) -> int | None:
    for statement in (_FOR_REVIEWER, _FOR_ANYBODY):
        most_urgent = _narrowed(statement, conditions)
        while True:
            item_id = connection.scalar(most_urgent, {**said, "passed": passed})
            if item_id is None:
                break
            # Counted before the lock: somebody may have taken the last place meanwhile.
            if connection.scalar(_WITH_ROOM, {**said, "item": item_id}) is not None:
                return int(item_id)
            passed.append(item_id)
    return None


def _narrowed(statement: _Select, conditions: Sequence[Condition]) -> _Select:
    # A copy is compiled anew.
    return statement.where(*conditions) if conditions else statement


def _prolong(
    connection: sa.Connection, item_id: int, reviewer: str, lease_s: float
) -> datetime | None:
    """Let a live claim last for `lease_s` from now on; until when, or None where there is none."""
    # Who takes an item that has come free locks it: a claim that is over stays over.
    lock_item(connection, item_id)
    until = now() + timedelta(seconds=lease_s)
    held = claims.update().where(*_claim_of(item_id, reviewer), is_live())
    return until if connection.execute(held.values(claimed_until=until)).rowcount else None


def _enter(connection: sa.Connection, item_id: int, reviewer: str, lease_s: float) -> datetime:
    """Write a claim in place of those on the item that are over; until when it counts."""
    begun = now()
    until = begun + timedelta(seconds=lease_s)
    connection.execute(_OVER, {"item": item_id, "at": begun})
    row = {"item_id": item_id, "reviewer": reviewer, "claimed_at": begun, "claimed_until": until}
    connection.execute(_ENTERED, row)
    return until


def _who_has(connection: sa.Connection, item_id: int, reviewer: str) -> str:
    others = sa.select(*claims.c["reviewer", "claimed_until"]).where(
        claims.c.item_id == item_id, claims.c.reviewer != reviewer, is_live()
    )
    held = [
        f"{row.reviewer} until {in_utc(row.claimed_until):%H:%M} UTC"
        for row in connection.execute(others.order_by(claims.c.claimed_at))
    ]
    if not held:
        return f"as many people as item {item_id} needs have decided on it; requeue it for one more"
    return f"item {item_id} is on the desk of {' and '.join(held)}; take another one"


def _claim_of(item_id: int, reviewer: str) -> tuple[Condition, Condition]:
    return claims.c.item_id == item_id, claims.c.reviewer == reviewer
