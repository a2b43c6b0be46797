"""The stages in order, in one process: what Dagster does asset by asset, without Dagster.

A project in, a report out; the one idea is that every step reads the version that is current when
it starts, and that running it again changes nothing that is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from flywheel.corrections import LabelReport, derive_labels
from flywheel.errors import NotEnough
from flywheel.gate import GateItem, GateVerdict
from flywheel.gate.holdout import TARGET, judge_challenger
from flywheel.judge.cold_start import cold_start_judge
from flywheel.judge.files import load_judge
from flywheel.judge.judge import Judge
from flywheel.judge.scoring import JudgeReport, Progress, no_progress, score_day
from flywheel.metrics import read_metrics, score_day_by_code
from flywheel.models.embedder import Embedder, load_embedder
from flywheel.quality import write_quality_report
from flywheel.queue import QueueReport, fill_queue
from flywheel.registry import (
    CHALLENGER,
    CHAMPION,
    Promotion,
    alias_of,
    follow_verdict,
    register,
    set_alias,
)
from flywheel.retrieval import few_shots_for_day, update_index
from flywheel.store import Project
from flywheel.store.ledger import Ledger
from flywheel.store.snapshots import restore_all
from flywheel.traces.conversations import InputLevers
from flywheel.traces.importing import days_with_traces, load_imports
from flywheel.traces.sampling import sample_day
from flywheel.training.challenger import (
    Challenger,
    judge_in,
    labels_since_training,
    train_challenger,
)
from flywheel.training.dataset import TrainingSet, take_training_set

ACTOR = "pipeline"


@dataclass(slots=True)
class LoopReport:
    """What each stage did; `retraining` says in a sentence why it ran or did not."""

    days: list[date] = field(default_factory=list)
    traces: int = 0
    scored: int = 0
    not_eligible: int = 0
    flagged: int = 0
    drawn: int = 0
    labels: int = 0
    examples: int = 0
    retraining: str = ""
    refused_metrics: list[str] = field(default_factory=list)


def embedder_of(project: Project) -> Embedder:
    """The project's embedder; the same object for the whole process."""
    return load_embedder(project.settings.judge.embedder, project.settings.compute.threads)


def levers_of(project: Project) -> InputLevers:
    """What of a turn the project's judges are given."""
    settings = project.settings.judge
    return InputLevers(settings.max_message_chars, tuple(settings.strip_markers))


def judge_of(project: Project, folder: Path | None = None) -> Judge:
    """The judge in `folder`, else the champion, else the one that needs no labels."""
    embedder = embedder_of(project)
    if folder is not None:
        return load_judge(folder, embedder)
    champion = alias_of(project.stores.ledger, TARGET, CHAMPION)
    # A champion without files is the judge that needs no labels.
    if champion is None or champion.artifact is None:
        return cold_start_judge(embedder, levers_of(project))
    return judge_in(project.stores, champion.version, embedder)


def run_loop(
    project: Project, days: Sequence[date] | None = None, progress: Progress = no_progress
) -> LoopReport:
    """Every stage in order over these days, or over all that have traces; then what is learnt."""
    load_imports(project.stores)
    report = LoopReport(list(days or days_with_traces(project.stores)))
    report.refused_metrics = [str(why) for why in read_metrics(project.metrics_dir)[1]]
    for number, day in enumerate(report.days):
        judged, queued = run_day(project, day)
        report.traces += judged.attempted
        report.scored += next(iter(judged.scored.values()))
        report.not_eligible += sum(judged.skipped.values())
        report.flagged += judged.flagged
        report.drawn += queued.drawn
        progress(number + 1, len(report.days))
    labels = learn(project)
    report.labels = labels.labels
    report.examples = update_index(project.stores, embedder_of(project), levers_of(project)).total
    report.retraining = retrain_if_due(project, progress)
    return report


