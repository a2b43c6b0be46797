"""The training loop: its plan, its rate, its looks, and checkpoints of any moment."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flywheel.errors import BadArtifact
from flywheel.training.checkpoints import Look
from flywheel.training.descent import (
    Batch,
    Course,
    Descent,
    Group,
    descend,
    planned_batches,
    restore,
)
from flywheel.training.placement import placement_here

COURSE = Course(tuple((i % 5, (i + 2) % 5) for i in range(12)), (3, 6, 9, 12), warmup=2)


class Line:
    """A line through points, learnt with a dropout that draws numbers; `losses` may be given."""

    def __init__(self, looks: Iterator[float] | None = None):
        import torch

        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Dropout(0.3))
        self.head = torch.nn.Linear(4, 1)
        self.points = torch.randn(5, 2)
        self.wanted = self.points @ torch.tensor([[1.0], [-2.0]])
        self.looks = looks
        self.n_steps = 0

    def groups(self) -> list[Group]:
        return [
            Group(dict(self.model.named_parameters()), 0.05),
            Group({f"head.{n}": p for n, p in self.head.named_parameters()}, 0.1, 0.1, False),
        ]

    def parts(self, batch: Batch) -> list[Batch]:
        self.n_steps += 1
        return [(row,) for row in batch]

    def loss(self, part: Batch) -> Any:
        rows = list(part)
        said = self.head(self.model(self.points[rows]))
        return ((said - self.wanted[rows]) ** 2).sum() / 2

    def look(self) -> float:
        import torch

        if self.looks is not None:
            return next(self.looks)
        self.model.eval()
        with torch.inference_mode():
            said = self.head(self.model(self.points))
            return float(((said - self.wanted) ** 2).mean())


def learn(line: Line, course: Course = COURSE, **given: Any) -> Descent:
    return descend(line, course, placement_here("float32"), **given)


def bytes_of(line: Line) -> list[bytes]:
    return [
        p.detach().numpy().tobytes() for group in line.groups() for p in group.parameters.values()
    ]


# The plan


def test_the_batches_are_a_function_of_the_seed() -> None:
    lengths = list(np.random.default_rng(0).integers(1, 100, 300))
    plan = planned_batches(lengths, range(300), 16, 3, seed=4)
    assert plan == planned_batches(lengths, range(300), 16, 3, seed=4)
    assert plan != planned_batches(lengths, range(300), 16, 3, seed=5)
    for epoch in plan:
        assert sorted(row for batch in epoch for row in batch) == list(range(300))
    assert plan[0] != plan[1]


def test_rows_of_like_length_stand_together() -> None:
    lengths = list(range(256))
    (epoch,) = planned_batches(lengths, range(256), 16, 1, seed=0)
    widths = [max(batch) - min(batch) for batch in epoch]
    # Sixteen of 128 random rows in order span about an eighth of what all of them span.
    assert np.mean(widths) < 50
    assert epoch != sorted(epoch)


def test_the_rate_warms_up_and_falls_in_a_line() -> None:
    course = replace(COURSE, batches=((0,),) * 10, warmup=4)
    assert [round(course.rate(step), 3) for step in range(10)] == [
        # (step + 1) / 4 until it is 1, times 1 - step / 10.
        *(0.25, 0.45, 0.6, 0.7),
        *(0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
    ]
    assert replace(course, floor=0.3).rate(9) == 0.3


# Looks


def test_the_best_look_is_kept_and_can_be_put_back() -> None:
    line = Line(iter([5.0, 3.0, 1.0, 2.0, 4.0]))
    went = learn(line)
    assert (went.steps, went.ending, went.best_step, went.least) == (12, "done", 6, 1.0)
    assert went.looks == (Look(0, 5.0), Look(3, 3.0), Look(6, 1.0), Look(9, 2.0), Look(12, 4.0))
    half = Line(iter([5.0, 3.0, 1.0]))
    learn(half, pause_after=6)
    restore(line, went.best)
    assert bytes_of(line) == bytes_of(half)


def test_patience_ends_a_training() -> None:
    went = learn(Line(iter([1.0, 2.0, 0.5, 0.7, 0.6])), replace(COURSE, patience=2))
    assert (went.steps, went.ending, went.best_step) == (12, "done", 6)
    went = learn(Line(iter([1.0, 2.0, 3.0])), replace(COURSE, patience=2))
    assert (went.steps, went.ending, went.best_step) == (6, "stopped early", 0)


def test_a_loss_that_is_no_number_is_no_gain() -> None:
    went = learn(Line(iter([1.0, float("nan"), float("inf"), 0.5, float("nan")])))
    assert (went.best_step, went.least) == (9, 0.5)


def test_a_loss_that_is_known_is_not_worked_out() -> None:
    went = learn(Line(iter([3.0, 2.0, 1.0, 0.5])), first_loss=9.0)
    assert went.looks[0] == Look(0, 9.0)


# Checkpoints


@pytest.mark.parametrize("stop", range(12))
def test_a_training_goes_on_from_any_step_to_the_same_weights(tmp_path: Path, stop: int) -> None:
    whole = Line()
    expected = learn(whole)
    file = tmp_path / "c.safetensors"
    learn(Line(), checkpoint=file, pause_after=stop)
    again = Line()
    went = learn(again, checkpoint=file)
    assert again.n_steps == 12 - stop
    assert bytes_of(again) == bytes_of(whole)
    assert went.looks == expected.looks
    assert {n: t.tolist() for n, t in went.best.items()} == {
        n: t.tolist() for n, t in expected.best.items()
    }


def test_a_training_that_has_ended_is_not_done_again(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    first = learn(Line(), checkpoint=file)
    line = Line(iter([]))
    again = learn(line, checkpoint=file)
    assert line.n_steps == 0
    assert again.looks == first.looks


def test_another_training_does_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    learn(Line(), checkpoint=file, pause_after=5)
    for other in (replace(COURSE, about="other labels"), replace(COURSE, warmup=3)):
        line = Line()
        learn(line, other, checkpoint=file)
        assert line.n_steps == 12


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    learn(Line(), checkpoint=file, pause_after=5)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadArtifact, match="remove it to start anew"):
        learn(Line(), checkpoint=file)


def test_a_checkpoint_is_one_file_that_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.safetensors"
    learn(Line(), checkpoint=file, pause_after=5)
    before = file.read_bytes()

    def lose_power(*_: object) -> None:
        raise OSError("no power")

    monkeypatch.setattr("os.replace", lose_power)
    with pytest.raises(OSError, match="no power"):
        learn(Line(), checkpoint=file, pause_after=8)
    assert file.read_bytes() == before
    monkeypatch.undo()
    line = Line()
    learn(line, checkpoint=file)
    assert line.n_steps == 7
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
