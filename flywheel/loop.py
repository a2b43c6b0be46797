"""The stages in order, in one process: what Dagster does asset by asset, without Dagster.

A project in, a report out; the one idea is that every step reads the version that is current when
it starts, and that running it again changes nothing that is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from flywheel.corrections import LabelReport, derive_labels
from flywheel.errors import BadInput, NeverWill
from flywheel.evolution.call_graph.probing import probe_day
from flywheel.experiments.publishing import look_at_experiments
from flywheel.forgetting import reapply
from flywheel.in_use import (
    adapters_of,
    embedder_of,
    generative_of,
    judges_of,
    levers_of,
    rubrics_of,
    shadows_of,
)
from flywheel.judge.configured import configured_panel
from flywheel.judge.panel import PanelReport, label_day
from flywheel.judge.rubric_metrics import RubricReport, score_day_by_rubrics
from flywheel.judge.scoring import (
    JudgeReport,
    Progress,
    TierProgress,
    no_progress,
    no_tier_progress,
    score_apps,
)
from flywheel.judge.shadow_report import publish_shadows
from flywheel.judge.shadows import score_shadow
from flywheel.metrics import read_metrics, score_day_by_code
from flywheel.metrics.feedback import score_feedback
from flywheel.quality import write_quality_report
from flywheel.quality.announcing import announce
from flywheel.quality.drift import DriftReport, measure_drift
from flywheel.queue import QueueReport, fill_queue, queue_complaints, queue_panel_items
from flywheel.records import Tier
from flywheel.retraining import retrain_all_due
from flywheel.retrieval import few_shots_for_day, update_indexes
from flywheel.review.external import decide_by_feedback
from flywheel.store import Project, Stores
from flywheel.store.ledger import now
from flywheel.store.snapshots import require_snapshots, restore_all
from flywheel.traces.draining import drain_and_load
from flywheel.traces.importing import days_with_traces, load_imports, require_archives
from flywheel.traces.sampling import sample_day


@dataclass(slots=True)
class LoopReport:
    """What each stage did; `retraining` says in a sentence why it ran or did not.

    `scored` counts traces with a verdict, `read_by` those that each tier has read; `unjudged` are
    of the generative judge, by kind, and `why_unjudged` is the first reason.
    """

    days: list[date] = field(default_factory=list)
    traces: int = 0
    scored: int = 0
    read_by: dict[str, int] = field(default_factory=dict)
    unjudged: dict[str, int] = field(default_factory=dict)
    why_unjudged: str = ""
    not_eligible: int = 0
    flagged: int = 0
    drawn: int = 0
    feedback: int = 0
    complaints: int = 0
    labels: int = 0
    examples: int = 0
    retraining: str = ""
    refused_metrics: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)


def run_loop(
    project: Project,
    days: Sequence[date] | None = None,
    progress: Progress = no_progress,
    tiers: TierProgress = no_tier_progress,
) -> LoopReport:
    """Every stage in order over these days, or over all that have traces; then what is learnt.

    `progress` is told of days, and `tiers` of what each tier of the judge has read of a day. Raises
    BadInput where one of these days has no traces, when all that was sent is in.
    """
    drain_and_load(project.stores, project.settings)
    reapply(project)
    report = LoopReport(_days_of(project.stores, days))
    refused = [*read_metrics(project.metrics_dir)[1], *rubrics_of(project)[1]]
    report.refused_metrics = [str(why) for why in refused]
    for number, day in enumerate(report.days):
        judged, queued = run_day(project, day, tiers)
        report.traces += judged.attempted
        report.scored += next(iter(judged.scored.values()))
        _add(report.read_by, judged.scored)
        _add(report.unjudged, judged.failed)
        report.why_unjudged = report.why_unjudged or judged.why_failed
        report.not_eligible += sum(judged.skipped.values())
        report.flagged += judged.flagged
        report.drawn += queued.drawn
        progress(number + 1, len(report.days))
    heard = take_feedback(project)
    report.feedback, report.complaints = heard.feedback, heard.complaints
    labels = learn(project)
    report.labels = labels.labels
    report.examples = update_indexes(project.stores, embedder_of(project), levers_of(project)).total
    told = announce(project.stores, project.settings.alerts, now())
    report.alerts = [alert.why for alert in told.fired]
    report.retraining = _in_a_line(retrain_all_due(project, progress))
    return report


def _days_of(stores: Stores, wanted: Sequence[date] | None) -> list[date]:
    known = days_with_traces(stores)
    empty = min(set(wanted or ()) - set(known), default=None)
    if empty and not known:
        raise BadInput("there are no traces yet; `flywheel traces import` brings some")
    if empty:
        raise BadInput(f"{empty} has no traces; there are some from {known[0]} to {known[-1]}")
    return list(wanted or known)


def _in_a_line(said: Mapping[str, str]) -> str:
    """What happened to each target; its name says which where there are several."""
    if len(said) == 1:
        return next(iter(said.values()))
    return " ".join(f"{target}: {sentence.rstrip('.')}." for target, sentence in said.items())


def _add(total: dict[str, int], more: Mapping[Tier, int] | Mapping[str, int]) -> None:
    for name, n in more.items():
        total[name] = total.get(name, 0) + n


def run_day(
    project: Project, day: date, tiers: TierProgress = no_tier_progress
) -> tuple[JudgeReport, QueueReport]:
    """The daily stages of one day, from its sample to its review queue."""
    stores, settings = project.stores, project.settings
    sample_day(stores, day, settings.sampling.rate, settings.sampling.min_per_stratum)
    metrics = read_metrics(project.metrics_dir)[0]
    score_day_by_code(stores, metrics, day)
    few_shots_for_day(stores, embedder_of(project), settings.retrieval, levers_of(project), day)
    judged = judge_day(project, day, tiers)
    score_rubrics(project, day)
    probe_day(project, day)
    label_by_panel(project, day)
    return judged, fill_queue(stores, settings.queue, day, metrics)


def judge_day(
    project: Project, day: date, progress: TierProgress = no_tier_progress
) -> JudgeReport:
    """The verdicts of one day, by the judges in use, and beside them those of their shadows.

    Where a generative judge cannot be had, the day is judged without it, and the report says why; a
    shadow that cannot read stops no day either.
    """
    stores, settings = project.stores, project.settings
    price = settings.compute.usd_per_cpu_hour
    most = settings.judge.generative_traces
    report = score_apps(stores, judges_of(project), day, progress, most, price)
    return replace(report, shadows=_shadow_day(project, day))


def _shadow_day(project: Project, day: date) -> dict[str, str]:
    """What each shadow did with a day, in a sentence, by its target."""
    try:
        shadows = shadows_of(project)
    except NeverWill as error:
        return {"all": str(error)}
    told = {}
    for shadow in shadows:
        report = score_shadow(project.stores, shadow, day)
        told[shadow.target] = f"{report.judge_version} read {report.scored} of {report.attempted}"
    if shadows:
        publish_shadows(project.stores)
    return told


def score_rubrics(
    project: Project, day: date, progress: Progress = no_progress
) -> list[RubricReport]:
    """What each rubric file says of the day's sampled traces; nothing where there is none."""
    return score_day_by_rubrics(
        project.stores,
        rubrics_of(project)[0],
        lambda name: generative_of(project, name or None),
        levers_of(project),
        day,
        project.settings.judge.generative_traces,
        progress,
    )


