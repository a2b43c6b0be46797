"""Experiments: what the sessions of each arm say by now, whenever somebody looks."""

import dagster as dg

from dagster_defs.defs.quality import quality_report
from dagster_defs.metadata import table
from dagster_defs.resources import ProjectResource
from flywheel.experiments.publishing import look_at_experiments


@dg.asset(group_name="experiments", deps=[quality_report])
def experiments(project: ProjectResource) -> dg.MaterializeResult:
    """The day's look at every running experiment, as the page shows it."""
    readings = look_at_experiments(project.get().stores)
    said = [(one.experiment, one.conclusion) for one in readings]
    return dg.MaterializeResult(
        metadata={"running": len(readings), "conclusions": table(("experiment", "so far"), said)}
    )
