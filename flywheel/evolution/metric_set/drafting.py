"""One change of the metric set, measured: the draft of a proposal, or why it is none.

What a model wants and the material in, a `Draft` with its evidence out.
"""

from collections.abc import Collection, Sequence
from datetime import date

import numpy as np

from flywheel.errors import BadInput, BadMetric
from flywheel.evolution.copying import check_own_words
from flywheel.evolution.evidence import Evidence
from flywheel.evolution.metric_set.asking import Shown
from flywheel.evolution.metric_set.backtest import MIN_LABELS
from flywheel.evolution.metric_set.checks import (
    check_general,
    check_new,
    measured_on_labels,
    run_on_labels,
)
from flywheel.evolution.metric_set.evidence import evidence_of_metric, evidence_of_removal
from flywheel.evolution.metric_set.keeping import check_name, metric_in
from flywheel.evolution.metric_set.labelled import Labels, Said
from flywheel.evolution.metric_set.material import Material
from flywheel.evolution.metric_set.rubrics import judge_labels, rows_for_rubrics
from flywheel.evolution.metric_set.wanted import SUFFIX, OwnMetric, WantedChange, file_text
from flywheel.evolution.proposals import Draft
from flywheel.judge.people import Bools
from flywheel.metrics import Limits, Metric
from flywheel.metrics.metric import SqlMetric
from flywheel.metrics.rubric_files import RubricMetric
from flywheel.store import Project


def draft_of(
    project: Project,
    material: Material,
    shown: Sequence[Shown],
    wanted: WantedChange,
    author: str,
    today: date,
    leaving: Collection[str] = (),
) -> Draft:
    """The change with its files and its evidence; `leaving` are files that may go as well.

    Raises BadInput, BadMetric or Refused with one sentence where it may not be proposed.
    """
    present = _present(material, wanted)
    _check_words(project, material, shown, wanted)
    logs = [shown[n - 1] for n in dict.fromkeys(wanted.logs) if 0 < n <= len(shown)]
    pairs = tuple((one.conversation.trace_id, one.conversation.content_hash) for one in logs)
    if wanted.change == "remove" and present is not None:
        evidence = _removal(project, material, present, leaving)
        gone = (present.file, wanted.change, present.text, None, wanted.why)
        return Draft("metric", *gone, evidence, pairs)
    if not logs:
        raise BadInput("no log is named that shows the need; give the numbers of some in `logs`")
    text = file_text(wanted, present.metric if present else None, author, today)
    file = present.file if present else f"{wanted.name}{SUFFIX[wanted.form]}"
    metric = metric_in(file, text)
    check_general(wanted.body, metric, material.labels.trace_ids)
    check_name(project, metric)
    evidence = _change(project, material, metric, present)
    made = (file, wanted.change, present.text if present else None, text, wanted.why)
    return Draft("metric", *made, evidence, pairs)


def staying(material: Material, name: str, leaving: Collection[str]) -> dict[str, Said]:
    """What the metrics say of the holdout that find what this one finds, once it is gone.

    Of two that find the same, each could go for the other's sake, and both must not.
    """
    gone = {name, *(other for other, own in material.own.items() if own.file in leaving)}
    return {other: one for other, one in material.said_of_held().items() if other not in gone}


def _removal(
    project: Project, material: Material, present: OwnMetric, leaving: Collection[str]
) -> Evidence:
    name = present.metric.name
    said = _said_before(project, material, present.metric).take(material.is_held)
    others = staying(material, name, leaving)
    return evidence_of_removal(name, said, others, material.held, material.notes)


def _change(
    project: Project, material: Material, metric: Metric, present: OwnMetric | None
) -> Evidence:
    rows, after, before = _measure(project, material, metric, present)
    known = {name: one.take(rows) for name, one in material.said.items() if name != metric.name}
    check_new(after, metric, known | ({} if before is None else {"the one before": before}))
    labels, inside = material.labels.take(rows), material.is_held[rows]
    return evidence_of_metric(
        after.take(inside),
        None if before is None else before.take(inside),
        labels.take(inside),
        project.settings.evolution.false_failures,
        (*_learnt(after, labels, ~inside), *material.notes),
    )


def _present(material: Material, wanted: WantedChange) -> OwnMetric | None:
    """The project's own metric that is changed; None where one is added."""
    found = material.own.get(wanted.name)
    if wanted.change == "add":
        if any(metric.name == wanted.name for metric in material.metrics):
            raise BadInput(
                f"there is a metric {wanted.name!r} already; redefine it, or add another"
            )
        return None
    if found is None:
        known = ", ".join(material.own) or "none"
        raise BadInput(f"{wanted.name!r} is no metric of the project's own; those are: {known}")
    is_same_form = found.file.endswith(SUFFIX[wanted.form])
    if wanted.change == "redefine" and not is_same_form:
        raise BadInput(f"{found.file} is of another form; add a new metric, and remove this one")
    return found


def _check_words(
    project: Project, material: Material, shown: Sequence[Shown], wanted: WantedChange
) -> None:
    """Raise BadInput where anything that is kept of the answer repeats what was shown."""
    sources = [" ".join(turn.text for turn in one.conversation.turns) for one in shown]
    sources += [one.reason for one in shown]
    for text in (wanted.description, wanted.body, wanted.why):
        check_own_words(text, sources, project.settings.privacy)


def _measure(
    project: Project, material: Material, metric: Metric, present: OwnMetric | None
) -> tuple[Bools, Said, Said | None]:
    """Which labels it was measured on, what it says of them, and what stood before said."""
    if isinstance(metric, RubricMetric):
        rows = rows_for_rubrics(material, project.settings.evolution.rubric_traces)
        labels = material.labels.take(rows)
        after = judge_labels(project, metric, labels)
        old = present.metric if present else None
        before = judge_labels(project, old, labels) if isinstance(old, RubricMetric) else None
        return rows, after, before
    if not isinstance(metric, SqlMetric):
        raise BadMetric(metric.file, "is of a form that no model may write")
    rows = np.ones(len(material.labels), bool)
    after = run_on_labels(project.stores, metric, material.labels, _limits(project))
    return rows, after, _said_before(project, material, present.metric) if present else None


def _said_before(project: Project, material: Material, metric: Metric) -> Said:
    """What a present metric says of all labels: run anew where it is a SELECT, else its scores."""
    if isinstance(metric, SqlMetric):
        return measured_on_labels(project.stores, metric, material.labels, _limits(project))
    if metric.name not in material.said:
        raise BadInput(
            f"{metric.name} has scored no labelled trace yet; re-score the history first"
        )
    return material.said[metric.name]


def _learnt(after: Said, labels: Labels, is_taught: Bools) -> list[str]:
    """How it does on the labels that its author could have learnt from, beside those it had not."""
    truth, against = labels.people.truth[is_taught], after.is_against[is_taught]
    if len(truth) < MIN_LABELS:
        return []
    found, false = int((against & truth).sum()), int((against & ~truth).sum())
    return [
        f"outside the holdout, where its author was shown some, it speaks against {found:,} of "
        f"{int(truth.sum()):,} errors and {false:,} of {int((~truth).sum()):,} others"
    ]


def _limits(project: Project) -> Limits:
    given = project.settings.evolution
    threads = project.stores.warehouse.threads
    return Limits(given.metric_seconds, given.metric_memory_mb, threads)
