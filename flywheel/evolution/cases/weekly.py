"""Cases once a week: what every file of dimensions lacks, and what people corrected.

A project in, proposals out, and a sentence for whatever could not be done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flywheel.errors import FlywheelError
from flywheel.evolution.cases.proposing import (
    REGRESSIONS,
    Covered,
    all_plans,
    kept_coverage,
    propose_cases,
    propose_regressions,
)
from flywheel.evolution.proposals import list_proposals
from flywheel.models.writer import Writer, writer_of
from flywheel.store import Project


@dataclass(slots=True)
class WeekOfCases:
    """What is covered now, what was proposed, and what was not, and why."""

    covered: list[Covered] = field(default_factory=list)
    proposals: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def propose_cases_or_why(project: Project) -> WeekOfCases:
    """Propose cases for every file of dimensions and for every new correction.

    A file of which a proposal waits is left until a person has decided.
    """
    week = WeekOfCases()
    waiting = {
        Path(one.draft.subject).stem: one.proposal_id
        for one in list_proposals(project.stores.ledger, "open", "case")
    }
    if _is_free(REGRESSIONS.removesuffix(".jsonl"), waiting, week):
        found, regressions = propose_regressions(project)
        week.proposals += [regressions.proposal_id] if regressions else []
        week.said.append(f"{len(found.cases)} of {found.corrections} corrections are new cases.")
    names = all_plans(project)
    writer = _writer_or_why(project, week) if names else None
    if not names:
        week.said.append("There is no file of dimensions, cases/NAME.toml.")
    for name in names:
        try:
            if writer and _is_free(name, waiting, week):
                made, proposed = propose_cases(project, name, writer)
                week.proposals += [one.proposal_id for one in proposed]
                week.said.append(f"{name}: {len(made.cases)} new cases.")
            week.covered.append(kept_coverage(project, name))
        except FlywheelError as error:
            week.said.append(f"{name}: {error}.")
    return week


def _is_free(name: str, waiting: Mapping[str, int], week: WeekOfCases) -> bool:
    if name in waiting:
        week.said.append(f"{name}: proposal {waiting[name]} waits for a person.")
    return name not in waiting


def _writer_or_why(project: Project, week: WeekOfCases) -> Writer | None:
    try:
        return writer_of(project.settings, project.stores.ledger)
    except FlywheelError as error:
        week.said.append(f"No model words questions: {error}.")
        return None
