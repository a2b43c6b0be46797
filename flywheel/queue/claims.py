"""Claims: who has which item on the desk, so that two people never do the same work.

A reviewer in, an item of the queue out; the one idea is that to look for an item, to count who is
on it and to take it are one transaction. A claim is a lease: it ends by itself, and a heartbeat
prolongs it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

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
    waiting = [*matching(replace(wanted, status="pending")), ~has_said(reviewer, "decide", "skip")]
    with ledger.begin() as connection:
        held = _on_desk(connection, reviewer, waiting)
        seen = [number for number, item_id in enumerate(held) if item_id in excluding]
        newer = held[seen[-1] + 1 :] if seen else held
        others = [item_id for item_id in held if item_id not in excluding]
        item_id = newer[0] if newer else None
        if item_id is None and len(others) <= also:
            item_id = _take(connection, reviewer, waiting, [*held, *excluding])
        if item_id is None and others:
            item_id = others[0]
        if item_id is not None:
            _hold(connection, item_id, reviewer, lease_s)
    return item_id


def claim(ledger: Ledger, item_id: int, reviewer: str, lease_s: float) -> datetime:
    """Put this item on the reviewer's desk, or leave it there for longer; until when, in UTC.

    Raises NotFound, and Refused where it does not wait, is somebody else's, or has as many people
    as it needs.
    """
    with ledger.begin() as connection:
        item = lock_item(connection, item_id)
        if item.status != "pending":
            raise Refused(f"item {item_id} is {item.status}; only a pending one can be taken")
        if item.assigned_to not in (None, reviewer):
            raise Refused(f"item {item_id} is assigned to {item.assigned_to}; assign it anew first")
        if not has_room(connection, item_id, reviewer):
            raise Refused(_who_has(connection, item_id, reviewer))
        return _hold(connection, item_id, reviewer, lease_s)


def heartbeat(ledger: Ledger, item_id: int, reviewer: str, lease_s: float) -> bool:
    """Prolong the reviewer's claim from now on; False where it has ended."""
    with ledger.begin() as connection:
        held = claims.update().where(*_claim_of(item_id, reviewer), is_live())
        until = now() + timedelta(seconds=lease_s)
        return connection.execute(held.values(claimed_until=until)).rowcount > 0


def release(ledger: Ledger, item_id: int, reviewer: str) -> None:
    """Take the item off the reviewer's desk; nothing happens where it is not there."""
    with ledger.begin() as connection:
        drop_claims(connection, item_id, reviewer)


def drop_claims(connection: sa.Connection, item_id: int, reviewer: str | None = None) -> None:
    """End the reviewer's claim on an item, or everybody's, in the caller's transaction."""
    of_reviewer = [] if reviewer is None else [claims.c.reviewer == reviewer]
    connection.execute(claims.delete().where(claims.c.item_id == item_id, *of_reviewer))


def lock_item(connection: sa.Connection, item_id: int) -> "sa.Row[Any]":
    """The item's row, until the transaction ends this one's alone to change; raises NotFound."""
    is_it = queue_items.c.item_id == (item_id if 0 < item_id < 2**31 else 0)
    item = connection.execute(sa.select(queue_items).where(is_it).with_for_update()).first()
    if item is None:
        raise NotFound("item", str(item_id))
    return item


def has_room(connection: sa.Connection, item_id: int, reviewer: str) -> bool:
    """Whether the others on the item, deciding or done, leave room for this reviewer."""
    with_room = sa.select(queue_items.c.item_id).where(
        queue_items.c.item_id == item_id, _has_room(reviewer)
    )
    return connection.scalar(with_room) is not None


def _on_desk(connection: sa.Connection, reviewer: str, waiting: Sequence[Condition]) -> list[int]:
    """What the reviewer has and may go on with, the oldest first."""
    held = (
        sa.select(claims.c.item_id)
        .join(queue_items, queue_items.c.item_id == claims.c.item_id)
        .where(claims.c.reviewer == reviewer, is_live(), *waiting)
        .order_by(claims.c.claimed_at, claims.c.item_id)
    )
    return list(connection.scalars(held))


def _take(
    connection: sa.Connection, reviewer: str, waiting: Sequence[Condition], passed: list[int]
) -> int | None:
    """The most urgent item with room, locked: what is assigned to the reviewer before the rest."""
    for whose in (queue_items.c.assigned_to == reviewer, queue_items.c.assigned_to.is_(None)):
        while True:
            most_urgent = (
                sa.select(queue_items.c.item_id)
                .where(whose, *waiting, _has_room(reviewer), queue_items.c.item_id.not_in(passed))
                .order_by(queue_items.c.priority.desc(), queue_items.c.item_id)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            item_id = connection.scalar(most_urgent)
            if item_id is None:
                break
            # Counted before the lock: somebody may have taken the last place meanwhile.
            if has_room(connection, item_id, reviewer):
                return int(item_id)
            passed.append(item_id)
    return None


def _hold(connection: sa.Connection, item_id: int, reviewer: str, lease_s: float) -> datetime:
    """Write or prolong the claim, and clear away those on the item that are over."""
    begun = now()
    until = begun + timedelta(seconds=lease_s)
    connection.execute(claims.delete().where(claims.c.item_id == item_id, ~is_live()))
    own = claims.update().where(*_claim_of(item_id, reviewer))
    if not connection.execute(own.values(claimed_until=until)).rowcount:
        row = {"item_id": item_id, "reviewer": reviewer, "claimed_at": begun}
        connection.execute(claims.insert().values(row | {"claimed_until": until}))
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


def _has_room(reviewer: str) -> Condition:
    taken = n_claimed(besides=reviewer) + n_decided(besides=reviewer)
    return taken < queue_items.c.reviewers_needed
