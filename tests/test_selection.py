"""Selection of metrics: known optima, bounds on the union, and what is said where there is none."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from flywheel.cli.main import main
from flywheel.corrections import derive_labels
from flywheel.errors import BadInput, NotEnough
from flywheel.evolution.selection.flags import Flags, reach_of
from flywheel.evolution.selection.grading import (
    ToGrade,
    alternated,
    grade_next,
    queue_next,
)
from flywheel.evolution.selection.program import (
    Chosen,
    Infeasible,
    reached,
    select_metrics,
)
from flywheel.evolution.selection.selecting import select_from
from flywheel.metrics import read_metrics, score_day_by_code
from flywheel.queue import UNDRAWN_QUEUES
from flywheel.queue.filters import ItemFilter
from flywheel.queue.items import list_items
from flywheel.records import split_of
from flywheel.review import decide
from flywheel.store import Project
from flywheel.web.app import create_app
from tests.conftest import trace
from tests.judged import DAY, add_traces, said
from tests.signed_in import add_person, client_of


def matrix(bad: list[list[int]], good: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Flags of bad rows above those of good ones, and which are bad."""
    flags = np.array([*bad, *good], bool)
    return flags, np.array([True] * len(bad) + [False] * len(good))


def selected(
    bad: list[list[int]], good: list[list[int]], coverage: float, false: float
) -> Chosen | Infeasible:
    flags, is_bad = matrix(bad, good)
    return select_metrics(flags, is_bad, np.ones(len(flags)), coverage, false)


def test_two_metrics_are_found_where_taking_the_largest_first_gives_three() -> None:
    # Columns find the errors {1, 2, 4, 5}, {1, 2, 3} and {4, 5, 6}.
    bad = [[1, 1, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 1], [0, 0, 1]]
    found = selected(bad, [[0, 0, 0]], 1.0, 0.0)
    assert found == Chosen((1, 2), 1.0, 0.0)


