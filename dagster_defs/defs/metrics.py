"""Metrics: scores by code, every metric of the product and of the project on every trace."""

from datetime import date

import dagster as dg

from dagster_defs.defs.traces import traces
from dagster_defs.metadata import by_metric
from dagster_defs.partitions import DAILY, each_day
from dagster_defs.resources import ProjectResource
from flywheel.in_use import rubrics_of
from flywheel.metrics import read_metrics, score_day_by_code


@dg.asset(partitions_def=DAILY, group_name="metrics", kinds={"duckdb"}, deps=[traces])
def code_scores(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """What each metric file says of the day's traces; one that fails is counted, not fatal."""
    opened = project.get()
    stores, (metrics, _) = opened.stores, read_metrics(opened.metrics_dir)

    def score(day: date) -> dict[str, dg.MetadataValue]:
        return {"scores": by_metric(metrics, score_day_by_code(stores, metrics, day))}

    return each_day(context, stores, score)


@dg.asset_check(asset=code_scores)
def every_metric_can_be_read(project: ProjectResource) -> dg.AssetCheckResult:
    """Every file in the project's metrics folder is a metric; the others are left out."""
    opened = project.get()
    metrics, refused = read_metrics(opened.metrics_dir)
    rubrics, no_rubrics = rubrics_of(opened)
    refused += no_rubrics
    return dg.AssetCheckResult(
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "metrics": len(metrics) + len(rubrics),
            "left out": "\n".join(map(str, refused)) or "none",
        },
    )
