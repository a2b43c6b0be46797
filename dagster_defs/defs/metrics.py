"""Metrics: scores by code, every metric of the product and of the project on every trace."""

import dagster as dg

from dagster_defs.defs.traces import traces
from dagster_defs.metadata import by_metric
from dagster_defs.partitions import DAILY, each_day
from dagster_defs.resources import ProjectResource
from flywheel.metrics import load_metrics, score_day_by_code


@dg.asset(partitions_def=DAILY, group_name="metrics", kinds={"duckdb"}, deps=[traces])
def code_scores(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """What each metric file says of the day's traces; one that fails is counted, not fatal."""
    opened = project.get()
    metrics = load_metrics(opened.metrics_dir)
    return each_day(
        context,
        lambda day: {"scores": by_metric(metrics, score_day_by_code(opened.stores, metrics, day))},
    )
