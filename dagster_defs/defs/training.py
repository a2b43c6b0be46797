"""Training: the labels that stand, frozen, and a challenger of each target fitted from the base."""

import dagster as dg

from dagster_defs.defs.corrections import corrections
from dagster_defs.metadata import fit_facts, named_sets, of_targets, set_facts, sets_named
from dagster_defs.resources import ProjectResource
from dagster_defs.schedules import TARGETS, WHY
from flywheel.corrections import check_splits
from flywheel.retraining import due_targets, take_set, train_or_say


@dg.asset(group_name="training", kinds={"parquet"}, deps=[corrections])
def training_set(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """What each target that is due learns from, frozen under a hash of its content.

    Labels with their conversations, or replies, outside the holdout and unlike it.
    """
    opened = project.get()
    due = due_targets(opened, context.run.tags.get(TARGETS, "").split(","))
    taken = {target.name: take_set(opened, target) for target in due}
    found = named_sets(taken) | {"why": context.run.tags.get(WHY, "started by hand")}
    facts = of_targets({name: set_facts(one) for name, one in taken.items()})
    return dg.MaterializeResult(metadata=found | facts)


@dg.asset(group_name="training", kinds={"huggingface"}, deps=[training_set])
def lora_adapter(
    context: dg.AssetExecutionContext, project: ProjectResource
) -> dg.MaterializeResult:
    """A challenger of each target, fitted from the base, with its adapter; minutes of work."""
    opened = project.get()
    found = {
        name: fit_facts(train_or_say(opened, frozen, name))
        for name, frozen in sets_named(context).items()
    }
    return dg.MaterializeResult(metadata=of_targets(found))


@dg.asset_check(asset=training_set, blocking=True)
def no_conversation_in_two_splits(project: ProjectResource) -> dg.AssetCheckResult:
    """No session and no user has labels on both sides of a split."""
    leaks = check_splits(project.get().stores)
    return dg.AssetCheckResult(
        passed=not leaks, metadata={"leaks": len(leaks), "first": "; ".join(leaks[:5])}
    )
