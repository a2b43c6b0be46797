"""Approved cases and dimensions as files of the project.

A proposal in, `cases/NAME.jsonl` or `cases/NAME.toml` written or removed.
"""

import re
from pathlib import Path

from flywheel.errors import BadInput
from flywheel.evolution.cases.case import read_cases
from flywheel.evolution.cases.dimensions import folder_of, read_plan
from flywheel.evolution.kept_files import check_kept, write_kept
from flywheel.evolution.proposals import Proposal
from flywheel.store import Project

_FILE = re.compile(r"[a-z][a-z0-9_]{0,39}\.(?:jsonl|toml)")


class CaseKeeper:
    """A file of cases or of their dimensions; the proposal's subject is the name of the file."""

    def check(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Raise BadInput where the text is no such file, Refused where the file has changed."""
        path = case_path(project, proposal.draft.subject)
        check_kept(path, proposal.draft.before, text)
        if text is None:
            return
        if path.suffix == ".toml":
            read_plan(path.stem, text)
        else:
            read_cases(path.name, text)

    def apply(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Write or remove the file."""
        path = case_path(project, proposal.draft.subject)
        check_kept(path, proposal.draft.before, text)
        write_kept(path, text)

    def undo(self, project: Project, proposal: Proposal) -> None:
        """Put the file back as it was."""
        path = case_path(project, proposal.draft.subject)
        check_kept(path, proposal.text, proposal.draft.before)
        write_kept(path, proposal.draft.before)


def case_path(project: Project, file: str) -> Path:
    """Where a file of cases stands; raises BadInput on what is no such name."""
    if not _FILE.fullmatch(file):
        raise BadInput(f"{file!r} is no file of cases; write NAME.jsonl or NAME.toml")
    return folder_of(project.folder) / file
