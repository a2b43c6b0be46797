"""The one training loop: planned batches, steps of AdamW, looks at the validation split.

What is learnt, and a course of batches, in; the best tensors, and how it went, out. The one idea is
that nothing depends on anything but the course and the step, so that a training that is killed
anywhere and started again ends in the same weights, bit for bit.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np

from flywheel.judge.lora import by_length
from flywheel.judge.scoring import Progress, no_progress
from flywheel.training.checkpoints import (
    Look,
    Progressed,
    Tensors,
    read_checkpoint,
    write_checkpoint,
)
from flywheel.training.placement import Placement

if TYPE_CHECKING:
    import torch

Batch = tuple[int, ...]
# Batches are cut from so many rows, ordered by length: little padding, and not always the same rows
# together.
_BATCHES_AN_ORDER = 8
# Seconds between checkpoints; a training that is killed loses no more work than this.
CHECKPOINT_S = 60.0

Ending = Literal["done", "stopped early", "paused"]


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters by name that are learnt alike; the gradients of those with `is_clipped` are."""

    parameters: Mapping[str, "torch.nn.Parameter"]
    learning_rate: float
    weight_decay: float = 0.0
    is_clipped: bool = True


Part = TypeVar("Part")


class Learner(Protocol[Part]):
    """What is learnt, a batch in parts of which each fits in memory alone."""

    @property
    def model(self) -> Any:  # noqa: ANN401
        """The module that is put in training mode."""

    def groups(self) -> Sequence[Group]:
        """All that is learnt."""

    def parts(self, batch: Batch) -> Sequence[Part]:
        """What of a batch is this process's."""

    def loss(self, part: Part) -> "torch.Tensor":
        """The loss of a part; a batch's is their sum."""

    def look(self) -> float:
        """The validation loss as things are; less is better."""


@dataclass(frozen=True, slots=True)
class Course:
    """All that a training does, beside what is learnt from: batch by batch.

    The learning rate warms up over `warmup` steps and then falls in a line, to `floor` of itself at
    the least. Looks are taken after the steps `looks`; `patience` of them in a row without a gain
    end the training (None: none do). `about` says what else the training depends on.
    """

    batches: tuple[Batch, ...]
    looks: tuple[int, ...]
    warmup: int
    floor: float = 0.05
    max_gradient: float = 1.0
    patience: int | None = None
    about: str = ""

    @property
    def name(self) -> str:
        """The hash of all of it, by which a checkpoint knows its training."""
        return hashlib.sha256(
            json.dumps(
                [
                    *(self.batches, self.looks, self.warmup, self.floor),
                    *(self.max_gradient, self.patience, self.about),
                ]
            ).encode()
        ).hexdigest()

    def rate(self, step: int) -> float:
        """The share of the learning rate at a step, from 0."""
        falling = max(self.floor, 1 - step / len(self.batches))
        return min(1.0, (step + 1) / self.warmup) * falling


@dataclass(frozen=True, slots=True)
class Descent:
    """How a training went; `best` are the learnt tensors of the look with the least loss."""

    steps: int
    looks: tuple[Look, ...]
    best_step: int
    best: Tensors
    ending: Ending
    cpu_s: float

    @property
    def least(self) -> float:
        """The validation loss of the best."""
        return min(look.loss for look in self.looks)


def planned_batches(
    lengths: Sequence[int], rows: Sequence[int], size: int, epochs: int, seed: int
) -> list[list[Batch]]:
    """The batches of each epoch, of like length and in random order; a function of the seed.

    `lengths` are of all rows; `rows` are those that are trained on.
    """
    rng = np.random.default_rng(seed)
    return [_shuffled(lengths, rows, size, rng) for _ in range(epochs)]


def _shuffled(
    lengths: Sequence[int], rows: Sequence[int], size: int, rng: np.random.Generator
) -> list[Batch]:
    order = rng.permutation(np.asarray(rows))
    batches: list[Batch] = []
    width = _BATCHES_AN_ORDER * size
    for start in range(0, len(order), width):
        part = [int(i) for i in order[start : start + width]]
        batches += [
            tuple(part[k] for k in chunk)
            for chunk in by_length([range(lengths[i]) for i in part], size)
        ]
    return [batches[i] for i in rng.permutation(len(batches))]


