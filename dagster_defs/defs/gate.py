"""Gate: each challenger against its champion, on labels that no training has seen."""

import dagster as dg

from dagster_defs.defs.training import lora_adapter
from dagster_defs.metadata import facts, of_targets, sets_of_run, verdict_facts
from dagster_defs.resources import ProjectResource
from flywheel.retraining import gate_or_say, last_verdicts, targets_to_gate


@dg.asset(group_name="gate", deps=[lora_adapter])
def gate_verdict(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """Whether each new challenger may take its champion's place, why, and what would settle it."""
    opened = project.get()
    found = {
        target.name: verdict_facts(gate_or_say(opened, target))
        for target in targets_to_gate(opened, sets_of_run(context))
    }
    return dg.MaterializeResult(metadata=of_targets(found))


@dg.asset_check(asset=gate_verdict)
def challenger_beats_champion(project: ProjectResource) -> dg.AssetCheckResult:
    """The last challengers passed the gate; that one was refused is a result, and no fault."""
    verdicts = last_verdicts(project.get())
    found = of_targets({name: facts(verdict) for name, verdict in verdicts.items()})
    return dg.AssetCheckResult(
        passed=bool(verdicts) and all(verdict.passed for verdict in verdicts.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata=found or {"why": "no challenger has been to the gate yet"},
    )
