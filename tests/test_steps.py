"""Where along a trace errors come, and how far metrics by code agree with people."""

import json
import os
from ast import literal_eval
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.corrections import derive_labels
from flywheel.metrics import Metric
from flywheel.quality.code_metrics import metric_agreement
from flywheel.quality.steps import curve_of, read_steps, step_curves, step_figures
from flywheel.records import Decision
from flywheel.review import decide
from flywheel.store import Project
from flywheel.store.snapshots import current_run, replace_rows
from flywheel.traces.importing import import_file
from tests.conftest import trace, write_lines
from tests.judged import DAY, add_scores, add_traces, said

REAL = os.environ.get("FLYWHEEL_BENCH_DATA")


def rows(*steps: tuple[int, int | None], weight: float = 1.0) -> pa.Table:
    """Rows of (n_steps, error_step), each a session of its own."""
    return pa.table(
        {
            "app": ["shop"] * len(steps),
            "session": [f"s{i}" for i in range(len(steps))],
            "n_steps": pa.array([n for n, _ in steps], pa.int32()),
            "error_step": pa.array([at for _, at in steps], pa.int32()),
            "weight": pa.array([weight] * len(steps), pa.float64()),
        }
    )


def test_survival_is_the_product_of_the_steps_so_far() -> None:
    # 10 traces: two fail at 1, one ends fine after 1, two fail at 2, five go on to 3.
    curve = curve_of("shop", rows(*[(3, 1)] * 2, (1, None), *[(3, 2)] * 2, *[(3, None)] * 5))
    assert [(s.step, s.n_traces, s.n_errors) for s in curve.steps] == [
        (1, 10, 2),
        (2, 7, 2),
        (3, 5, 0),
    ]
    # 8 / 10, then 5 / 7 of the seven that have a second step.
    assert [s.survival.estimate for s in curve.steps] == pytest.approx([0.8, 4 / 7, 4 / 7])
    assert [s.accuracy.estimate for s in curve.steps] == pytest.approx([0.8, 5 / 7, 1.0])
    assert all(s.survival.low <= s.survival.estimate <= s.survival.high for s in curve.steps)


def test_before_the_first_error_the_interval_is_not_a_point() -> None:
    [one, *_] = curve_of("shop", rows(*[(2, None)] * 20)).steps
    assert one.survival.estimate == 1.0
    assert 0.8 < one.survival.low < 0.9


def test_errors_without_a_place_are_counted_and_left_out() -> None:
    curve = curve_of("shop", rows(*[(2, 0)] * 3, *[(2, None)] * 6))
    assert (curve.n_traces, curve.n_unplaced, curve.steps[0].n_traces) == (9, 3, 6)


def test_the_curve_ends_where_few_traces_are_left() -> None:
    assert len(curve_of("shop", rows(*[(2, None)] * 10, *[(9, None)] * 4)).steps) == 2
    assert curve_of("shop", rows((3, 1))).steps == []
    assert curve_of("shop", rows()).steps == []


def test_weights_undo_the_preference_for_errors() -> None:
    errors, fine = rows(*[(2, 1)] * 10, weight=1.0), rows(*[(2, None)] * 10, weight=9.0)
    [first, *_] = curve_of("shop", pa.concat_tables([errors, fine])).steps
    assert first.survival.estimate == pytest.approx(0.9)
    assert first.accuracy == first.survival


def test_the_interval_of_a_curve_covers_it() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        # An error with chance .1 at each of three steps: .9 ** 3 without one.
        at = np.argmax([*(rng.random((3, 60)) < 0.1), np.ones(60, bool)], axis=0) + 1
        curve = curve_of("shop", rows(*[(3, int(k) if k <= 3 else None) for k in at]))
        last = curve.steps[-1].survival
        covered += last.low <= 0.9**3 <= last.high
    assert covered >= 89


@pytest.fixture
def labelled(project: Project) -> Project:
    """Twelve labelled traces of three answers, every third with an error shown by its user."""
    turns = ("hi", "a", "hm", "b", "no!", "c", "ok")
    add_traces(project.stores, [trace(f"t{i:02}", *turns) for i in range(12)])
    add_scores(project.stores, {f"t{i:02}": 0.9 if i % 3 == 0 else 0.1 for i in range(12)})
    for i in range(12):
        # The user's "no!", message 4, speaks of the second answer.
        decide(project.stores.ledger, said(f"t{i:02}", i % 3 == 0, evidence_turn=4))
    derive_labels(project.stores)
    return project


def test_a_users_reaction_stands_for_the_answer_before_it(labelled: Project) -> None:
    [curve] = step_curves(labelled.stores, "labels")
    assert [(s.n_traces, s.n_errors) for s in curve.steps] == [(12, 0), (12, 4), (8, 0)]
    assert step_curves(labelled.stores, "labels", "other") == []


def test_verdicts_that_point_at_nothing_give_no_curve(labelled: Project) -> None:
    [curve] = step_curves(labelled.stores, "verdicts")
    assert (curve.n_traces, curve.n_unplaced) == (12, 4)


def test_the_figure_says_the_curve_in_words(labelled: Project) -> None:
    figure = read_steps(step_curves(labelled.stores, "labels"))
    assert figure.sentence.startswith("Of shop, 66.7\u00a0%")
    assert len(figure.rows) == 3


def test_the_page_shows_the_curve_once_a_label_says_where(labelled: Project) -> None:
    assert [figure.name for figure in step_figures(labelled.stores)] == ["steps"]


