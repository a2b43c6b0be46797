"""Training: the labels that stand, frozen, and a challenger fitted on them from the base."""

import dagster as dg

from dagster_defs.defs.corrections import corrections
from dagster_defs.metadata import fit_facts, set_facts, stored_by
from dagster_defs.resources import ProjectResource
from flywheel.corrections import check_splits
from flywheel.errors import NotEnough
from flywheel.loop import levers_of, train
from flywheel.training.dataset import read_training_set, take_training_set


@dg.asset(group_name="training", kinds={"parquet"}, deps=[corrections])
def training_set(project: ProjectResource) -> dg.MaterializeResult:
    """Every label outside the holdout with its conversation, frozen under a hash of its content."""
    opened = project.get()
    return dg.MaterializeResult(
        metadata=set_facts(take_training_set(opened.stores, levers_of(opened)))
    )


@dg.asset(group_name="training", kinds={"huggingface"}, deps=[training_set])
def lora_adapter(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """A challenger, fitted on the training set from the base, with its adapter; minutes of work."""
    opened = project.get()
    frozen = read_training_set(opened.stores, stored_by(context, "training_set", "name"))
    try:
        made = train(opened, frozen)
    except NotEnough as reason:
        return dg.MaterializeResult(metadata={"not trained": str(reason)})
    return dg.MaterializeResult(metadata=fit_facts(made))


@dg.asset_check(asset=training_set, blocking=True)
def no_conversation_in_two_splits(project: ProjectResource) -> dg.AssetCheckResult:
    """No session and no user has labels on both sides of a split."""
    leaks = check_splits(project.get().stores)
    return dg.AssetCheckResult(
        passed=not leaks, metadata={"leaks": len(leaks), "first": "; ".join(leaks[:5])}
    )
