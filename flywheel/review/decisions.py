"""What people said of traces, one decision at a time, and never changed.

Decisions of reviewers in, rows of the ledger out; the one idea is that a decision is only ever
appended. Taking one back is a row of its own, so that who said what and when stays known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flywheel.errors import BadInput, Refused
from flywheel.queue.claims import lock_item
from flywheel.queue.filters import is_live, not_undone
from flywheel.records import Decision, DecisionKind
from flywheel.review.rows import (
    Items,
    append,
    lock_items,
    note,
    settle,
    standing_of,
)
from flywheel.store.ledger import Ledger, record_action
from flywheel.store.tables import claims, decisions

_TAKEN_BACK_BY_UNDO = ("decide", "adjudicate", "decline", "skip", "sensitive")


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo took back; `item_id` is an item of the trace, where it has one."""

    decision_id: int
    kind: DecisionKind
    trace_id: str
    content_hash: str
    item_id: int | None


def decide(ledger: Ledger, decision: Decision, item_id: int | None = None) -> int:
    """Append a vote; when as many people as an item needs have voted, it is complete or disputed.

    The vote counts for every item of that version of the trace, whatever its queue, and how the
    trace was drawn is copied into it. With `item_id`, only who holds that item, has decided on it,
    or finds room among those that it needs may decide.

    Raises Refused where the reviewer may not, BadInput where the correction cannot be used or the
    item is of another version, and NotFound where there is no such item.
    """
    with ledger.begin() as connection:
        items = lock_items(connection, [(decision.trace_id, decision.content_hash)])
        if item_id is not None:
            _require_room(connection, decision, items, item_id)
        return _append(connection, decision, "decide", items, item_id)


def adjudicate(ledger: Ledger, decision: Decision, item_id: int | None = None) -> int:
    """Append the word that settles a trace, whatever was voted; its items are complete.

    With `item_id`, only an item that is in dispute is settled. Raises Refused where it is not, and
    BadInput where the correction cannot be used.
    """
    with ledger.begin() as connection:
        items = lock_items(connection, [(decision.trace_id, decision.content_hash)])
        if item_id is not None:
            item = _item_among(connection, decision, items, item_id)
            if item.status != "disputed":
                raise Refused(f"item {item_id} is {item.status}; only a disputed one is settled")
        return _append(connection, decision, "adjudicate", items, item_id)


def undo(ledger: Ledger, reviewer: str) -> Undone | None:
    """Take back what the reviewer did last, and give its items the status that they had without.

    A vote, an adjudication, a decline, a skip or a flag; called again it goes further back. None
    where nothing stands.
    """
    with ledger.begin() as connection:
        last = connection.execute(
            sa.select(*decisions.c["decision_id", "kind", "trace_id", "content_hash"])
            .where(
                decisions.c.reviewer == reviewer,
                decisions.c.kind.in_(_TAKEN_BACK_BY_UNDO),
                not_undone(),
            )
            .order_by(decisions.c.decision_id.desc())
            .limit(1)
        ).first()
        if last is None:
            return None
        decision_id, kind, trace_id, content_hash = last
        version = (trace_id, content_hash)
        items = lock_items(connection, [version])
        note(connection, "undo", version, reviewer, undoes=decision_id)
        settle(connection, items, is_about_declining=kind == "decline")
        item_id = _first_item(items[version])
        record_action(
            connection,
            reviewer,
            "undo",
            trace_id,
            decision_id=decision_id,
            kind=kind,
            item_id=item_id,
        )
    return Undone(decision_id, kind, trace_id, content_hash, item_id)


def _append(
    connection: sa.Connection,
    decision: Decision,
    kind: DecisionKind,
    items: Items,
    item_id: int | None,
) -> int:
    (decision_id,) = append(connection, [(decision, None)], kind, items)
    record_action(
        connection,
        decision.reviewer,
        kind,
        decision.trace_id,
        decision_id=decision_id,
        perceived_error=decision.perceived_error,
        reason_code=decision.reason_code,
        rubric_version=decision.rubric_version,
        item_id=item_id,
    )
    return decision_id


def _item_among(
    connection: sa.Connection, decision: Decision, items: Items, item_id: int
) -> "sa.Row[Any]":
    of_version = items[decision.trace_id, decision.content_hash]
    item = next((item for item in of_version if item.item_id == item_id), None)
    if item is None:
        lock_item(connection, item_id)
        raise BadInput(f"item {item_id} is of another version of the trace; open it again")
    return item


def _require_room(
    connection: sa.Connection, decision: Decision, items: Items, item_id: int
) -> None:
    version, reviewer = (decision.trace_id, decision.content_hash), decision.reviewer
    item = _item_among(connection, decision, items, item_id)
    deciders = standing_of(connection, [version])[version].votes.keys()
    if reviewer in deciders:
        # In a dispute both know by now that they differ, and the judge's word.
        if item.status == "disputed":
            raise Refused(f"item {item_id} is in dispute, and waits for somebody who settles it")
        return
    if item.status == "complete":
        raise Refused(f"item {item_id} is complete; take the next one")
    holders = set(
        connection.scalars(
            sa.select(claims.c.reviewer).where(claims.c.item_id == item_id, is_live())
        )
    )
    if item.assigned_to not in (None, reviewer) and reviewer not in holders:
        raise Refused(f"item {item_id} is assigned to {item.assigned_to}; take the next one")
    others = (deciders | holders) - {reviewer}
    if reviewer not in holders and len(others) >= item.reviewers_needed:
        raise Refused(
            f"item {item_id} needs {_people(item.reviewers_needed)} and has "
            f"{', '.join(sorted(others))}; take the next one"
        )


def _first_item(items: Sequence[sa.Row[Any]]) -> int | None:
    return next((int(item.item_id) for item in items), None)


def _people(n: int) -> str:
    return "one reviewer" if n == 1 else f"{n} reviewers"
