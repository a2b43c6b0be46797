"""Judge: a verdict on every eligible trace, with the examples it was shown and how far to trust it.

The champion, its calibration and the index of corrections are read as they are when a step starts,
and named in its metadata: an edge from them back to here would make the graph a circle.
"""

import dagster as dg

from dagster_defs.defs.traces import sampled_traces, traces
from dagster_defs.metadata import facts, histogram, table
from dagster_defs.partitions import DAILY, each_day
from dagster_defs.resources import ProjectResource
from flywheel.judge.scoring import score_day
from flywheel.judge.verdicts import broken_scores
from flywheel.loop import embedder_of, judge_of, levers_of
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
    stores, judge = opened.stores, judge_of(opened)
    return each_day(
        context,
        stores,
        lambda day: facts(score_day(stores, judge, day)) | histogram(stores, day),
    )


@dg.asset(group_name="judge", deps=[judge_scores])
def judge_calibration(project: ProjectResource) -> dg.MaterializeResult:
    """How far the judge's probabilities are frequencies, on the labels of the calibration split."""
    report = measure_calibration(project.get().stores)
    bins = [(bin.n, bin.probability, bin.observed) for bin in report.bins]
    return dg.MaterializeResult(
        metadata=facts(report) | {"bins": table(("labels", "the judge said", "people said"), bins)}
    )


@dg.asset_check(asset=judge_scores, blocking=True)
def scores_are_sound(project: ProjectResource) -> dg.AssetCheckResult:
    """Every probability is in [0, 1], and every score is of a trace that was imported."""
    broken = broken_scores(project.get().stores)
    return dg.AssetCheckResult(passed=not broken.total, metadata=facts(broken))
