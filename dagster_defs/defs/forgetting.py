"""Forgetting: traces that are too old go, and who was forgotten stays so."""

import dagster as dg

from dagster_defs.metadata import receipt_facts
from dagster_defs.resources import ProjectResource
from flywheel.forgetting import expire, reapply


@dg.asset(group_name="forgetting", kinds={"duckdb"}, pool="warehouse")
def expired_traces(project: ProjectResource) -> dg.MaterializeResult:
    """What `traces.retention_days` and `[retention.APP]` say is too old, out of every store."""
    opened = project.get()
    return dg.MaterializeResult(
        metadata=receipt_facts(expire(opened)) | receipt_facts(reapply(opened), "forgotten again: ")
    )