def label_by_panel(
    project: Project, day: date, limit: int | None = None, progress: Progress = no_progress
) -> PanelReport | None:
    """Let the panel label the day's share, and hand people what is theirs; None without a panel.

    `limit` traces instead of those of the settings, of which 0 is no panel either. A panel that
    cannot sit stops no day: the report says why, as it does of a member that cannot be asked.
    """
    settings, levers = project.settings.panel, levers_of(project)
    most = settings.daily_traces if limit is None else limit
    try:
        panel = configured_panel(project, levers, adapters_of(project)) if most else None
        if panel is None:
            return None
        report = label_day(project.stores, panel, levers, day, most, progress)
    except NeverWill as error:
        report = PanelReport(day, unfinished={str(error): 1})
    queue_panel_items(project.stores, settings.audit_share)
    return report


@dataclass(frozen=True, slots=True)
class HeardReport:
    """What was made of `feedback`: rows of `scores`, new items of complaints, new decisions.

    `waiting` are of traces that have not come.
    """

    feedback: int
    waiting: int
    scores: int
    complaints: int
    corrections: int


def take_feedback(project: Project) -> HeardReport:
    """What was said outside the review becomes scores, complaints to look at, and decisions.

    Of traces that have come by now, whatever their day.
    """
    heard = score_feedback(project.stores)
    complaints = queue_complaints(project.stores).added
    corrections = decide_by_feedback(project.stores).new
    return HeardReport(heard.feedback, heard.waiting, heard.scores, complaints, corrections)


def learn(project: Project) -> LabelReport:
    """What people decided becomes labels, and the estimates follow."""
    report = derive_labels(project.stores)
    look_for_drift(project)
    write_quality_report(project.stores)
    look_at_experiments(project.stores)
    return report


def look_for_drift(project: Project) -> DriftReport | None:
    """Whether the newest day is unlike those before it; None where there is no day."""
    days = days_with_traces(project.stores)
    if not days:
        return None
    how = project.settings.quality
    return measure_drift(project.stores, embedder_of(project), how, days[-1])


def rebuild_warehouse(project: Project) -> dict[str, int]:
    """Make the warehouse again from imports, snapshots and decisions; the old one is kept.

    Raises BadArtifact, NotFound or BadInput, and leaves the old one in its place, where a file that
    it is made from is damaged, gone or changed. So does whoever is killed.
    """
    stores = project.stores
    require_archives(stores)
    require_snapshots(stores)
    # Whoever forgets holds the tombstones first and then the warehouse, and so it is here.
    with stores.nobody_forgotten(), stores.warehouse.rebuilt() as new:
        anew = replace(stores, warehouse=new)
        imports = load_imports(anew)
        partitions = restore_all(anew)
        score_feedback(anew)
        labels = derive_labels(anew)
    reapply(project)
    return {
        "imports": len(imports),
        "traces": sum(report.new for report in imports),
        "partitions": partitions,
        "labels": labels.labels,
    }
