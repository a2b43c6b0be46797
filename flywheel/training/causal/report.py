"""What a training of a causal adapter saw, chose, took and brought.

Filled in by `fit`, read by the registry and by people; every number that a decision was made by.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from flywheel.records import Arm, TargetKind
from flywheel.training.causal.sizes import Memory
from flywheel.training.checkpoints import Look
from flywheel.training.layers import LayerKind, Share


@dataclass(frozen=True, slots=True)
class Purpose:
    """What an adapter is for, as its card says it."""

    target_kind: TargetKind = "app"
    training_set: str = ""
    prompt_hash: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """A learning rate, and its validation loss after the steps for which all were tried."""

    rate: float
    steps: int
    loss: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class CausalFit:
    """What a training saw, chose, took and brought; losses are in nats a learnt token.

    `bits` are what the rows could tell the base, by which the rank is chosen where it is left open.
    """

    arm: Arm
    base: str
    base_hash: str
    rank: int
    rank_by: str
    bits: float
    rate: float
    tried: tuple[Tried, ...]
    n_examples: int
    n_validation: int
    left_out: dict[str, int]
    n_tokens: int
    n_learnt: int
    base_loss: float
    loss: float
    looks: tuple[Look, ...]
    steps: int
    steps_planned: int
    best_step: int
    ending: str
    shares: dict[LayerKind, Share]
    memory: Memory
    place: str
    seed: int
    cpu_s: float

    @property
    def adds_nothing(self) -> bool:
        """Whether no step was better than the base on the validation split."""
        return self.best_step == 0

    def as_dict(self) -> dict[str, Any]:
        """As values that JSON can hold; a loss without end is None."""
        found = asdict(self) | {"adds_nothing": self.adds_nothing}
        return {name: _finite(value) for name, value in found.items()}


def _finite(value: Any) -> Any:  # noqa: ANN401  # whatever a report holds
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
