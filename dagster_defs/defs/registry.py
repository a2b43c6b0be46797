"""Registry: which judge is in use."""

import dagster as dg

from dagster_defs.defs.gate import gate_verdict
from dagster_defs.resources import ProjectResource
from flywheel.loop import follow_gate, judge_of


@dg.asset(group_name="registry", deps=[gate_verdict])
def champion(project: ProjectResource) -> dg.MaterializeResult:
    """The judge in use from the next run on; one that passed may wait for approval."""
    opened = project.get()
    moved = follow_gate(opened)
    return dg.MaterializeResult(
        metadata={
            "champion": judge_of(opened).version,
            "promoted": moved is not None,
            "promotion": opened.settings.gate.promotion,
        }
    )
