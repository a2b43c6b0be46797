"""What people said of traces, one decision at a time, and never changed.

Decisions of reviewers in, rows of the ledger out; the one idea is that a decision is only ever
appended. Taking one back is a row of its own, so that who said what and when stays known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from flywheel.queue import AUDIT, QUEUE
from flywheel.records import Decision, DecisionKind
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import claims, decisions, queue_items

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class StandingDecision:
    """A decision that nobody took back, by its id in the ledger."""

    decision_id: int
    decision: Decision


def decide(ledger: Ledger, decision: Decision) -> int:
    """Append a decision and finish its queue item, where it has one; the decision's id.

    How the item was drawn is copied into the decision. An item stays open until as many people have
    decided as it needs.
    """
    with ledger.begin() as connection:
        (decision_id,) = append(connection, [(decision, None)])
        record_action(
            connection,
            decision.reviewer,
            "decide",
            decision.trace_id,
            decision_id=decision_id,
            perceived_error=decision.perceived_error,
        )
    return decision_id


def decline(
    ledger: Ledger, trace_id: str, content_hash: str, reviewer: str, reason: str = ""
) -> int:
    """Note that a person will not decide on a trace, and close its item; the id of the note."""
    with ledger.begin() as connection:
        decision_id = _note(connection, "decline", trace_id, content_hash, reviewer, reason=reason)
        connection.execute(
            queue_items.update()
            .where(_item_of(trace_id, content_hash), queue_items.c.status == "pending")
            .values(status="declined")
        )
        record_action(connection, reviewer, "decline", trace_id, decision_id=decision_id)
    return decision_id


def undo(ledger: Ledger, reviewer: str) -> int | None:
    """Take back what the reviewer did last, and open its item again; None where nothing stands.

    Called again it goes further back. Returns the id of the decision (or the decline) taken back.
    """
    with ledger.begin() as connection:
        last = connection.execute(
            sa.select(*decisions.c["decision_id", "trace_id", "content_hash"])
            .where(
                decisions.c.reviewer == reviewer,
                decisions.c.kind.in_(("decide", "decline")),
                _not_undone(),
            )
            .order_by(decisions.c.decision_id.desc())
            .limit(1)
        ).first()
        if last is None:
            return None
        decision_id, trace_id, content_hash = last
        _note(connection, "undo", trace_id, content_hash, reviewer, undoes=decision_id)
        connection.execute(
            queue_items.update().where(_item_of(trace_id, content_hash)).values(status="pending")
        )
        _finish_items(connection, _items_of(connection, [(trace_id, content_hash)]))
        record_action(connection, reviewer, "undo", trace_id, decision_id=decision_id)
    return int(decision_id)


def standing_decisions(ledger: Ledger) -> list[StandingDecision]:
    """The last decision that stands of each reviewer on each version of a trace, oldest first."""
    newest = (
        sa.func.row_number()
        .over(
            partition_by=decisions.c["trace_id", "content_hash", "reviewer"],
            order_by=decisions.c.decision_id.desc(),
        )
        .label("newest")
    )
    names = [field.name for field in fields(Decision)]
    ranked = (
        sa.select(*decisions.c["decision_id", *names], newest)
        .where(decisions.c.kind == "decide", _not_undone())
        .subquery()
    )
    last = sa.select(ranked).where(ranked.c.newest == 1).order_by(ranked.c.decision_id)
    with ledger.begin() as connection:
        rows = connection.execute(last).mappings().all()
    return [
        StandingDecision(
            row["decision_id"],
            Decision(
                **{name: row[name] for name in names} | {"decided_at": _in_utc(row["decided_at"])}
            ),
        )
        for row in rows
    ]


def count_decisions(ledger: Ledger) -> int:
    """How many rows people have ever added: decisions, declines and undos; it only grows."""
    with ledger.begin() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(decisions)).scalar_one()


def append(connection: sa.Connection, made: Sequence[tuple[Decision, str | None]]) -> list[int]:
    """Append decisions in this order, with how their items were drawn; finish those items."""
    items = _items_of(connection, {(d.trace_id, d.content_hash) for d, _ in made})
    rows = []
    for decision, import_key in made:
        row = asdict(decision) | {"kind": "decide", "import_key": import_key}
        row["decided_at"] = _in_utc(decision.decided_at)
        item = items.get((decision.trace_id, decision.content_hash))
        if item is not None:
            row["is_audit"] = decision.is_audit or item.reason == AUDIT
            if decision.draw_probability is None:
                row["draw_probability"] = item.draw_probability
        rows.append(row)
    appended = decisions.insert().returning(decisions.c.decision_id, sort_by_parameter_order=True)
    decision_ids = connection.scalars(appended, rows).all()
    _finish_items(connection, items)
    return [int(decision_id) for decision_id in decision_ids]


def _note(
    connection: sa.Connection,
    kind: DecisionKind,
    trace_id: str,
    content_hash: str,
    reviewer: str,
    reason: str | None = None,
    undoes: int | None = None,
) -> int:
    """Append a row that decides nothing: a decline, or an undo."""
    row = {
        "kind": kind,
        "undoes": undoes,
        "trace_id": trace_id,
        "content_hash": content_hash,
        "reviewer": reviewer,
        "reason": reason,
        "rubric_version": "",
        "is_audit": False,
        "decided_at": now(),
    }
    appended = decisions.insert().values(row).returning(decisions.c.decision_id)
    return int(connection.execute(appended).scalar_one())


def _items_of(connection: sa.Connection, keys: Iterable[_Key]) -> dict[_Key, sa.Row[Any]]:
    """The review items of these versions of traces, locked where the ledger locks rows."""
    trace_ids = sorted({trace_id for trace_id, _ in keys})
    found = connection.execute(
        sa.select(queue_items)
        .where(queue_items.c.queue == QUEUE, queue_items.c.trace_id.in_(trace_ids))
        .order_by(queue_items.c.item_id)
        .with_for_update()
    )
    return {(row.trace_id, row.content_hash): row for row in found}


def _finish_items(connection: sa.Connection, items: Mapping[_Key, sa.Row[Any]]) -> None:
    """Complete the items on which as many people have decided as they need."""
    if not items:
        return
    version = decisions.c["trace_id", "content_hash"]
    decided = connection.execute(
        sa.select(*version, sa.func.count(decisions.c.reviewer.distinct()))
        .where(
            decisions.c.trace_id.in_(sorted({trace_id for trace_id, _ in items})),
            decisions.c.kind == "decide",
            _not_undone(),
        )
        .group_by(*version)
    )
    n_reviewers: dict[_Key, int] = {(row[0], row[1]): row[2] for row in decided}
    done = [
        item.item_id
        for key, item in items.items()
        if n_reviewers.get(key, 0) >= item.reviewers_needed
    ]
    if done:
        connection.execute(
            queue_items.update().where(queue_items.c.item_id.in_(done)).values(status="complete")
        )
        connection.execute(claims.delete().where(claims.c.item_id.in_(done)))


def _item_of(trace_id: str, content_hash: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        queue_items.c.queue == QUEUE,
        queue_items.c.trace_id == trace_id,
        queue_items.c.content_hash == content_hash,
    )


def _not_undone() -> sa.ColumnElement[bool]:
    # By trace first: that is the index.
    taken_back = decisions.alias("taken_back")
    return ~sa.exists().where(
        taken_back.c.trace_id == decisions.c.trace_id,
        taken_back.c.undoes == decisions.c.decision_id,
    )


def _in_utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
