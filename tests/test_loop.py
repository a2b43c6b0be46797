"""The loop as a whole: every trace accounted for, every run repeatable, every kill survived."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from flywheel import loop
from flywheel.in_use import levers_of
from flywheel.loop import learn, rebuild_warehouse, run_day, run_loop
from flywheel.retrieval import update_index
from flywheel.review import import_decisions
from flywheel.store import Project, open_project
from flywheel.traces.importing import import_file
from tests.conftest import trace, write_lines

SAMPLE = Path(__file__).resolve().parent.parent / "flywheel" / "sample"
FIRST_DAY, SECOND_DAY = date(2026, 3, 2), date(2026, 3, 3)
# What the pipeline writes; `queue` and `versions` are the ledger's.
TABLES = (
    "traces",
    "messages",
    "samples",
    "scores",
    "score_runs",
    "current_runs",
    "few_shot_corrections",
    "labels",
    "corrections",
    "decisions",
    "estimates",
)


def sample_lines(name: str, n: int) -> list[dict[str, object]]:
    lines = (SAMPLE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:n]]


@pytest.fixture
def filled(project: Project, tmp_path: Path) -> Project:
    """24 conversations of the sample over two days, one that nobody answered, and a bad line."""
    rows = [*sample_lines("traces", 12), *sample_lines("traces", 42)[30:], trace("alone", "hi")]
    path = write_lines(tmp_path / "traces.jsonl", rows)
    with path.open("a", encoding="utf-8") as file:
        file.write("{not json\n")
    import_file(project.stores, path)
    return project


def rows_of(project: Project, leave_out: str = "") -> dict[str, list[tuple[object, ...]]]:
    """Every row of the warehouse, table by table, in an order of its own."""
    found = {}
    with project.stores.warehouse.open() as connection:
        for table in TABLES:
            selected = connection.raw.execute(f"select * {leave_out} from {table}").fetchall()
            found[table] = sorted(selected, key=repr)
    return found


def without_times(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """The rows without what is measured anew in each run: moments, latencies and CPU time."""
    measured = ("scored_at", "latency_ms", "cost_usd")
    found = rows_of(project)
    for table in ("score_runs", "scores"):
        with project.stores.warehouse.open() as connection:
            rows = connection.raw.execute(f"select * from {table}").to_arrow_table()
        kept = rows.drop_columns([name for name in measured if name in rows.column_names])
        found[table] = sorted((tuple(row.values()) for row in kept.to_pylist()), key=repr)
    return found


def queue_of(project: Project) -> list[tuple[object, ...]]:
    with project.stores.ledger.begin() as ledger:
        return sorted(
            tuple(row)
            for row in ledger.exec_driver_sql(
                "select trace_id, reason, priority, draw_probability, status from queue_items"
            )
        )


def test_every_trace_is_scored_not_eligible_or_rejected(filled: Project) -> None:
    report = run_loop(filled)
    assert report.days == [FIRST_DAY, SECOND_DAY]
    assert (report.traces, report.scored, report.not_eligible) == (25, 24, 1)
    with filled.stores.warehouse.open() as connection:
        (why,) = connection.raw.execute("select why from rejected_rows").fetchall()
        scored = connection.raw.execute(
            "select count(distinct trace_id) from current_scores where metric = 'perceived_error'"
        ).fetchone()
    assert "JSON" in why[0]
    assert scored == (24,)
    assert report.retraining == "no retraining: 0 new labels, 50 more are needed"


def test_the_same_versions_give_the_same_rows(filled: Project) -> None:
    run_loop(filled)
    rows, queue = rows_of(filled), queue_of(filled)
    run_loop(filled)
    assert rows_of(filled) == rows
    assert queue_of(filled) == queue


STAGES = (
    "drain_and_load",
    "sample_day",
    "score_day_by_code",
    "few_shots_for_day",
    "score_apps",
    "fill_queue",
    "derive_labels",
    "write_quality_report",
    "update_indexes",
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    """The rows of a run over one day that nothing stopped."""
    project = one_day(tmp_path_factory.mktemp("uninterrupted"))
    run_loop(project)
    return without_times(project)


def one_day(folder: Path) -> Project:
    project = open_project(folder / "project")
    import_file(project.stores, write_lines(folder / "t.jsonl", sample_lines("traces", 6)))
    rows = [row | {"decided_at": "2026-03-03T08:00:00Z"} for row in sample_lines("decisions", 6)]
    import_decisions(project.stores, write_lines(folder / "d.jsonl", rows))
    return project


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_dies_at_a_stage_is_completed_by_running_again(
    stage: str,
    when: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: dict[str, list[tuple[object, ...]]],
) -> None:
    project = one_day(tmp_path)
    real: Callable[..., object] = getattr(loop, stage)

    def dies(*arguments: object, **named: object) -> None:
        if when == "after":
            real(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, stage, dies)
    with pytest.raises(KeyboardInterrupt):
        run_loop(project)
    monkeypatch.undo()
    run_loop(project)
    assert without_times(project) == uninterrupted


def test_a_run_that_is_killed_while_it_judges_loses_doubles_and_pays_nothing_twice(
    tmp_path: Path,
) -> None:
    project = open_project(tmp_path / "project")
    import_file(project.stores, write_lines(tmp_path / "t.jsonl", sample_lines("traces", 300)))
    script = (
        "import sys; from datetime import date; from pathlib import Path\n"
        "from flywheel.store import open_project\n"
        "from flywheel.loop import run_loop\n"
        "run_loop(open_project(Path(sys.argv[1])))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(project.folder)])
    try:
        paid = wait_for_verdicts(project, child)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert 0 < paid < 300
    before = cached_at(project)
    run_loop(project)
    after = cached_at(project)
    assert len(after) == 300
    # What was known when the process died was not judged again.
    assert before.items() <= after.items()
    with project.stores.warehouse.open() as connection:
        rows = connection.raw.execute(
            "select count(*), count(distinct trace_id) from scores where tier = 'frozen'"
        ).fetchone()
    assert rows == (300, 300)


def wait_for_verdicts(project: Project, child: "subprocess.Popen[bytes]") -> int:
    """How many verdicts are in the cache as soon as there are any."""
    for _ in range(1200):
        found = len(cached_at(project))
        if found:
            return found
        assert child.poll() is None, "the run ended before it was killed"
        time.sleep(0.1)
    raise AssertionError("no verdict within two minutes")


def cached_at(project: Project) -> dict[str, object]:
    with project.stores.ledger.begin() as ledger:
        rows = ledger.exec_driver_sql("select input_hash, judged_at from verdict_cache").all()
    return {row[0]: row[1] for row in rows}


def test_the_warehouse_is_rebuilt_from_ledger_and_artifacts(
    filled: Project, tmp_path: Path
) -> None:
    decisions = write_lines(tmp_path / "d.jsonl", sample_lines("decisions", 12))
    import_decisions(filled.stores, decisions)
    run_loop(filled)
    update_index(filled.stores, loop.embedder_of(filled), levers_of(filled))
    run_day(filled, SECOND_DAY)
    before = rows_of(filled)
    report = rebuild_warehouse(filled)
    assert report == {"imports": 1, "traces": 25, "partitions": report["partitions"], "labels": 12}
    assert rows_of(filled) == before


def test_a_decision_shows_in_the_next_days_examples_and_not_in_those_before_it(
    filled: Project, tmp_path: Path
) -> None:
    rows = [row | {"decided_at": "2026-03-02T23:00:00Z"} for row in sample_lines("decisions", 12)]
    import_decisions(filled.stores, write_lines(tmp_path / "d.jsonl", rows))
    learn(filled)
    update_index(filled.stores, loop.embedder_of(filled), levers_of(filled))
    # Decisions of the 2nd are known at the end of the 2nd, and not on the day before it.
    earlier = trace("early", "a", "b", "c", started_at="2026-03-01T10:00:00Z")
    import_file(filled.stores, write_lines(tmp_path / "early.jsonl", [earlier]))
    run_loop(filled)
    with filled.stores.warehouse.open() as connection:
        days = connection.raw.execute(
            "select distinct day from few_shot_corrections order by day"
        ).fetchall()
    assert days == [(FIRST_DAY,), (SECOND_DAY,)]


def test_a_broken_metric_file_is_named_and_stops_nothing_else(filled: Project) -> None:
    filled.metrics_dir.mkdir(exist_ok=True)
    (filled.metrics_dir / "broken.sql").write_text("-- name: broken\nselect nothing")
    report = run_loop(filled)
    assert len(report.refused_metrics) == 1
    assert "broken.sql" in report.refused_metrics[0]
    assert report.scored == 24


@pytest.fixture(autouse=True)
def closed_ledgers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ledgers of projects that a test opens by itself are let go of when it ends."""
    opened: list[Project] = []
    real = open_project

    def remembers(folder: Path) -> Project:
        opened.append(real(folder))
        return opened[-1]

    monkeypatch.setattr(sys.modules[__name__], "open_project", remembers)
    yield
    for project in opened:
        project.stores.ledger.close()
