"""A retraining: the labels that stand in, a challenger and the gate's word on it out.

A project and a target in, a verdict out; every target goes the same way.

steps   freeze, train, ask the gate, follow it
due     which targets are due, and what became of each
"""

from flywheel.retraining.due import (
    due_targets,
    gate_or_say,
    last_verdicts,
    new_labels,
    retrain_all_due,
    retrain_if_due,
    targets_to_gate,
    train_or_say,
)
from flywheel.retraining.steps import (
    ACTOR,
    AnySet,
    champion_of,
    follow_gate,
    gate,
    labels_in,
    read_set,
    retrain,
    take_set,
    train,
)

__all__ = [
    "ACTOR",
    "AnySet",
    "champion_of",
    "due_targets",
    "follow_gate",
    "gate",
    "gate_or_say",
    "labels_in",
    "last_verdicts",
    "new_labels",
    "read_set",
    "retrain",
    "retrain_all_due",
    "retrain_if_due",
    "take_set",
    "targets_to_gate",
    "train",
    "train_or_say",
]
