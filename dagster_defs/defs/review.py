"""Review: what people decide, which no run can make, and what users and other tools say."""

import dagster as dg

from dagster_defs.defs.queue import review_queue
from dagster_defs.defs.traces import traces
from dagster_defs.metadata import facts
from dagster_defs.resources import ProjectResource
from flywheel.loop import take_feedback

reviews = dg.AssetSpec(
    "reviews",
    deps=[review_queue],
    group_name="review",
    kinds={"sqlite"},
    description="""What people said of the traces in the queue; made by them, not by a run.

    Decisions come from the web page or by `flywheel review import`, and are kept in the ledger for
    ever. The sensor `learn_after_decisions` reports how many they are.""",
)


@dg.asset(group_name="review", kinds={"duckdb"}, pool="warehouse", deps=[traces])
def feedback(project: ProjectResource) -> dg.MaterializeResult:
    """What users and other tools say of traces: scores, complaints to look at, corrections."""
    return dg.MaterializeResult(metadata=facts(take_feedback(project.get())))
