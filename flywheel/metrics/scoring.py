"""A day of traces through the metrics: each in the sandbox, each its own partition.

Current traces and their messages in, `scores` and `score_runs` out; the one idea is that a metric
sees a copy of one day and nothing else, so the warehouse is closed while it runs, and a metric that
fails is a counted result beside the others.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import BadMetric
from flywheel.metrics.files import Metric
from flywheel.metrics.sandbox import Limits, Sandbox
from flywheel.records import PartitionReport
from flywheel.store import Stores
from flywheel.store.snapshots import current_run, write_partition
from flywheel.store.warehouse import Connection

# Rows beyond one a trace or turn that are still read, so that a few too many are counted as such.
SPARE_ROWS = 1_000

_ANSWERS = pa.schema(
    {
        "trace_id": pa.string(),
        "value": pa.float64(),
        "label": pa.string(),
        "reason": pa.string(),
        "evidence_turn": pa.int32(),
        "is_no_number": pa.bool_(),
    }
)


@dataclass(frozen=True, slots=True)
class DayFiles:
    """One day as metrics see it: two Parquet files, with their numbers of rows."""

    day: date
    traces: Path
    messages: Path
    n_traces: int
    n_messages: int
    # When each (metric, version) first scored the day.
    scored_at: dict[tuple[str, str], datetime]

    def max_rows(self, metric: Metric) -> int:
        """The most rows that the metric may return."""
        return SPARE_ROWS + (self.n_traces if metric.level == "trace" else self.n_messages)


def score_day_by_code(
    stores: Stores, metrics: Iterable[Metric], day: date, limits: Limits | None = None
) -> list[PartitionReport]:
    """Score the day's current traces with each metric; one report a metric, in their order.

    Replaces only the rows of this day and this version of the metric. `attempted` counts the day's
    traces (turns, for a metric of turns) and rows for anything else; a metric that fails as a whole
    has failed for every one of them.
    """
    with exported_day(stores, day) as files, _sandbox(stores, files, limits) as sandbox:
        return [_score(stores, sandbox, metric, files) for metric in metrics]


def run_metric(stores: Stores, metric: Metric, day: date, limits: Limits | None = None) -> pa.Table:
    """The scores that a metric would store for the day, by trace id; nothing is stored.

    Raises BadMetric where the metric fails as a whole.
    """
    with exported_day(stores, day) as files, _sandbox(stores, files, limits) as sandbox:
        answers = sandbox.answers(metric, files.max_rows(metric))
        return _scores_of(_checked(metric, files, answers))


@contextmanager
def exported_day(stores: Stores, day: date) -> Iterator[DayFiles]:
    """The day's current traces and messages as Parquet files, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="flywheel-metrics-") as folder:
        traces, messages = Path(folder) / "traces.parquet", Path(folder) / "messages.parquet"
        with stores.warehouse.open() as connection:
            n_traces = connection.count("metrics_runs/traces_of_day", day=day, path=str(traces))
            n_messages = connection.count(
                "metrics_runs/messages_of_day", day=day, path=str(messages)
            )
            earlier = connection.run("metrics_runs/scored_at", day=day).fetchall()
        scored_at = {(metric, version): when for metric, version, when in earlier}
        yield DayFiles(day, traces, messages, n_traces, n_messages, scored_at)


def _sandbox(stores: Stores, files: DayFiles, limits: Limits | None) -> Sandbox:
    return Sandbox(files.traces, files.messages, limits or Limits(threads=stores.warehouse.threads))


def _score(stores: Stores, sandbox: Sandbox, metric: Metric, files: DayFiles) -> PartitionReport:
    try:
        # A day without traces needs no sandbox: to start one takes half a second.
        answers = _ANSWERS.empty_table()
        if files.n_traces:
            answers = sandbox.answers(metric, files.max_rows(metric))
        checked = _checked(metric, files, answers)
        failed = _counts(checked, "failed")
        skipped = _counts(checked, "skipped")
    except BadMetric as error:
        checked = _checked(metric, files, _ANSWERS.empty_table())
        failed, skipped = {error.why: checked.num_rows}, {}
    scores = _scores_of(checked)
    report = PartitionReport(files.day, checked.num_rows, scores.num_rows, skipped, failed)
    _write(stores, metric, scores, report, files)
    return report


def _checked(metric: Metric, files: DayFiles, answers: pa.Table) -> pa.Table:
    with duckdb.connect() as raw:
        raw.read_parquet(str(files.traces)).create_view("traces")
        raw.read_parquet(str(files.messages)).create_view("messages")
        connection = Connection(raw)
        with connection.given(answers=answers):
            return connection.table(
                "metrics_runs/checked_answers",
                level=metric.level,
                day=files.day,
                metric=metric.name,
                metric_version=metric.version,
            )


def _scores_of(checked: pa.Table) -> pa.Table:
    stands = pc.and_(pc.is_null(checked["failed"]), pc.is_null(checked["skipped"]))
    return checked.filter(stands).drop_columns(["failed", "skipped"])


def _counts(checked: pa.Table, column: str) -> dict[str, int]:
    counted = pc.value_counts(checked[column].drop_null())
    return {row["values"]: row["counts"] for row in counted.to_pylist()}


def _write(
    stores: Stores, metric: Metric, scores: pa.Table, report: PartitionReport, files: DayFiles
) -> None:
    key = {
        "day": report.day,
        "metric": metric.name,
        "metric_version": metric.version,
        "judge_version": "",
    }
    now = datetime.now(UTC).replace(tzinfo=None)
    run = key | {
        "attempted": report.attempted,
        "scored": report.done,
        "skipped": json.dumps(report.skipped, sort_keys=True),
        "failed": json.dumps(report.failed, sort_keys=True),
        "scored_at": files.scored_at.get((metric.name, metric.version), now),
    }
    write_partition(
        stores,
        {
            "scores": (key, scores),
            "score_runs": (key, pa.Table.from_pylist([run])),
            "current_runs": current_run(report.day, metric.name, metric.version, judge=""),
        },
    )
