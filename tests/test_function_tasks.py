"""Tasks: what is a right answer, what is no task, and that a question has one side for ever."""

from pathlib import Path

import pytest
from pydantic import JsonValue

from flywheel.errors import BadInput, NotEnough
from flywheel.evolution.functions.acceptance import compare, judge_training
from flywheel.evolution.functions.runner import TaskRun
from flywheel.evolution.functions.tasks import SLICES, Task, in_slices, read_tasks, slice_of
from tests.conftest import write_lines


def lines(path: Path, *rows: dict[str, object]) -> Path:
    return write_lines(path / "tasks.jsonl", rows)


@pytest.mark.parametrize(
    ("right", "answer", "is_right"),
    [
        (1234.5, "$1,234.50", True),
        (1234.5, "1234.5.", True),
        (1234.5, "-1234.5", False),
        (12, "12 %", True),
        (12, "12 or 13", False),
        (12, "the answer is 12", False),
        (0, "0.0", True),
        (0, "", False),
        (3, "9" * 400, False),
        ("New York", "  new   york. ", True),
        ("New York", "York", False),
        ("12", "12.0", False),
        (True, "true", True),
        (True, "1", False),
        ([1, {"a": 2}], '[1, {"a": 2}]', True),
        ([1, 2], "[2, 1]", False),
        ([1, 2], "[" * 100_000, False),
        ([1, 2], f"[1, {'2' * 5_000}]", False),
    ],
)
def test_an_answer_is_right_by_what_it_is(right: JsonValue, answer: str, is_right: bool) -> None:
    assert Task("t", "q", right, "g", "train").is_solved_by(answer) is is_right


def test_a_tolerance_is_absolute() -> None:
    task = Task("t", "q", 10, "g", "train", tolerance=0.5)
    assert task.is_solved_by("10.5")
    assert not task.is_solved_by("10.51")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"id": "a", "question": "q"}, "line 1: .answer: Field required"),
        ({"id": "a", "question": "q", "answer": ""}, "cannot be checked"),
        ({"id": "a", "question": "q", "answer": None}, "cannot be checked"),
        ({"id": "a", "question": "q", "answer": 10**400}, "range"),
        ({"id": "a", "question": "q", "answer": 1, "weight": 2}, "weight: Extra inputs"),
        ({"id": "a", "question": "q", "answer": 1, "trace_id": "t"}, "together or not at all"),
    ],
)
def test_what_is_no_task_is_refused_with_its_line(
    tmp_path: Path, row: dict[str, object], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        read_tasks(lines(tmp_path, row))


def test_a_question_is_never_on_two_sides(tmp_path: Path) -> None:
    same = {"question": "What is 1 + 1?", "answer": 2}
    rows = [{"id": "a", "slice": "train"} | same, {"id": "b", "slice": "report"} | same]
    with pytest.raises(BadInput, match="in two slices"):
        read_tasks(lines(tmp_path, *rows))
    again = [{"id": str(n), **same, "question": f"What is  1 + 1{'?' * n}"} for n in (1, 1)]
    with pytest.raises(BadInput, match="the task '1' twice"):
        read_tasks(lines(tmp_path, *again))
    # By the text of the question, whatever the id.
    one, other = read_tasks(lines(tmp_path, {"id": "a"} | same, {"id": "b"} | same))
    assert one.slice == other.slice


def test_the_slices_are_halves_and_quarters_that_do_not_move() -> None:
    found = [slice_of(f"group {n}") for n in range(2_000)]
    shares = [found.count(name) / 2_000 for name in SLICES]
    # A share of 2,000 has a standard error of 1.1 points at most.
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.045)
    assert slice_of("group 1") == slice_of("group 1")


def test_too_few_tasks_to_show_anything_are_said(tmp_path: Path) -> None:
    rows = [{"id": str(n), "question": f"q{n}", "answer": n, "slice": "train"} for n in range(5)]
    with pytest.raises(NotEnough, match="0 tasks in the slice held_out, and at least 3"):
        in_slices(read_tasks(lines(tmp_path, *rows)))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read"):
        read_tasks(tmp_path / "tasks.jsonl")


def test_a_text_may_hold_what_other_programs_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"id": "a", "question": "one\u2028two", "answer": 1}\n', encoding="utf-8")
    assert [task.question for task in read_tasks(file)] == ["one\u2028two"]


def test_a_group_of_tasks_counts_once() -> None:
    """Five wordings of one question that are won together are no five wins."""

    def runs(answer: str, groups: list[str]) -> list[TaskRun]:
        tasks = [Task(f"t{i}", f"q{i}", 1, group, "train") for i, group in enumerate(groups)]
        return [TaskRun(task, "answered", answer) for task in tasks]

    alone = compare(runs("0", list("abcde")), runs("1", list("abcde")))
    assert (alone.wins, alone.losses, alone.p_value) == (5, 0, 1 / 32)
    together = compare(runs("0", ["a"] * 5), runs("1", ["a"] * 5))
    assert (together.n, together.wins, together.p_value) == (5, 1, 1 / 2)
    assert not judge_training(together, 0.05).accepted
