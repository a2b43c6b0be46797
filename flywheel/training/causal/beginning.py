"""Before the first step: rows laid out, an adapter of the right size, a course of batches.

An arm's rows and a base in; all that a training works with, and what it will take, out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flywheel.errors import NotEnough
from flywheel.settings import TrainingSettings
from flywheel.training.causal.base import Base, add_adapter
from flywheel.training.causal.learner import CausalLearner
from flywheel.training.causal.rows import Row, Rows, fingerprint, rows_of
from flywheel.training.causal.sizes import Memory, bits_of, memory_for, numbers_a_rank, rank_for
from flywheel.training.descent import Course, planned_batches
from flywheel.training.examples.arms import ArmRows
from flywheel.training.examples.example import ChatExample
from flywheel.training.layers import LayerKind, Share, shares_of

# Rows a step: small batches (Schulman et al., "LoRA Without Regret", 2025).
BATCH = 16
# Of the steps of a training, how many a learning rate is tried for: a fifth, within these.
_TRIED_SHARE, _TRIED_LEAST, _TRIED_MOST = 5, 4, 60
_LOOKS_AN_EPOCH = 2
# Validation rows that a look reads, drawn by the seed where there are more.
_MOST_CHECKS = 256
_MOST_WARMUP = 10


@dataclass(frozen=True, slots=True)
class Fitting:
    """What a training works with, from its beginning."""

    opened: Base
    model: Any
    train: Rows
    checks: tuple[Row, ...]
    course: Course
    rank: int
    bits: float
    base_loss: float
    shares: dict[LayerKind, Share]
    memory: Memory
    fresh: dict[str, Any]

    def learner(self, rate: float) -> CausalLearner:
        """What is learnt, at a learning rate."""
        return CausalLearner(self.model, self.opened.place, self.train.rows, self.checks, rate)


def begin(
    opened: Base, rows: ArmRows, checks: tuple[Row, ...], settings: TrainingSettings
) -> Fitting:
    """Lay out the rows, and put a fresh adapter of the right size on the base."""
    train = rows_of(rows.rows, opened.layout, opened.longest(settings.max_tokens))
    if not train.rows:
        why = "; ".join(f"{n} {reason}" for reason, n in train.left_out.items())
        raise NotEnough(f"examples to train on ({why})" if why else "examples to train on", 0, 1)
    base_loss = CausalLearner(opened.model, opened.place, (), checks, 0.0).look()
    rank, bits = rank_of(opened, settings, base_loss, train.n_learnt)
    of_each_rank = numbers_a_rank(opened.layers)
    model = opened.place.prepare(add_adapter(opened, rank, settings.seed))
    learner = CausalLearner(model, opened.place, train.rows, checks, 0.0)
    course = _course(train.rows, checks, settings, f"{opened.weights_hash} {rank}")
    parts = [part.rows for batch in course.batches for part in learner.parts(batch)]
    return Fitting(
        opened=opened,
        model=model,
        train=train,
        checks=checks,
        course=course,
        rank=rank,
        bits=bits,
        base_loss=base_loss,
        shares=shares_of(model),
        memory=memory_for(opened.n_bytes, of_each_rank, rank, parts, opened.n_words),
        fresh={n: p.detach().clone() for n, p in learner.groups()[0].parameters.items()},
    )


def rank_of(
    opened: Base, settings: TrainingSettings, base_loss: float, n_learnt: int
) -> tuple[int, float]:
    """The rank that is set, or that the data's size asks for; and the bits that they hold."""
    bits = bits_of(base_loss, n_learnt)
    return settings.rank or rank_for(bits, numbers_a_rank(opened.layers)), bits


def checks_of(
    opened: Base, rows: ArmRows, validation: Sequence[ChatExample], settings: TrainingSettings
) -> tuple[Row, ...]:
    """The validation rows: good examples as serving asks for them, so many as a look reads.

    Raises NotEnough where there is none.
    """
    served = rows.as_served(validation)
    found = rows_of(served, opened.layout, opened.longest(settings.max_tokens)).rows
    if not found:
        raise NotEnough("good examples in the validation split", 0, 1)
    if len(found) <= _MOST_CHECKS:
        return found
    drawn = np.random.default_rng(settings.seed).permutation(len(found))[:_MOST_CHECKS]
    return tuple(found[i] for i in sorted(drawn))


def _course(
    rows: Sequence[Row], checks: Sequence[Row], settings: TrainingSettings, about: str
) -> Course:
    lengths = [row.n_tokens for row in rows]
    epochs = planned_batches(lengths, range(len(rows)), BATCH, settings.epochs, settings.seed)
    batches = tuple(batch for epoch in epochs for batch in epoch)
    n_looks = _LOOKS_AN_EPOCH * settings.epochs
    looks = {max(1, round(len(batches) * i / n_looks)) for i in range(1, n_looks + 1)}
    return Course(
        batches,
        tuple(sorted(looks | {n_tried(len(batches))})),
        warmup=max(1, min(_MOST_WARMUP, len(batches) // 10)),
        patience=settings.patience,
        about=f"{about} {settings.seed} {fingerprint(rows)} {fingerprint(checks)}",
    )


def n_tried(n_steps: int) -> int:
    """For how many steps a learning rate is tried."""
    return min(n_steps, _TRIED_MOST, max(_TRIED_LEAST, n_steps // _TRIED_SHARE))