def test_false_failures_are_those_of_the_union() -> None:
    # Each finds a third of the errors and is wrong about a fifth of the good ones, each another:
    # every one is below a half alone, and all three reach three fifths.
    bad = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    good = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    found = selected(bad, good, 1.0, 0.5)
    assert isinstance(found, Infeasible)
    assert (found.broken, found.all_reach) == ("both", 1.0)
    assert found.most_coverage.coverage == pytest.approx(2 / 3)
    assert found.most_coverage.false_failures == pytest.approx(2 / 5)
    assert found.fewest_false == Chosen((0, 1, 2), 1.0, pytest.approx(3 / 5))
    # Were they wrong about the same one, all three would do.
    same = [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert selected(bad, same, 1.0, 0.5) == Chosen((0, 1, 2), 1.0, pytest.approx(0.2))


def test_errors_that_no_metric_finds_are_no_matter_of_choice() -> None:
    bad = [[1, 0], [1, 1], [0, 0], [0, 0]]
    found = selected(bad, [[0, 1], [0, 0]], 0.75, 0.5)
    assert isinstance(found, Infeasible)
    assert (found.broken, found.all_reach, found.fewest_false) == ("coverage", 0.5, None)
    assert found.most_coverage == Chosen((0,), 0.5, 0.0)


def test_of_sets_of_equal_size_the_one_that_reaches_more_is_taken() -> None:
    bad = [[1, 1], [1, 1], [1, 0], [0, 0]]
    assert selected(bad, [[0, 0]], 0.5, 0.5) == Chosen((0,), 0.75, 0.0)


def test_a_label_counts_by_its_weight() -> None:
    flags, is_bad = matrix([[1, 0], [1, 0], [0, 1]], [[0, 0]])
    weight = np.array([1.0, 1.0, 8.0, 1.0])
    assert select_metrics(flags, is_bad, weight, 0.75, 0.5) == Chosen((1,), 0.8, 0.0)


def every_set(n: int) -> list[tuple[int, ...]]:
    return [own for k in range(n + 1) for own in itertools.combinations(range(n), k)]


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_best_of_all_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_bad, n_good, n = 20, 30, 7
    flags = np.r_[rng.random((n_bad, n)) < 0.35, rng.random((n_good, n)) < 0.08]
    is_bad = np.arange(n_bad + n_good) < n_bad
    weight = rng.integers(1, 5, n_bad + n_good).astype(float)
    shares = [weight[own] / weight[own].sum() for own in (is_bad, ~is_bad)]
    worth = {}
    for own in every_set(n):
        coverage = reached(flags[is_bad], shares[0], own)
        false = reached(flags[~is_bad], shares[1], own)
        if coverage >= 0.7 and false <= 0.25:
            worth[own] = (len(own), -(coverage - false))
    found = select_metrics(flags, is_bad, weight, 0.7, 0.25)
    if not worth:
        assert isinstance(found, Infeasible)
        return
    assert isinstance(found, Chosen)
    assert found.is_proven
    best = min(worth.values())
    assert worth[found.columns] == (best[0], pytest.approx(best[1]))


def test_what_cannot_be_selected_on_is_refused() -> None:
    flags, is_bad = matrix([[1], [1]], [[0]])
    with pytest.raises(NotEnough, match="0 labels of no error"):
        select_metrics(flags[:2], is_bad[:2], np.ones(2), 0.5, 0.5)
    with pytest.raises(BadInput, match="above 0 and up to 1"):
        select_metrics(flags, is_bad, np.ones(3), 0.0, 0.5)


def flags_of(bad: list[list[int]], good: list[list[int]]) -> Flags:
    matrix_, is_bad = matrix(bad, good)
    n = len(is_bad)
    return Flags(
        tuple("abcdefg"[: matrix_.shape[1]]),
        tuple((f"t{i}", f"h{i}") for i in range(n)),
        np.array(["train"] * n),
        np.arange(n),
        is_bad,
        np.ones(n),
        matrix_,
    )


def test_a_set_that_was_lucky_where_it_was_fitted_is_told_by_other_labels() -> None:
    fitted = flags_of([[1, 0]] * 9 + [[0, 1]] * 11, [[0, 0]] * 20)
    unlike = flags_of([[0, 0]] * 28 + [[1, 0]] * 2, [[0, 1]] * 20 + [[0, 0]] * 10)
    found = select_from(fitted, unlike, 0.9, 0.1)
    assert found.metrics == ("a", "b")
    checks = {check.name: check.passed for check in found.evidence.checks}
    assert checks == {
        "smallest set": True,
        "coverage on the holdout": False,
        "false failures on the holdout": False,
    }
    figures = {figure.name: figure.after for figure in found.evidence.figures}
    assert figures["coverage, holdout"].estimate == pytest.approx(2 / 30)
    assert figures["coverage, where it was fitted"].estimate == 1.0


def test_why_a_metric_is_left_out_is_said() -> None:
    bad = [[1, 1, 0, 0]] * 16 + [[0, 0, 1, 0]] * 4
    good = [[0, 0, 1, 0]] * 10 + [[0, 0, 0, 0]] * 10
    found = select_from(flags_of(bad, good), flags_of(bad, good), 0.8, 0.2)
    assert len(found.metrics) == 1
    assert found.metrics[0] in "ab"
    assert {one.metric: one.why for one in found.left_out if one.metric in "cd"} == {
        "c": "would take the false failures over what is allowed",
        "d": "finds no error",
    }
    (twin,) = (one for one in found.left_out if one.metric in "ab")
    assert (twin.adds_coverage, twin.why) == (0.0, "finds nothing that the set does not find")


def test_intervals_are_by_session() -> None:
    apart = flags_of([[1]] * 20 + [[0]] * 20, [[0]] * 20)
    at_once = Flags(
        *(apart.metrics, apart.traces, apart.splits, np.arange(60) // 10),
        *(apart.is_bad, apart.weight, apart.matrix),
    )
    alone, together = reach_of(apart, [0]).coverage, reach_of(at_once, [0]).coverage
    assert alone.high - alone.low < together.high - together.low


METRIC = """-- name: {name}
-- level: trace
-- direction: lower_is_better
-- owner: a person
-- review_due: 2030-01-01
-- Whether a message has the word {name}.
select trace_id, max((content like '%{name}%')::int) as value,
    if(value > 0, 'true', 'false') as label
from messages group by trace_id order by trace_id
"""


def fill(project: Project, n: int = 120) -> None:
    """Traces of which every second has an error that says `sorry`, and labels of all of them."""
    project.metrics_dir.mkdir(parents=True, exist_ok=True)
    for name in ("sorry", "hello", "never"):
        (project.metrics_dir / f"has_{name}.sql").write_text(METRIC.format(name=name))
    traces = [
        trace(f"t{i:03}", "hello", "sorry" if i % 2 == 0 else "yes", "thanks") for i in range(n)
    ]
    add_traces(project.stores, traces)
    metrics = [m for m in read_metrics(project.metrics_dir)[0] if m.name in ("sorry", "hello")]
    score_day_by_code(project.stores, metrics, DAY)
    for i in range(n):
        decide(project.stores.ledger, said(f"t{i:03}", i % 2 == 0))
    derive_labels(project.stores)


def test_the_command_selects_by_the_labels_of_a_project(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(project)
    folder = str(project.folder)
    main(["--project", folder, "evolution", "select", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"] == ["sorry"]
    held_out = [i for i in range(120) if split_of(f"session-t{i:03}") == "holdout"]
    figures = {one["name"]: one for one in found["evidence"]["figures"]}
    assert figures["coverage, holdout"]["n"] == sum(i % 2 == 0 for i in held_out)
    assert figures["coverage, holdout"]["after"]["estimate"] == 1.0
    assert figures["coverage, holdout"]["after"]["low"] < 1.0
    main(["--project", folder, "evolution", "select"])
    shown = capsys.readouterr()
    assert "1 of 2 metrics are enough: sorry" in shown.err
    assert "holdout" in shown.out
    add_person(project, "ada", "engineer")
    html = client_of(create_app(project), "ada").get("/proposals").text
    assert "1 of 2 metrics are enough: sorry" in html
    assert "finds nothing that the set does not find" in html or "finds no error" in html


def test_too_few_labels_are_one_sentence(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.data_dir.mkdir(parents=True)
    with pytest.raises(SystemExit) as stop:
        main(["--project", str(project.folder), "evolution", "select"])
    assert stop.value.code == 1
    assert "labels of an error in the train split" in capsys.readouterr().err


def graded(trace_id: str, priority: float = 0.0) -> ToGrade:
    return ToGrade(trace_id, "h", "desk", DAY, priority, ())


def test_the_worst_and_the_best_come_by_turns() -> None:
    names = [
        [one.trace_id for one in alternated([graded(n) for n in given])]
        for given in ("", "a", "ab", "abc", "abcdef")
    ]
    assert ["".join(own) for own in names] == ["", "a", "ab", "acb", "afbecd"]


def test_a_seldom_flag_is_worth_more_than_a_common_one(project: Project) -> None:
    project.metrics_dir.mkdir(parents=True, exist_ok=True)
    for name in ("rare", "common"):
        (project.metrics_dir / f"has_{name}.sql").write_text(METRIC.format(name=name))
    words = {"t0": "rare", "t1": "common", "t2": "common", "t3": "rare common", "t4": "fine"}
    rows = [trace(name, "hello", word, "thanks") for name, word in words.items()]
    add_traces(project.stores, [*rows, trace("t5", "hello", "common", "thanks")])
    metrics = [m for m in read_metrics(project.metrics_dir)[0] if m.name in ("rare", "common")]
    score_day_by_code(project.stores, metrics, DAY)
    decide(project.stores.ledger, said("t5", perceived_error=True))
    derive_labels(project.stores)
    found = grade_next(project, 4)
    # Of six, `rare` passes 4 and `common` 2: 4/6 + 2/6, 4/6, 2/6 twice, and 0.
    expected = {"t3": 1.0, "t0": 4 / 6, "t1": 2 / 6, "t2": 2 / 6, "t4": 0.0}
    assert [(one.trace_id, one.priority) for one in found[:3]] == [
        ("t3", pytest.approx(1.0)),
        ("t4", 0.0),
        ("t0", pytest.approx(4 / 6)),
    ]
    assert found[3].trace_id in ("t1", "t2")
    assert found[3].priority == pytest.approx(expected[found[3].trace_id])
    assert found[0].against == ("common", "rare")
    assert grade_next(project, 4, app="other") == []


def test_what_is_queued_comes_in_that_order_and_counts_in_no_estimate(project: Project) -> None:
    project.metrics_dir.mkdir(parents=True, exist_ok=True)
    (project.metrics_dir / "has_rare.sql").write_text(METRIC.format(name="rare"))
    names = [f"t{i}" for i in range(4)]
    rows = [trace(n, "hello", "rare" if n == "t2" else "ok", "bye") for n in names]
    add_traces(project.stores, rows)
    metrics = [m for m in read_metrics(project.metrics_dir)[0] if m.name == "rare"]
    score_day_by_code(project.stores, metrics, DAY)
    wanted = grade_next(project, 3)
    assert wanted[0].trace_id == "t2"
    queue_next(project, wanted, "ann")
    page = list_items(project.stores.ledger, ItemFilter())
    assert [item.trace_id for item in page.items] == [one.trace_id for one in wanted]
    assert {item.queue for item in page.items} == {"picked"}
    assert {item.queue for item in page.items} <= set(UNDRAWN_QUEUES)
    # Who was asked already is not asked again.
    assert len(grade_next(project, 3)) == 1
