"""Which targets are due, and what became of each, in a sentence.

A project in, sentences or what a step made out. The one idea is that a training that is not due,
that the labels do not carry, or that would give what there is, is a sentence and no failure; and
that what is wrong with one target keeps none of the others back.
"""

from collections.abc import Collection

from flywheel.errors import AddsNothing, Leak, NeverWill, NotEnough
from flywheel.gate import GateItem, GateVerdict
from flywheel.judge.scoring import Progress, no_progress
from flywheel.registry import CHALLENGER, alias_of, list_versions
from flywheel.retraining.steps import champion_of, follow_gate, gate, read_set, retrain, train
from flywheel.store import Project
from flywheel.training.challenger import (
    Challenger,
    NewLabels,
    labels_since_training,
)
from flywheel.training.targets import JUDGE, Target, target_named, targets_of


def new_labels(project: Project) -> dict[str, NewLabels]:
    """By target, the decisions that no training of it has considered."""
    targets = targets_of(project.settings)
    return {target.name: labels_since_training(project.stores, target) for target in targets}


def due_targets(project: Project, named: Collection[str] = ()) -> list[Target]:
    """The targets with as many new labels as a retraining waits for, and those that are named.

    Where there is none, as in a weekly run or one that was started by hand, all with a new label;
    and where there is none of these either, all.
    """
    targets, new = targets_of(project.settings), new_labels(project)
    for least in (project.settings.training.min_corrections, 1):
        enough = [t for t in targets if t.name in named or new[t.name].count >= least]
        if enough:
            return enough
    return targets


def retrain_if_due(
    project: Project, progress: Progress = no_progress, target: Target = JUDGE
) -> str:
    """Train and gate a challenger where enough new labels stand; a sentence on what happened.

    Where they do not, a challenger whose run was killed before the gate is sent there.
    """
    need = project.settings.training.min_corrections
    new = labels_since_training(project.stores, target).count
    if new < need and not _awaits_gate(project, target, is_retrained=False):
        return f"no retraining: {new} new labels, {need - new} more are needed"
    try:
        if new < need:
            verdict, _ = gate(project, target)
            follow_gate(project, target)
        else:
            verdict = retrain(project, progress, target)
    except (NotEnough, AddsNothing) as reason:
        return f"no retraining: {reason}"
    return " ".join(verdict.why)


def retrain_all_due(project: Project, progress: Progress = no_progress) -> dict[str, str]:
    """What happened to each target, by its name, in a sentence."""
    said = {}
    for target in targets_of(project.settings):
        try:
            said[target.name] = retrain_if_due(project, progress, target)
        except NeverWill as reason:
            said[target.name] = f"no retraining: {_said(reason, target)}"
    return said


def train_or_say(project: Project, frozen: str, name: str) -> Challenger | str:
    """The challenger of the target `name` on what was frozen, or why there is none."""
    target = target_named(project.settings, name)
    try:
        return train(project, read_set(project, frozen, target), target=target)
    except NeverWill as reason:
        return _said(reason, target)


def targets_to_gate(project: Project, retrained: Collection[str] = ()) -> list[Target]:
    """The targets whose challenger the gate has to look at, after those were retrained.

    Each look spends some of alpha, and may take back a pass that waits for a person: so nobody is
    looked at again for what happens to another target.
    """
    targets = targets_of(project.settings)
    return [t for t in targets if _awaits_gate(project, t, is_retrained=t.name in retrained)]


def _awaits_gate(project: Project, target: Target, is_retrained: bool) -> bool:
    """Whether there is no word on its challenger against the champion of now.

    Where the target was retrained, also whether the last word was no, or there is no challenger.
    """
    challenger = alias_of(project.stores.ledger, target.name, CHALLENGER)
    if challenger is None or challenger.verdict is None:
        return is_retrained or challenger is not None
    if challenger.verdict.champion != champion_of(project, target):
        return True
    return is_retrained and not challenger.verdict.passed


def gate_or_say(project: Project, target: Target) -> tuple[GateVerdict, list[GateItem]] | str:
    """The verdict on a target's challenger, or why there is none."""
    try:
        return gate(project, target)
    except NeverWill as reason:
        return _said(reason, target)


def _said(reason: NeverWill, target: Target) -> str:
    """A reason as a sentence, where it stops this target and keeps none of the others back.

    So does all that is wrong with a target beside the judge, such as a model that is not there;
    what is in the holdout and in a training set blocks the run.
    """
    if isinstance(reason, NotEnough | AddsNothing):
        return str(reason)
    if isinstance(reason, Leak) or target == JUDGE:
        raise reason
    return str(reason)


def last_verdicts(project: Project) -> dict[str, GateVerdict]:
    """The gate's last word on each target that has been there."""
    found = {}
    for target in targets_of(project.settings):
        known = list_versions(project.stores.ledger, target.name)
        verdict = next((version.verdict for version in known if version.verdict), None)
        if verdict is not None:
            found[target.name] = verdict
    return found
