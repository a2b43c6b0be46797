"""Proposals of metrics: a model says what should change, and each change is measured or refused.

Labels and metrics in, numbered proposals out. The one idea is that what a model writes is run where
it can do no harm, measured on labels that it has not seen, and only then shown to anybody; what is
refused goes back to it once, with the reason.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from flywheel.errors import BadInput, FlywheelError, NeverWill
from flywheel.evolution.metric_set.asking import Shown, first_messages, measured, room_of
from flywheel.evolution.metric_set.drafting import draft_of
from flywheel.evolution.metric_set.material import Material, read_material, shown_traces
from flywheel.evolution.metric_set.wanted import WantedChange, WantedChanges
from flywheel.evolution.proposals import Draft, list_proposals, propose
from flywheel.in_use import generative_of
from flywheel.models.chat import Message
from flywheel.models.writer import NotWritten, Writer, writer_of
from flywheel.safety import quote
from flywheel.store import Project
from flywheel.store.ledger import now

_ROUNDS = 2
_LONGEST_FAULT = 300


@dataclass(slots=True)
class MetricSetReport:
    """What became of what a model wanted: numbers of proposals, and by name why others are none.

    `drafts` are all that could be proposed, new or not; `known` counts those that were proposed
    before, whatever was said to them.
    """

    author: str
    traces_shown: int = 0
    labels_taught: int = 0
    labels_held: int = 0
    wanted: int = 0
    known: int = 0
    proposed: list[int] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)


def propose_metrics(
    project: Project, writer: Writer, is_dry: bool = False, today: date | None = None
) -> MetricSetReport:
    """Ask for changes of the metric set, measure each, and store those that stand as proposals.

    With `is_dry` nothing is stored. Raises NotEnough where labels are too few, NotWritten where the
    model gives no answer.
    """
    material = read_material(project)
    messages, shown = _question(project, material)
    report = MetricSetReport(writer.version, len(shown), len(material.taught), len(material.held))
    for _ in range(_ROUNDS):
        answer = writer.write(messages, WantedChanges)
        report.wanted += len(answer.changes)
        refused = {}
        for wanted in answer.changes:
            try:
                made_by = (writer.name, today or now().date(), _leaving(project, report))
                report.drafts.append(draft_of(project, material, shown, wanted, *made_by))
                report.refused.pop(wanted.name, None)
            except NeverWill as error:
                refused[wanted.name] = str(error)
        report.refused |= refused
        if not refused:
            break
        messages = [*messages, *_again(answer.changes, refused)]
    if not is_dry:
        _store(project, report)
    return report


def propose_metrics_or_why(project: Project) -> MetricSetReport | str:
    """The same by the model of the settings; a sentence where none is named, where labels are too
    few, or where it wrote nothing that can be used."""
    try:
        return propose_metrics(project, writer_of(project.settings, project.stores.ledger))
    except (NeverWill, NotWritten) as error:
        return str(error)


def _leaving(project: Project, report: MetricSetReport) -> set[str]:
    """Files whose removal is proposed, now or before, and not decided."""
    waiting = [one.draft for one in list_proposals(project.stores.ledger, "open", "metric")]
    return {one.subject for one in (*waiting, *report.drafts) if one.change == "remove"}


def _question(project: Project, material: Material) -> tuple[list[Message], list[Shown]]:
    wanted = project.settings.evolution
    return first_messages(
        measured(material.metrics, material.said_of_taught(), material.taught),
        list(material.own.values()),
        shown_traces(project, material),
        room_of(wanted.context_tokens, wanted.max_reply_tokens),
        has_judge=_has_judge(project),
    )


def _has_judge(project: Project) -> bool:
    try:
        return generative_of(project) is not None
    except FlywheelError:
        return False


def _again(answered: Sequence[WantedChange], refused: dict[str, str]) -> list[Message]:
    """The answer, and what is wrong with it."""
    said = json.dumps({"changes": [one.model_dump() for one in answered]}, ensure_ascii=False)
    faults = "\n".join(f"- {name}: {quote(why, _LONGEST_FAULT)}" for name, why in refused.items())
    asked = (
        f"These changes were refused:\n{faults}\nWrite again those that can be mended, no others."
    )
    return [Message("assistant", said), Message("user", asked)]


def _store(project: Project, report: MetricSetReport) -> None:
    for draft in report.drafts:
        try:
            made = propose(project.stores.ledger, draft, report.author)
        except BadInput as error:
            report.refused[draft.subject] = str(error)
            continue
        if made is None:
            report.known += 1
        else:
            report.proposed.append(made.proposal_id)
