"""Registry: which version of each target is in use."""

import dagster as dg

from dagster_defs.defs.gate import gate_verdict
from dagster_defs.metadata import of_targets, table
from dagster_defs.resources import ProjectResource
from dagster_defs.schedules import WHY
from flywheel.quality.announcing import announce, rules_of_moves
from flywheel.retraining import champion_of, follow_gate
from flywheel.store.ledger import now
from flywheel.training.targets import targets_of


@dg.asset(group_name="registry", deps=[gate_verdict])
def champion(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """What is in use of each target from the next run on; what passed may wait for approval."""
    opened = project.get()
    found = {
        target.name: {
            "promoted": follow_gate(opened, target) is not None,
            "champion": champion_of(opened, target),
        }
        for target in targets_of(opened.settings)
    }
    how = {
        "promotion": opened.settings.gate.promotion,
        "why": context.run.tags.get(WHY, "started by hand"),
    }
    return dg.MaterializeResult(metadata=how | of_targets(found))


@dg.asset(group_name="registry", deps=[champion])
def announcements(project: ProjectResource) -> dg.MaterializeResult:
    """New champions, and what the gate said, told to whom the rules of the project name."""
    opened = project.get()
    told = announce(opened.stores, rules_of_moves(opened.settings.alerts), now())
    return dg.MaterializeResult(
        metadata={
            "fired": table(("rule", "why"), [(alert.rule, alert.why) for alert in told.fired]),
            "delivered": told.delivered,
            "undelivered": table(("rule", "why"), told.undelivered.items()),
        }
    )