def test_the_page_shows_no_curve_of_nothing(project: Project) -> None:
    assert step_figures(project.stores) == []


def test_the_commands_print_what_is_measured(labelled: Project) -> None:
    run = CliRunner().invoke
    folder = str(labelled.folder)
    steps = run(cli, ["--project", folder, "quality", "steps", "--json"])
    assert json.loads(steps.stdout)[0]["steps"][1]["n_errors"] == 4
    assert "0.667 [" in run(cli, ["--project", folder, "quality", "steps"]).stdout
    metrics = run(cli, ["--project", folder, "quality", "metrics", "--json"])
    assert {row["metric"] for row in json.loads(metrics.stdout)} >= {"refusal"}
    assert "too few labels" in run(cli, ["--project", folder, "quality", "metrics"]).stdout


# Metrics against people


def add_flags(project: Project, name: str, flagged: set[str]) -> None:
    key = {"day": DAY, "metric": name, "metric_version": "1", "judge_version": ""}
    scores = [
        key
        | {"trace_id": t, "content_hash": f"v1-{t}", "kind": "code"}
        | {"value": 1.0, "label": str(t in flagged).lower()}
        for t in (f"t{i:02}" for i in range(60))
    ]
    with project.stores.warehouse.open() as connection, connection.transaction():
        replace_rows(connection, "scores", key, pa.Table.from_pylist(scores))
        replace_rows(connection, "current_runs", *current_run(DAY, name, "1", ""))


def metric(name: str, direction: str, due: date) -> Metric:
    return Metric(name, "trace", "trace", direction, "me", due, "", "1", "")  # type: ignore[arg-type]


def test_a_metric_is_measured_by_the_labels_of_people(project: Project) -> None:
    names = [f"t{i:02}" for i in range(60)]
    add_traces(project.stores, [trace(name, "hi", "hello", "no") for name in names])
    for i, name in enumerate(names[:50]):
        decide(project.stores.ledger, said(name, i < 20))
    derive_labels(project.stores)
    # Against 15 of the 20 with an error and 6 of the 30 without.
    add_flags(project, "loud", {*names[:15], *names[20:26]})
    add_flags(project, "good", {*names[20:50]})
    found = metric_agreement(
        project.stores,
        [
            metric("loud", "lower_is_better", date(2026, 1, 1)),
            metric("good", "higher_is_better", date(2026, 12, 1)),
            metric("length", "neutral", date(2026, 12, 1)),
            metric("unscored", "lower_is_better", date(2026, 12, 1)),
        ],
        DAY,
    )
    good, loud, unscored = found
    assert (loud.n_labels, loud.n_errors, loud.n_fine, loud.is_overdue) == (50, 20, 30, True)
    assert loud.coverage is not None
    assert loud.false_failure_rate is not None
    assert loud.alignment is not None
    assert loud.coverage.estimate == pytest.approx(0.75)
    assert loud.false_failure_rate.estimate == pytest.approx(0.2)
    # 2 / (1 / .75 + 1 / .8)
    assert loud.alignment.estimate == pytest.approx(0.7742, abs=1e-4)
    # Wilson of 15 in 20.
    assert (loud.coverage.low, loud.coverage.high) == pytest.approx((0.531, 0.888), abs=1e-3)
    assert good.alignment is not None
    assert (good.alignment.estimate, good.is_overdue) == (1.0, False)
    assert (unscored.n_labels, unscored.alignment) == (0, None)


# Real traces


@pytest.mark.skipif(not REAL, reason="FLYWHEEL_BENCH_DATA is not set")
def test_the_curve_of_failures_follows_the_marks_of_people(project: Project) -> None:
    """Every trace failed: the curve falls to what lies beyond its end, and the marks say when."""
    lines = (Path(str(REAL)) / "traces/who_and_when.jsonl").read_text("utf-8").splitlines()
    marked = [json.loads(line) for line in lines]
    keep = ("trace_id", "app", "messages")
    plain = [
        {name: row[name] for name in keep} | {"started_at": "2026-03-02T10:00:00Z"}
        for row in marked
    ]
    import_file(project.stores, write_lines(project.folder / "marked.jsonl", plain))
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute("select trace_id, content_hash from traces").fetchall()
    versions, at = dict(found), {}
    for row in marked:
        # A step counts the messages of the agents, and the task before them is the user's.
        label = row["label"]
        label = literal_eval(label) if isinstance(label, str) else label
        turn = int(label["raw"]["mistake_step"]) + 1
        if turn < len(row["messages"]):
            at[row["trace_id"]] = turn
            words = {"reason_code": "other", "reason": "", "decided_at": datetime.now(UTC)}
            decision = Decision(
                row["trace_id"],
                versions[row["trace_id"]],
                "ann",
                True,
                **words,
                evidence_turn=turn,
            )
            decide(project.stores.ledger, decision)
    derive_labels(project.stores)
    curves = {curve.app: curve for curve in step_curves(project.stores, "labels")}
    curve = curves["who-and-when-algorithm-generated"]
    of_app = [row for row in marked if row["app"] == curve.app and row["trace_id"] in at]
    first_answers = sum(
        at[row["trace_id"]] <= _second_answer(row["messages"]) - 1 for row in of_app
    )
    assert curve.steps[0].n_traces == len(of_app)
    assert curve.steps[0].n_errors == first_answers
    falling = [step.survival.estimate for step in curve.steps]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] < 0.5


def _second_answer(messages: list[dict[str, str]]) -> int:
    """The position of the second message of an assistant, or the end."""
    places = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    return places[1] if len(places) > 1 else len(messages)
