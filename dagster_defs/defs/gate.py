"""Gate: the challenger against the champion, on labels that no training has seen."""

import dagster as dg

from dagster_defs.defs.training import lora_adapter
from dagster_defs.metadata import facts, precision_recall
from dagster_defs.resources import ProjectResource
from flywheel.errors import NotEnough
from flywheel.gate.holdout import TARGET
from flywheel.loop import gate
from flywheel.registry import list_versions


@dg.asset(group_name="gate", deps=[lora_adapter])
def gate_verdict(project: ProjectResource) -> dg.MaterializeResult:
    """Whether the challenger may take the champion's place, why, and what would settle it."""
    try:
        verdict, items = gate(project.get())
    except NotEnough as reason:
        return dg.MaterializeResult(metadata={"no verdict": str(reason)})
    return dg.MaterializeResult(metadata=facts(verdict) | precision_recall(items))


@dg.asset_check(asset=gate_verdict)
def challenger_beats_champion(project: ProjectResource) -> dg.AssetCheckResult:
    """The last challenger passed the gate; that one was refused is a result, and no fault."""
    versions = list_versions(project.get().stores.ledger, TARGET)
    verdict = next((version.verdict for version in versions if version.verdict), None)
    return dg.AssetCheckResult(
        passed=verdict is not None and verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=facts(verdict) if verdict else {"why": "no challenger has been to the gate yet"},
    )
