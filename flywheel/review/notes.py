"""What reviewers do beside deciding: skip, decline, flag as sensitive, remark.

Acts of people in, rows of `decisions` and `comments` out, each with its entry in the audit log.
Like decisions they are never changed; what is taken back is taken back by a row of its own.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.queue.claims import drop_claims, lock_item
from flywheel.queue.filters import not_undone
from flywheel.records import DecisionKind
from flywheel.review.rows import Version, lock_items, note, settle, storable
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import comments, decisions

COMMENT_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class Comment:
    """A remark on a version of a trace."""

    comment_id: int
    author: str
    text: str
    written_at: datetime


def skip(ledger: Ledger, item_id: int, reviewer: str) -> int:
    """Note that the reviewer leaves an item to others, and end the claim; the id of the note.

    Raises NotFound where there is no such item.
    """
    with ledger.begin() as connection:
        item = lock_item(connection, item_id)
        drop_claims(connection, item_id, reviewer)
        return _note_once(
            connection, "skip", (item.trace_id, item.content_hash), reviewer, item_id=item_id
        )


def unskip(ledger: Ledger, reviewer: str) -> int:
    """Take back every skip of the reviewer, so that those items come again; how many it were."""
    with ledger.begin() as connection:
        skipped = sa.and_(decisions.c.kind == "skip", decisions.c.reviewer == reviewer)
        n_taken_back = _take_back(connection, skipped, reviewer)
        if n_taken_back:
            record_action(connection, reviewer, "unskip", reviewer, skips=n_taken_back)
    return n_taken_back


def decline(
    ledger: Ledger, trace_id: str, content_hash: str, reviewer: str, reason: str = ""
) -> int:
    """Note that a person will not decide on a trace, and close its items; the id of the note.

    What is decided or disputed already stays so.
    """
    version = (trace_id, content_hash)
    with ledger.begin() as connection:
        items = lock_items(connection, [version])
        decision_id = note(connection, "decline", version, reviewer, reason)
        settle(connection, items, is_about_declining=True)
        record_action(connection, reviewer, "decline", trace_id, decision_id=decision_id)
    return decision_id


def flag_sensitive(
    ledger: Ledger, trace_id: str, content_hash: str, reviewer: str, reason: str = ""
) -> int:
    """Mark a trace as one to keep out of examples, training and exports; the id of the mark.

    Its labels still count in rates and before the gate.
    """
    with ledger.begin() as connection:
        return _note_once(connection, "sensitive", (trace_id, content_hash), reviewer, reason)


def clear_sensitive(ledger: Ledger, trace_id: str, reviewer: str) -> int:
    """Take back every mark on a trace, whoever made it; how many it were."""
    with ledger.begin() as connection:
        marked = sa.and_(decisions.c.trace_id == trace_id, decisions.c.kind == "sensitive")
        n_taken_back = _take_back(connection, marked, reviewer)
        if n_taken_back:
            record_action(connection, reviewer, "clear_sensitive", trace_id, marks=n_taken_back)
    return n_taken_back


def is_sensitive(ledger: Ledger, trace_id: str) -> bool:
    """Whether a mark on any version of the trace stands."""
    marked = sa.exists().where(
        decisions.c.trace_id == trace_id, decisions.c.kind == "sensitive", not_undone()
    )
    with ledger.read() as connection:
        return bool(connection.scalar(sa.select(marked)))


def sensitive_traces(ledger: Ledger) -> set[str]:
    """The ids of all traces that are marked as sensitive."""
    marked = sa.select(decisions.c.trace_id).where(decisions.c.kind == "sensitive", not_undone())
    with ledger.read() as connection:
        return set(connection.scalars(marked))


def comment(ledger: Ledger, trace_id: str, content_hash: str, author: str, text: str) -> int:
    """Add a remark on a version of a trace; its id.

    Raises BadInput on an empty text and on one of more than 10,000 characters.
    """
    said = storable(text.strip())
    if not said:
        raise BadInput("a comment needs a text")
    if len(said) > COMMENT_LENGTH:
        raise BadInput(f"a comment has {len(said):,} characters, and at most 10,000 are kept")
    row = {
        "trace_id": trace_id,
        "content_hash": content_hash,
        "author": author,
        "text": said,
        "written_at": now(),
    }
    with ledger.begin() as connection:
        added = comments.insert().values(row).returning(comments.c.comment_id)
        comment_id = int(connection.execute(added).scalar_one())
        record_action(connection, author, "comment", trace_id, comment_id=comment_id)
    return comment_id


def comments_on(ledger: Ledger, trace_id: str, content_hash: str) -> list[Comment]:
    """The remarks on a version of a trace, oldest first."""
    columns = ("comment_id", "author", "text", "written_at")
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(*comments.c[columns])
            .where(comments.c.trace_id == trace_id, comments.c.content_hash == content_hash)
            .order_by(comments.c.comment_id)
        ).all()
    return [Comment(row[0], row[1], row[2], in_utc(row[3])) for row in rows]


def _note_once(
    connection: sa.Connection,
    kind: DecisionKind,
    version: Version,
    reviewer: str,
    reason: str | None = None,
    **detail: object,
) -> int:
    """The id of the reviewer's note that stands, or of a new one: a button pressed twice is one."""
    present = connection.scalar(
        sa.select(sa.func.max(decisions.c.decision_id)).where(
            decisions.c.trace_id == version[0],
            decisions.c.content_hash == version[1],
            decisions.c.kind == kind,
            decisions.c.reviewer == reviewer,
            not_undone(),
        )
    )
    if present is not None:
        return int(present)
    decision_id = note(connection, kind, version, reviewer, reason)
    record_action(connection, reviewer, kind, version[0], decision_id=decision_id, **detail)
    return decision_id


def _take_back(connection: sa.Connection, which: sa.ColumnElement[bool], reviewer: str) -> int:
    columns = decisions.c["decision_id", "trace_id", "content_hash"]
    standing = connection.execute(sa.select(*columns).where(which, not_undone())).all()
    for decision_id, trace_id, content_hash in standing:
        note(connection, "undo", (trace_id, content_hash), reviewer, undoes=decision_id)
    return len(standing)
