"""Judge: a verdict on every eligible trace, with the examples it was shown and how far to trust it.

The champion, its calibration and the index of corrections are read as they are when a step starts,
and named in its metadata: an edge from them back to here would make the graph a circle.
"""

from datetime import date

import dagster as dg

from dagster_defs.defs.traces import sampled_traces, traces
from dagster_defs.metadata import by_metric, facts, histogram, table
from dagster_defs.partitions import DAILY, each_day, told_of_tiers
from dagster_defs.resources import ProjectResource
from flywheel.in_use import embedder_of, judge_of, levers_of, rubrics_of
from flywheel.judge.cascade import CERTIFIED, certified_rows
from flywheel.judge.verdicts import broken_scores
from flywheel.loop import judge_day, label_by_panel, score_rubrics
from flywheel.quality import measure_calibration
from flywheel.retrieval import few_shots_for_day
from flywheel.retrieval.index import current_version


@dg.asset(partitions_def=DAILY, group_name="judge", kinds={"faiss"}, deps=[sampled_traces])
def few_shot_corrections(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """For each sampled trace the corrections most like it, as they were known at the day's end."""
    opened = project.get()
    stores, how = opened.stores, opened.settings.retrieval
    embedder, levers = embedder_of(opened), levers_of(opened)
    context.add_asset_metadata({"index_version": current_version(stores) or "none yet"})
    return each_day(
        context,
        stores,
        lambda day: facts(few_shots_for_day(stores, embedder, how, levers, day)),
    )


@dg.asset(
    partitions_def=DAILY,
    group_name="judge",
    kinds={"huggingface"},
    deps=[traces, sampled_traces, few_shot_corrections],
)
def judge_scores(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """One verdict per eligible trace of the day, with the judge's reason and probability."""
    opened = project.get()
    stores, told = opened.stores, told_of_tiers(context)
    return each_day(
        context,
        stores,
        lambda day: facts(judge_day(opened, day, told)) | histogram(stores, day),
    )


@dg.asset(partitions_def=DAILY, group_name="judge", kinds={"markdown"}, deps=[sampled_traces])
def rubric_scores(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """What each rubric file of the project says of the day's sampled traces, and why."""
    opened = project.get()
    rubrics, _ = rubrics_of(opened)
    return each_day(
        context,
        opened.stores,
        lambda day: {"scores": by_metric(rubrics, score_rubrics(opened, day))},
    )


@dg.asset(partitions_def=DAILY, group_name="judge", deps=[judge_scores])
def panel_labels(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """Labels that panels of judges gave a random part of the day; people get what they dispute."""
    opened = project.get()

    def label(day: date) -> dict[str, object]:
        report = label_by_panel(opened, day)
        return facts(report) if report else {"panel": "none is set in [panel]"}

    return each_day(context, opened.stores, label)


@dg.asset(group_name="judge", deps=[judge_scores])
def judge_calibration(project: ProjectResource) -> dg.MaterializeResult:
    """How far the judge's probabilities are frequencies, and which of them it may decide by."""
    opened = project.get()
    report = measure_calibration(opened.stores)
    bins = [(bin.n, bin.probability, bin.observed) for bin in report.bins]
    certified = certified_rows(judge_of(opened).cascade)
    return dg.MaterializeResult(
        metadata=facts(report)
        | {"bins": table(("labels", "the judge said", "people said"), bins)}
        | {"certified": table(CERTIFIED, certified) if certified else "nothing yet"}
    )


@dg.asset_check(asset=judge_scores, blocking=True)
def scores_are_sound(project: ProjectResource) -> dg.AssetCheckResult:
    """Every probability is in [0, 1], and every score is of a trace that was imported."""
    broken = broken_scores(project.get().stores)
    return dg.AssetCheckResult(passed=not broken.total, metadata=facts(broken))