def run_day(project: Project, day: date) -> tuple[JudgeReport, QueueReport]:
    """The daily stages of one day, from its sample to its review queue."""
    stores, settings = project.stores, project.settings
    sample_day(stores, day, settings.sampling.rate, settings.sampling.min_per_stratum)
    metrics = read_metrics(project.metrics_dir)[0]
    score_day_by_code(stores, metrics, day)
    few_shots_for_day(stores, embedder_of(project), settings.retrieval, levers_of(project), day)
    judged = score_day(stores, judge_of(project), day)
    return judged, fill_queue(stores, settings.queue, day, metrics)


def learn(project: Project) -> LabelReport:
    """What people decided becomes labels, and the estimates follow."""
    report = derive_labels(project.stores)
    write_quality_report(project.stores)
    return report


def retrain_if_due(project: Project, progress: Progress = no_progress) -> str:
    """Train and gate a challenger where enough new labels stand; a sentence on what happened."""
    need = project.settings.training.min_corrections
    new = labels_since_training(project.stores).count
    if new < need:
        return f"no retraining: {new} new labels, {need - new} more are needed"
    try:
        verdict = retrain(project, progress)
    except NotEnough as reason:
        return f"no retraining: {reason}"
    return " ".join(verdict.why)


def retrain(project: Project, progress: Progress = no_progress) -> GateVerdict:
    """Train a challenger on all labels outside the holdout, and let the gate decide."""
    train(project, take_training_set(project.stores, levers_of(project)), progress)
    verdict, _ = gate(project)
    follow_gate(project)
    return verdict


def train(
    project: Project, training_set: TrainingSet, progress: Progress = no_progress
) -> Challenger:
    """Fit a judge on the training set, register it, and put it up against the champion.

    Raises NotEnough where the training set has too few labels of either class.
    """
    ledger, champion = project.stores.ledger, judge_of(project)
    made = train_challenger(
        project.stores,
        training_set,
        embedder_of(project),
        levers_of(project),
        project.settings.training,
        champion.version,
        progress,
    )
    _enter_cold_start(ledger, champion)
    register(ledger, TARGET, made.version, made.manifest, made.version, champion.version, ACTOR)
    # The same labels give the same judge, which may be the champion by now.
    if made.version != champion.version:
        set_alias(ledger, TARGET, CHALLENGER, made.version, ACTOR, "newest training")
    return made


def _enter_cold_start(ledger: Ledger, champion: Judge) -> None:
    """Make the judge in use the champion where it is none yet, so that there is a way back to it.

    Only the cold-start judge can be that: in a new project, or under a new version of its own.
    """
    entered = alias_of(ledger, TARGET, CHAMPION)
    if entered is None or entered.version != champion.version:
        register(ledger, TARGET, champion.version, {}, None, None, ACTOR)
        set_alias(ledger, TARGET, CHAMPION, champion.version, ACTOR, "it needs no labels")


def gate(project: Project) -> tuple[GateVerdict, list[GateItem]]:
    """The verdict on the challenger against the champion, and the holdout it was given on.

    Raises NotEnough where there is no challenger.
    """
    challenger = alias_of(project.stores.ledger, TARGET, CHALLENGER)
    if challenger is None:
        raise NotEnough("challengers of the champion", 0, 1)
    return judge_challenger(
        project.stores,
        judge_of(project),
        judge_in(project.stores, challenger.version, embedder_of(project)),
        project.settings.gate,
    )


def follow_gate(project: Project) -> Promotion | None:
    """Make the challenger the champion where it passed and the settings leave that to the gate."""
    ledger = project.stores.ledger
    challenger = alias_of(ledger, TARGET, CHALLENGER)
    if challenger is None or challenger.verdict is None:
        return None
    return follow_verdict(ledger, TARGET, challenger.verdict, project.settings.gate, ACTOR)


def rebuild_warehouse(project: Project) -> dict[str, int]:
    """Make the warehouse again from imports, snapshots and decisions; the old one is kept."""
    stores = project.stores
    stores.warehouse.set_aside()
    imports = load_imports(stores)
    partitions = restore_all(stores)
    labels = derive_labels(stores)
    return {
        "imports": len(imports),
        "traces": sum(report.new for report in imports),
        "partitions": partitions,
        "labels": labels.labels,
    }
