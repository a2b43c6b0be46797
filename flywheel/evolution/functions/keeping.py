"""Approved functions: live for agents, and taken back by moving the pointer.

A proposal in, a version in the store out. The one idea is that a person's edit passes the same
gates as a model's code did, in the same sandbox, before it counts.
"""

from flywheel.errors import BadInput, Refused
from flywheel.evolution.functions.gates import check_gates
from flywheel.evolution.functions.limits import limits_of
from flywheel.evolution.functions.record import FunctionRecord, read_record
from flywheel.evolution.functions.store import live_record, put_live, take_away
from flywheel.evolution.proposals import Proposal
from flywheel.store import Project


class FunctionKeeper:
    """A function of the store; the proposal's subject is its name, its text is a record."""

    def check(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Raise BadInput where the record does not pass a gate, Refused where another is live.

        Raises NoSandbox where its tests cannot be run.
        """
        name = proposal.draft.subject
        _check_live(project, name, proposal.draft.before, text)
        if text is None:
            return
        record = read_record(text)
        if record.name != name:
            raise BadInput(f"the record is of {record.name!r}, and the proposal is of {name!r}")
        settings = project.settings.evolution
        check_gates(record, settings.sandbox_packages, limits_of(settings))

    def apply(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Move the pointer of the name; what took minutes to check may be another's by now."""
        _check_live(project, proposal.draft.subject, proposal.draft.before, text)
        self._put(project, proposal, text, "approved")

    def undo(self, project: Project, proposal: Proposal) -> None:
        """Move the pointer back."""
        draft = proposal.draft
        _check_live(project, draft.subject, proposal.text, draft.before)
        self._put(project, proposal, draft.before, "taken back")

    def _put(self, project: Project, proposal: Proposal, text: str | None, done: str) -> None:
        actor = (proposal.undone_by or proposal.decided_by) or proposal.proposed_by
        why = f"proposal {proposal.proposal_id} was {done}"
        ledger = project.stores.ledger
        if text is None:
            take_away(ledger, proposal.draft.subject, actor, why)
        else:
            put_live(ledger, read_record(text), actor, why)


def _check_live(project: Project, name: str, *expected: str | None) -> None:
    """Raise Refused where what is live is none of the records expected."""
    live = live_record(project.stores.ledger, name)
    wanted = [_version(None if text is None else read_record(text)) for text in expected]
    if _version(live) not in wanted:
        raise Refused(
            f"another version of {name} became live after the proposal was made; propose it again "
            "against the one that is live"
        )


def _version(record: FunctionRecord | None) -> str | None:
    return None if record is None else record.version