def descend(
    learner: Learner[Any],
    course: Course,
    place: Placement,
    checkpoint: Path | None = None,
    pause_after: int | None = None,
    first_loss: float | None = None,
    progress: Progress = no_progress,
    checkpoint_s: float = CHECKPOINT_S,
) -> Descent:
    """Learn until the course ends, or patience does, or `pause_after` steps are done.

    With a `checkpoint` it goes on from there, where that is of this course. `first_loss` is the
    loss before the first step, where it is known. The caller has seeded torch, and made what is
    learnt, in the same way each time. Tensors are left as they were last, not best.
    """
    run = _Run(learner, course, place, checkpoint)
    now = run.resumed()
    began, spent = time.process_time(), now.cpu_s
    saved = time.monotonic()
    if not now.looks:
        run.note(now, learner.look() if first_loss is None else first_loss)
    end = len(course.batches) if pause_after is None else min(pause_after, len(course.batches))
    while now.step < end and not _is_out_of_patience(now, course):
        run.step(now.step)
        now.step += 1
        progress(now.step, len(course.batches))
        if now.step in run.looks:
            run.note(now, learner.look())
        if time.monotonic() - saved >= checkpoint_s:
            now.cpu_s = spent + time.process_time() - began
            run.save(now)
            saved = time.monotonic()
    now.cpu_s = spent + time.process_time() - began
    run.save(now)
    ending = _ending(now, course)
    return Descent(now.step, tuple(now.looks), now.best_step, now.best, ending, now.cpu_s)


def restore(learner: Learner[Any], tensors: Tensors) -> None:
    """Set what is learnt to these tensors."""
    for group in learner.groups():
        for name, parameter in group.parameters.items():
            parameter.data.copy_(tensors[name])


def _is_out_of_patience(now: Progressed, course: Course) -> bool:
    since = sum(look.step > now.best_step for look in now.looks)
    return course.patience is not None and since >= course.patience


def _ending(now: Progressed, course: Course) -> Ending:
    if now.step >= len(course.batches):
        return "done"
    return "stopped early" if _is_out_of_patience(now, course) else "paused"


class _Run:
    """The moving parts: parameters, the optimiser and the file."""

    def __init__(
        self, learner: Learner[Any], course: Course, place: Placement, checkpoint: Path | None
    ):
        import torch

        self.learner = learner
        self.course = course
        self.place = place
        self.checkpoint = checkpoint
        self.looks = frozenset(course.looks)
        self.groups = list(learner.groups())
        self.learnt = {n: p for group in self.groups for n, p in group.parameters.items()}
        self.clipped = [
            p for group in self.groups if group.is_clipped for p in group.parameters.values()
        ]
        self.optimiser = torch.optim.AdamW(
            [
                {
                    "params": list(group.parameters.values()),
                    "lr": group.learning_rate,
                    "weight_decay": group.weight_decay,
                }
                for group in self.groups
            ]
        )

    def resumed(self) -> Progressed:
        """How far this course came before; the beginning where it never began."""
        found = None
        if self.checkpoint is not None:
            found = read_checkpoint(self.checkpoint, self.course.name, self.learnt, self.optimiser)
        return found or Progressed()

    def step(self, number: int) -> None:
        """One step of the optimiser, on batch `number`."""
        import torch

        self.learner.model.train()
        rate = self.course.rate(number)
        for group, given in zip(self.optimiser.param_groups, self.groups, strict=True):
            group["lr"] = given.learning_rate * rate
        self.optimiser.zero_grad()
        parts = self.learner.parts(self.course.batches[number])
        for i, part in enumerate(parts):
            with self.place.shared_when(i == len(parts) - 1, self.learner.model):
                self.place.backward(self.learner.loss(part))
        torch.nn.utils.clip_grad_norm_(self.clipped, self.course.max_gradient)
        self.optimiser.step()

    def note(self, now: Progressed, loss: float) -> None:
        """Note a look, and keep what is learnt where it is the best yet; no number is no gain."""
        loss = self.place.agreed(loss)
        loss = loss if np.isfinite(loss) else float("inf")
        if loss < now.least or not now.best:
            now.best_step = now.step
            now.best = {n: p.detach().cpu().clone() for n, p in self.learnt.items()}
        now.looks.append(Look(now.step, loss))

    def save(self, now: Progressed) -> None:
        """Write the checkpoint, where there is to be one."""
        if self.checkpoint is not None and self.place.is_main:
            write_checkpoint(self.checkpoint, self.course.name, now, self.learnt, self.optimiser)
