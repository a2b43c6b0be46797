"""Proposals: a change that a program wants, what was measured of it, and what a person said.

A draft in, a numbered proposal out; approved it is carried out by its kind, and undone by it. The
one idea is that one row says all: what stood before, what would stand after, on what evidence, who
decided and why, and who took it back.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound, Refused
from flywheel.evolution.evidence import Evidence, evidence_of
from flywheel.review.rows import storable
from flywheel.store import Project
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import proposal_traces, proposals

Kind = Literal["metric", "function", "case", "format"]
Change = Literal["add", "redefine", "remove"]
Status = Literal["open", "approved", "rejected", "undone"]
# Characters of a text before or after a change; a metric file may have 64 KiB.
MAX_TEXT = 256 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """A change that is proposed; `before` and `after` are whole texts, None where there is none.

    `shown_by` are traces that show the need, as pairs of id and content hash.
    """

    kind: Kind
    subject: str
    change: Change
    before: str | None
    after: str | None
    why: str
    evidence: Evidence
    shown_by: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The same for the same change, whoever proposes it on whatever evidence."""
        named = json.dumps([self.kind, self.subject, self.before, self.after])
        return hashlib.sha256(named.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A draft with its number and what became of it.

    `approved` is the text that was carried out, where a person had changed it. A metric in force
    may be asked to read history (`rescore_asked_at`), and last began to at `rescored_at`.
    """

    proposal_id: int
    draft: Draft
    proposed_by: str
    proposed_at: datetime
    status: Status
    approved: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    decided_why: str | None = None
    undone_by: str | None = None
    undone_at: datetime | None = None
    undone_why: str | None = None
    rescore_asked_at: datetime | None = None
    rescored_at: datetime | None = None

    @property
    def text(self) -> str | None:
        """What is in force once it is approved; None where the change takes something away."""
        return self.approved if self.approved is not None else self.draft.after


class Keeper(Protocol):
    """Who carries out the approved changes of one kind; both calls may be repeated."""

    def check(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Raise a NeverWill where the change cannot be carried out with this text."""

    def apply(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Put `text` in force, or take the subject away where it is None.

        Raises Refused where something else stands there than `check` saw.
        """

    def undo(self, project: Project, proposal: Proposal) -> None:
        """Put `draft.before` in force again; raises Refused where something else stands there."""


def propose(ledger: Ledger, draft: Draft, proposed_by: str) -> Proposal | None:
    """Store a draft as an open proposal; None where the very change was proposed before.

    Raises BadInput where a text is too long.
    """
    if any(len(text) > MAX_TEXT for text in (draft.before or "", draft.after or "", draft.why)):
        raise BadInput(f"a proposal's text is longer than {MAX_TEXT // 1024} KiB")
    values = {
        **{"kind": draft.kind, "subject": draft.subject, "change": draft.change},
        **{"before": _stored(draft.before), "after": _stored(draft.after)},
        **{"why": storable(draft.why), "evidence": json.dumps(draft.evidence.as_json())},
        **{"proposed_by": proposed_by, "change_key": draft.key},
        **{"proposed_at": now(), "status": "open"},
    }
    with ledger.begin() as connection:
        known = sa.select(proposals.c.proposal_id).where(proposals.c.change_key == draft.key)
        if connection.execute(known).first():
            return None
        made = connection.execute(proposals.insert().values(values)).inserted_primary_key
        number = int(made[0]) if made else 0
        for trace_id, content_hash in dict(draft.shown_by).items():
            row = {"trace_id": trace_id, "content_hash": content_hash}
            connection.execute(proposal_traces.insert().values(proposal_id=number, **row))
        record_action(connection, proposed_by, "propose", _subject(draft), proposal=number)
    return find_proposal(ledger, number)


def list_proposals(
    ledger: Ledger, status: Status | None = None, kind: Kind | None = None, limit: int = 200
) -> list[Proposal]:
    """Proposals, those that wait before the others, each the newest first.

    Of one status or kind where they are named.
    """
    is_decided = sa.case((proposals.c.status == "open", 0), else_=1)
    wanted = sa.select(proposals).order_by(is_decided, proposals.c.proposal_id.desc()).limit(limit)
    if status:
        wanted = wanted.where(proposals.c.status == status)
    if kind:
        wanted = wanted.where(proposals.c.kind == kind)
    with ledger.read() as connection:
        rows = connection.execute(wanted).mappings().all()
        shown = _traces_of(connection, [row["proposal_id"] for row in rows])
    return [_proposal(row, shown.get(row["proposal_id"], ())) for row in rows]


def find_proposal(ledger: Ledger, proposal_id: int) -> Proposal:
    """The proposal of this number; raises NotFound."""
    with ledger.read() as connection:
        return _found(connection, proposal_id)


def approve(
    *,
    project: Project,
    keeper: Keeper,
    proposal_id: int,
    actor: str,
    why: str,
    text: str | None = None,
) -> Proposal:
    """Carry out an open proposal, with `text` in the place of its own where one is given.

    Raises Refused where it is not open, and what the keeper raises where the text is no good.
    """
    wanted = find_proposal(project.stores.ledger, proposal_id)
    if text is not None and wanted.draft.after is None:
        raise BadInput("a removal has no text that could be edited")
    edited = None if text is None or text == wanted.draft.after else storable(text)
    in_force = wanted.draft.after if edited is None else edited
    keeper.check(project, wanted, in_force)
    said = {"decided_by": actor, "decided_why": storable(why), "decided_at": now()}
    with project.stores.ledger.begin() as connection:
        _turn(connection, wanted, "open", {"status": "approved", "approved": edited, **said})
        detail = {"proposal": proposal_id, "why": why, "edited": edited is not None}
        record_action(connection, actor, "approve_proposal", _subject(wanted.draft), **detail)
        # Inside, so that nothing is called approved that was not carried out; and as it is now, so
        # that the keeper knows who did it.
        keeper.apply(project, _found(connection, proposal_id), in_force)
    return find_proposal(project.stores.ledger, proposal_id)


def reject(ledger: Ledger, proposal_id: int, actor: str, why: str) -> Proposal:
    """Turn an open proposal down; the same change is not proposed again. Raises Refused."""
    wanted = find_proposal(ledger, proposal_id)
    said = {"decided_by": actor, "decided_why": storable(why), "decided_at": now()}
    with ledger.begin() as connection:
        _turn(connection, wanted, "open", {"status": "rejected", **said})
        detail = {"proposal": proposal_id, "why": why}
        record_action(connection, actor, "reject_proposal", _subject(wanted.draft), **detail)
    return find_proposal(ledger, proposal_id)


def undo(*, project: Project, keeper: Keeper, proposal_id: int, actor: str, why: str) -> Proposal:
    """Take an approved proposal back, so that what stood before is in force again.

    Raises Refused where it is not approved, or where what it put in force was changed since.
    """
    wanted = find_proposal(project.stores.ledger, proposal_id)
    said = {"undone_by": actor, "undone_why": storable(why), "undone_at": now()}
    with project.stores.ledger.begin() as connection:
        _turn(connection, wanted, "approved", {"status": "undone", **said})
        detail = {"proposal": proposal_id, "why": why}
        record_action(connection, actor, "undo_proposal", _subject(wanted.draft), **detail)
        keeper.undo(project, _found(connection, proposal_id))
    return find_proposal(project.stores.ledger, proposal_id)


def _turn(
    connection: sa.Connection, wanted: Proposal, status: Status, values: dict[str, Any]
) -> None:
    """Change the row of a proposal that has this status; raises Refused where it has another."""
    is_it = (proposals.c.proposal_id == wanted.proposal_id) & (proposals.c.status == status)
    if connection.execute(proposals.update().where(is_it).values(values)).rowcount:
        return
    found = _found(connection, wanted.proposal_id)
    by = found.undone_by or found.decided_by
    raise Refused(
        f"proposal {found.proposal_id} is {found.status}{f' by {by}' if by else ''}, not {status}"
    )


def _found(connection: sa.Connection, proposal_id: int) -> Proposal:
    wanted = sa.select(proposals).where(proposals.c.proposal_id == proposal_id)
    row = connection.execute(wanted).mappings().first()
    if row is None:
        raise NotFound("proposal", str(proposal_id), None)
    return _proposal(row, _traces_of(connection, [proposal_id]).get(proposal_id, ()))


def _traces_of(
    connection: sa.Connection, numbers: Sequence[int]
) -> dict[int, tuple[tuple[str, str], ...]]:
    found: dict[int, tuple[tuple[str, str], ...]] = {}
    wanted = sa.select(proposal_traces).where(proposal_traces.c.proposal_id.in_(numbers))
    for row in connection.execute(wanted.order_by(proposal_traces.c.trace_id)):
        pair = (row.trace_id, row.content_hash)
        found[row.proposal_id] = (*found.get(row.proposal_id, ()), pair)
    return found


def _proposal(row: sa.RowMapping, shown_by: tuple[tuple[str, str], ...]) -> Proposal:
    draft = Draft(
        **{name: row[name] for name in ("kind", "subject", "change", "before", "after", "why")},
        evidence=evidence_of(json.loads(row["evidence"])),
        shown_by=shown_by,
    )
    moments = {
        name: in_utc(row[name]) if row[name] else None
        for name in ("decided_at", "undone_at", "rescore_asked_at", "rescored_at")
    }
    return Proposal(
        proposal_id=row["proposal_id"],
        draft=draft,
        proposed_by=row["proposed_by"],
        proposed_at=in_utc(row["proposed_at"]),
        status=row["status"],
        approved=row["approved"],
        decided_by=row["decided_by"],
        decided_why=row["decided_why"],
        undone_by=row["undone_by"],
        undone_why=row["undone_why"],
        **moments,
    )


def _subject(draft: Draft) -> str:
    return f"{draft.kind} {draft.subject}"


def _stored(text: str | None) -> str | None:
    return None if text is None else storable(text)
