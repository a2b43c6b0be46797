"""Queue: what people are asked to look at."""

import dagster as dg

from dagster_defs.defs.judge import judge_scores
from dagster_defs.defs.metrics import code_scores
from dagster_defs.metadata import facts
from dagster_defs.partitions import DAILY, each_day
from dagster_defs.resources import ProjectResource
from flywheel.metrics import read_metrics
from flywheel.queue import fill_queue


@dg.asset(
    partitions_def=DAILY,
    group_name="queue",
    kinds={"duckdb"},
    pool="warehouse",
    deps=[code_scores, judge_scores],
)
def review_queue(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """The day's traces most worth a person's time, and a uniform audit beside them."""
    opened = project.get()
    stores, how = opened.stores, opened.settings.queue
    metrics, _ = read_metrics(opened.metrics_dir)
    return each_day(context, stores, lambda day: facts(fill_queue(stores, how, day, metrics)))
