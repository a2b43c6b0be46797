"""Corrections that people wrote in another tool or sent by the API, as decisions of ours.

Feedback of annotators with a better answer in, decisions with a correction on the trace's version
of now out. The one idea is that such a decision is like any other: it counts once (its import key
is the feedback's), can be taken back, and names who wrote it, as `langfuse:ada`. What end users
write is no decision: reviewers see it as a suggestion.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flywheel.errors import NotFound, Refused
from flywheel.queue.filters import not_undone, parts
from flywheel.records import Decision
from flywheel.review.rows import append, lock_items, note, settle
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, in_utc, record_action
from flywheel.store.tables import decisions, feedback

# Between a tool and the name that somebody has there.
_OF_TOOL = ":"
_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExternalReport:
    """Better answers by people elsewhere whose trace is here; of them, those that are new.

    `unchanged` say what stood there already, and decide nothing.
    """

    corrections: int
    new: int
    unchanged: int


def decide_by_feedback(stores: Stores) -> ExternalReport:
    """Make decisions of the annotators' corrections that are none yet.

    The answer that is corrected is that of the span that the feedback names, else the last one of
    the trace. One that was taken back stays so.
    """
    with stores.warehouse.read() as connection:
        found = connection.table("review/answers_to_correct").to_pylist()
    changed = [row for row in found if row["correction"] != row["content"]]
    new = 0
    for part in parts(changed):
        with stores.ledger.begin() as ledger:
            fresh = _fresh(ledger, part)
            if fresh:
                append(ledger, [(_decision(row), key) for row, key in fresh])
                _record(ledger, [row for row, _ in fresh])
            new += len(fresh)
    return ExternalReport(len(found), new, len(found) - len(changed))


def is_external(reviewer: str) -> bool:
    """Whether a decision is by somebody of another tool."""
    return _OF_TOOL in reviewer


def take_back(ledger: Ledger, decision_id: int, actor: str) -> None:
    """Take an external decision back, in the name of who manages the queue.

    Raises NotFound where there is none, and Refused where it is a reviewer's own or was taken back.
    """
    wanted = sa.select(*decisions.c["trace_id", "content_hash", "reviewer"])
    with ledger.begin() as connection:
        row = connection.execute(wanted.where(decisions.c.decision_id == decision_id)).first()
        if row is None:
            raise NotFound("decision", str(decision_id), None)
        if not is_external(row.reviewer):
            raise Refused(f"decision {decision_id} is {row.reviewer}'s, who alone takes it back")
        stands = wanted.where(decisions.c.decision_id == decision_id, not_undone())
        if connection.execute(stands).first() is None:
            raise Refused(f"decision {decision_id} was taken back already")
        version = (row.trace_id, row.content_hash)
        items = lock_items(connection, [version])
        note(connection, "undo", version, actor, undoes=decision_id)
        settle(connection, items)
        record_action(connection, actor, "undo", row.trace_id, decision_id=decision_id)


def _fresh(ledger: sa.Connection, rows: Sequence[_Row]) -> list[tuple[_Row, str]]:
    """The rows that no decision was made of, each with the key of its feedback."""
    ids = [row["feedback_id"] for row in rows]
    made = sa.exists().where(decisions.c.import_key == feedback.c.feedback_key)
    wanted = sa.select(*feedback.c["feedback_id", "feedback_key"]).where(
        feedback.c.feedback_id.in_(ids), ~made
    )
    keys = {row.feedback_id: row.feedback_key for row in ledger.execute(wanted)}
    return [(row, keys[row["feedback_id"]]) for row in rows if row["feedback_id"] in keys]


def _decision(row: _Row) -> Decision:
    return Decision(
        trace_id=row["trace_id"],
        content_hash=row["content_hash"],
        reviewer=f"{row['tool']}{_OF_TOOL}{row['author'] or 'unknown'}",
        perceived_error=True,
        reason_code="correction",
        reason=row["comment"] or "",
        decided_at=in_utc(row["given_at"]),
        corrected_turn=row["position"],
        corrected_text=row["correction"],
    )


def _record(ledger: sa.Connection, rows: Sequence[_Row]) -> None:
    by_tool: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        by_tool[row["tool"]] += 1
    for tool, n in by_tool.items():
        record_action(ledger, "import", "import_decisions", tool, decisions=n)
