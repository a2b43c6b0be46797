"""Corrections: what all the decisions on a trace amount to."""

import dagster as dg

from dagster_defs.defs.review import feedback, reviews
from dagster_defs.defs.traces import traces
from dagster_defs.metadata import facts
from dagster_defs.resources import ProjectResource
from flywheel.corrections import derive_labels


@dg.asset(
    group_name="corrections", kinds={"duckdb"}, pool="warehouse", deps=[traces, reviews, feedback]
)
def corrections(project: ProjectResource) -> dg.MaterializeResult:
    """Labels and better answers from the decisions that stand, each in its split for ever."""
    return dg.MaterializeResult(metadata=facts(derive_labels(project.get().stores)))
