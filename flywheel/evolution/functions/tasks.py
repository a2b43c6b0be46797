"""Tasks with answers that code can check, from a file of JSON lines, in slices that never change.

A file in, `Task`s out. The one idea is that a task's slice follows from its group: what a function
was fitted on decides nothing later, and what is reported of it has decided nothing.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from flywheel.errors import BadInput, NotEnough
from flywheel.models.writer import faults_of
from flywheel.safety import quote

# `train` is what a function is written from, `held_out` what it must not lose on, and `report` is
# run once before the end and decides nothing.
Slice = Literal["train", "held_out", "report"]
SLICES: tuple[Slice, ...] = ("train", "held_out", "report")
# Of 100 groups, by their hash.
_TRAIN_BELOW, _HELD_OUT_BELOW = 50, 75
# An exact one-sided McNemar test passes .05 with five tasks that only the candidate solves.
LEAST: dict[Slice, int] = {"train": 5, "held_out": 3, "report": 3}
_MOST_TASKS = 5_000
_NUMBER = re.compile(
    r"[$€£]?\s*(-?)[$€£]?\s*([0-9][0-9,_ ]*(?:\.[0-9]*)?|\.[0-9]+)(e-?[0-9]+)?\s*%?\.?"
)
# Of a number's size, where a task names no tolerance.
_RELATIVE = 1e-6
_LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Task:
    """A question, and the answer that is right.

    `tolerance` is absolute, of answers that are numbers; None is a millionth of the answer's size.
    """

    task_id: str
    question: str
    answer: JsonValue
    group: str
    slice: Slice
    tolerance: float | None = None
    trace: tuple[str, str] | None = None

    def is_solved_by(self, answer: str) -> bool:
        """Whether an answer is the right one: as a number, as text, or as JSON.

        Numbers may have signs of money, thousands and per cent; texts are compared without regard
        to case, spaces and a full stop at the end; all else by its value.
        """
        if isinstance(self.answer, str):
            return _plain(answer) == _plain(self.answer)
        if isinstance(self.answer, bool):
            return _plain(answer) == str(self.answer).lower()
        if isinstance(self.answer, int | float):
            said = _number_in(answer)
            near = _RELATIVE * abs(self.answer) if self.tolerance is None else self.tolerance
            return said is not None and abs(said - self.answer) <= near
        try:
            return bool(json.loads(answer) == self.answer)
        except (ValueError, RecursionError):
            return False


class _Line(BaseModel):
    """One line of a file of tasks."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=200)
    question: str = Field(min_length=1, max_length=20_000)
    answer: JsonValue
    tolerance: float | None = Field(None, ge=0, allow_inf_nan=False)
    group: str = Field("", max_length=200)
    slice: Slice | None = None
    trace_id: str = ""
    content_hash: str = ""

    @model_validator(mode="after")
    def _is_checkable(self) -> "_Line":
        if self.answer is None or (isinstance(self.answer, str) and not self.answer.strip()):
            raise ValueError("an answer that is empty cannot be checked")
        if isinstance(self.answer, int | float) and not -_LARGEST < self.answer < _LARGEST:
            raise ValueError("an answer that is a number lies within a float's range")
        if bool(self.trace_id) != bool(self.content_hash):
            raise ValueError("trace_id and content_hash stand together or not at all")
        return self

    def task(self) -> Task:
        # The same question is never on two sides, whatever its id.
        group = self.group or _plain(self.question)
        return Task(
            self.id,
            self.question,
            self.answer,
            group,
            self.slice or slice_of(group),
            self.tolerance,
            (self.trace_id, self.content_hash) if self.trace_id else None,
        )


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a file, in its order; raises BadInput with the line that is no task."""
    try:
        # Other ends of lines may stand in a text.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as a file of tasks: {error}") from error
    tasks = [_task(path, n, line) for n, line in enumerate(lines, start=1) if line.strip()]
    if len(tasks) > _MOST_TASKS:
        raise BadInput(f"{path} has {len(tasks)} tasks; {_MOST_TASKS} are the most")
    _check_apart(path, tasks)
    return tasks


def slice_of(group: str) -> Slice:
    """The slice of a group: half of them train, a quarter is held out, a quarter reported."""
    place = int.from_bytes(hashlib.sha256(f"task {group}".encode()).digest()[:8]) % 100
    if place < _TRAIN_BELOW:
        return "train"
    return "held_out" if place < _HELD_OUT_BELOW else "report"


def in_slices(tasks: Iterable[Task]) -> dict[Slice, list[Task]]:
    """The tasks by slice; raises NotEnough where one has fewer than can show anything."""
    found: dict[Slice, list[Task]] = {name: [] for name in SLICES}
    for task in tasks:
        found[task.slice].append(task)
    for name, members in found.items():
        if len(members) < LEAST[name]:
            raise NotEnough(f"tasks in the slice {name}", len(members), LEAST[name])
    return found


def _task(path: Path, number: int, line: str) -> Task:
    try:
        return _Line.model_validate_json(line).task()
    except ValidationError as error:
        raise BadInput(f"{path}, line {number}: {faults_of(error)}") from error


def _check_apart(path: Path, tasks: Sequence[Task]) -> None:
    """Raise BadInput where an id stands twice, or a group or a question on two sides."""
    ids: set[str] = set()
    sides: dict[tuple[str, str], Slice] = {}
    for task in tasks:
        if task.task_id in ids:
            raise BadInput(f"{path} has the task {task.task_id!r} twice")
        ids.add(task.task_id)
        for what in (("group", task.group), ("question", _plain(task.question))):
            if sides.setdefault(what, task.slice) != task.slice:
                raise BadInput(f"{path} has the {what[0]} {quote(what[1], 60)} in two slices")


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").rstrip().casefold()


def _number_in(text: str) -> float | None:
    """The number that a text is, or None where it is more or less than that."""
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        return None
    sign, digits, power = found.groups()
    value = float(f"{sign}{re.sub('[,_ ]', '', digits)}{power or ''}")
    return value if math.isfinite(value) else None
