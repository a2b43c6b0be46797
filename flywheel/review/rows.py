"""What every act of a reviewer comes down to: one row more, and the status of its items.

Decisions and notes in, rows of `decisions` out; the one idea is that the status of an item is
worked out from the rows that stand, so that nothing need be remembered to take one of them back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.queue import AUDIT, PICKED
from flywheel.queue.filters import not_undone
from flywheel.records import Decision, DecisionKind, ItemStatus
from flywheel.review.tool_calls import in_openai_shape
from flywheel.safety import encodable
from flywheel.store.ledger import in_utc, now
from flywheel.store.tables import claims, decisions, queue_items

# A version of a trace: its id and the hash of its content.
Version = tuple[str, str]
# Of each version, its items, whatever queue they stand in.
Items = Mapping[Version, Sequence[sa.Row[Any]]]

# The statements are made once: to make them costs more than to run them.
_LOCKED_ITEMS = sa.select(queue_items).order_by(queue_items.c.item_id).with_for_update()
_STANDING = (
    sa.select(*decisions.c["kind", "trace_id", "content_hash", "reviewer", "perceived_error"])
    .where(
        sa.or_(*(decisions.c.kind == kind for kind in ("decide", "adjudicate", "decline"))),
        not_undone(),
    )
    .order_by(decisions.c.decision_id)
)
_ONE: "sa.BindParameter[str]" = sa.bindparam("trace_id")
_MANY: "sa.BindParameter[Sequence[str]]" = sa.bindparam("trace_ids", expanding=True)
_LOCKED_ITEMS_OF = {
    True: _LOCKED_ITEMS.where(queue_items.c.trace_id == _ONE),
    False: _LOCKED_ITEMS.where(queue_items.c.trace_id.in_(_MANY)),
}
_STANDING_OF = {
    True: _STANDING.where(decisions.c.trace_id == _ONE),
    False: _STANDING.where(decisions.c.trace_id.in_(_MANY)),
}
_APPENDED = decisions.insert().returning(decisions.c.decision_id, sort_by_parameter_order=True)
_THESE: "sa.BindParameter[Sequence[int]]" = sa.bindparam("these", expanding=True)
_ENDED = claims.delete().where(claims.c.item_id.in_(_THESE))
_RELEASED = _ENDED.where(claims.c.reviewer == sa.bindparam("by"))
_SETTLED = (
    queue_items.update()
    .where(queue_items.c.item_id.in_(_THESE))
    .values(status=sa.bindparam("outcome"))
)


@dataclass(slots=True)
class Standing:
    """What stands of what people said of one version of a trace."""

    votes: dict[str, bool] = field(default_factory=dict)
    is_adjudicated: bool = False
    is_declined: bool = False

    def status(self, item: sa.Row[Any], is_about_declining: bool) -> ItemStatus:
        """The status that an item of this version has from now on.

        Who manages the queue declines and requeues items without a row in `decisions`: what is
        open or declined stays so unless the act is a decline or takes one back.
        """
        if self.is_adjudicated:
            return "complete"
        if len(self.votes) >= item.reviewers_needed:
            return "complete" if len(set(self.votes.values())) == 1 else "disputed"
        if is_about_declining or item.status not in ("pending", "declined"):
            return "declined" if self.is_declined else "pending"
        return "declined" if item.status == "declined" else "pending"


def append(
    connection: sa.Connection,
    made: Sequence[tuple[Decision, str | None]],
    kind: DecisionKind = "decide",
    items: Items | None = None,
) -> list[int]:
    """Append decisions in this order, each with its import key; their ids.

    `items` are those of their versions, where they are locked already.
    How a trace was drawn is copied from its item, claims of these reviewers on the items end, and
    the items get the status that follows. Raises BadInput where a correction cannot be used.
    """
    if items is None:
        items = lock_items(connection, {(d.trace_id, d.content_hash) for d, _ in made})
    rows = []
    for decision, import_key in made:
        drawn = items[decision.trace_id, decision.content_hash]
        row = asdict(_storable(decision)) | {"kind": kind, "import_key": import_key}
        row["decided_at"] = in_utc(decision.decided_at)
        row["is_audit"] = decision.is_audit or any(item.reason == AUDIT for item in drawn)
        # By what chance somebody picked a trace, nobody knows.
        chances = [item.draw_probability for item in drawn if item.reason != PICKED]
        if decision.draw_probability is None and chances:
            row["draw_probability"] = max(chances)
        rows.append(row)
    decision_ids = connection.scalars(_APPENDED, rows).all()
    _release(connection, [decision for decision, _ in made], items)
    settle(connection, items)
    return [int(decision_id) for decision_id in decision_ids]


def note(
    connection: sa.Connection,
    kind: DecisionKind,
    version: Version,
    reviewer: str,
    reason: str | None = None,
    undoes: int | None = None,
) -> int:
    """Append a row that says nothing of an error: a decline, a skip, a flag, an undo; its id."""
    row = {
        "kind": kind,
        "undoes": undoes,
        "trace_id": version[0],
        "content_hash": version[1],
        "reviewer": reviewer,
        "reason": None if reason is None else storable(reason),
        "rubric_version": "",
        "is_audit": False,
        "decided_at": now(),
    }
    appended = decisions.insert().values(row).returning(decisions.c.decision_id)
    return int(connection.execute(appended).scalar_one())


def lock_items(connection: sa.Connection, versions: Iterable[Version]) -> Items:
    """The items of these versions in every queue, locked where the ledger locks rows."""
    items: dict[Version, list[sa.Row[Any]]] = {version: [] for version in versions}
    is_one, traces = _traces_of(items)
    found = connection.execute(_LOCKED_ITEMS_OF[is_one], traces)
    for row in found:
        if (row.trace_id, row.content_hash) in items:
            items[row.trace_id, row.content_hash].append(row)
    return items


def standing_of(connection: sa.Connection, versions: Iterable[Version]) -> dict[Version, Standing]:
    """What stands of what people said of these versions."""
    is_one, traces = _traces_of(versions)
    rows = connection.execute(_STANDING_OF[is_one], traces)
    found: defaultdict[Version, Standing] = defaultdict(Standing)
    for kind, trace_id, content_hash, reviewer, perceived_error in rows:
        said = found[trace_id, content_hash]
        if kind == "decide":
            said.votes[reviewer] = perceived_error
        said.is_adjudicated |= kind == "adjudicate"
        said.is_declined |= kind == "decline"
    return found


def settle(connection: sa.Connection, items: Items, is_about_declining: bool = False) -> None:
    """Give each item the status that follows from what stands; an item that ends has no claims."""
    versions = [version for version, of_version in items.items() if of_version]
    if not versions:
        return
    said = standing_of(connection, versions)
    changed: defaultdict[ItemStatus, list[int]] = defaultdict(list)
    ended: list[int] = []
    for version in versions:
        for item in items[version]:
            status = said[version].status(item, is_about_declining)
            if status != item.status:
                changed[status].append(item.item_id)
            if status != "pending":
                ended.append(item.item_id)
    for status, item_ids in changed.items():
        connection.execute(_SETTLED, {"these": item_ids, "outcome": status})
    if ended:
        connection.execute(_ENDED, {"these": ended})


def _traces_of(versions: Iterable[Version]) -> tuple[bool, dict[str, object]]:
    """Whether it is one trace, and what it is bound to; a list of one costs more than the one."""
    trace_ids = sorted({trace_id for trace_id, _ in versions})
    is_one = len(trace_ids) == 1
    return is_one, {"trace_id": trace_ids[0]} if is_one else {"trace_ids": trace_ids}


def storable(text: str) -> str:
    """The text as every ledger can hold it: Postgres has no NUL, and UTF-8 no half characters."""
    return encodable(text).replace("\0", "\ufffd")


def _storable(decision: Decision) -> Decision:
    text, calls = decision.corrected_text, decision.corrected_tool_calls
    if (decision.corrected_turn is None) != (text is None and calls is None):
        raise BadInput(
            "a correction needs corrected_turn, and beside it corrected_text, "
            "corrected_tool_calls or both"
        )
    return replace(
        decision,
        reason=storable(decision.reason),
        corrected_text=None if text is None else storable(text),
        corrected_tool_calls=None if calls is None else in_openai_shape(storable(calls)),
    )


def _release(connection: sa.Connection, made: Iterable[Decision], items: Items) -> None:
    """End the claims of those who have decided."""
    decided: defaultdict[str, set[int]] = defaultdict(set)
    for decision in made:
        of_version = items[decision.trace_id, decision.content_hash]
        decided[decision.reviewer] |= {item.item_id for item in of_version}
    for reviewer, item_ids in decided.items():
        connection.execute(_RELEASED, {"these": sorted(item_ids), "by": reviewer})
