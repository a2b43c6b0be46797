"""A day of traces through the metrics: each in the sandbox, each its own partition.

Current traces and their messages in, `scores` and `score_runs` out; the one idea is that a metric
sees a copy of one day and nothing else, so the warehouse is closed while it runs, and a metric that
fails is a counted result beside the others.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import BadMetric
from flywheel.metrics.checking import ANSWERS, check_answers
from flywheel.metrics.metric import CheckMetric, Metric, SqlMetric
from flywheel.metrics.sandbox import Limits, Sandbox
from flywheel.records import PartitionReport
from flywheel.store import Stores
from flywheel.store.snapshots import Parts, current_run, write_partitions
from flywheel.store.warehouse import Connection

# Rows beyond one a trace or turn that are still read, so that a few too many are counted as such.
SPARE_ROWS = 1_000
# Scores that wait in memory for those of the next metric: to open the warehouse takes 60 ms.
PENDING_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class DayFiles:
    """One day as metrics see it: two Parquet files, with their numbers of rows."""

    day: date
    traces: Path
    messages: Path
    n_traces: int
    n_messages: int
    # When each (metric, version) first scored the day.
    scored_at: Mapping[tuple[str, str], datetime]
    # The two files as `traces` and `messages`, for what is asked of every metric's rows.
    connection: Connection

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
    reports: list[PartitionReport] = []
    pending: list[Parts] = []
    n_pending = 0
    with exported_day(stores, day) as files, _sandbox(stores, files, limits) as sandbox:
        for metric in metrics:
            report, parts = _score(stores, sandbox, metric, files)
            reports.append(report)
            pending.append(parts)
            n_pending += report.done
            if n_pending > PENDING_ROWS:
                write_partitions(stores, pending)
                pending, n_pending = [], 0
    if pending:
        write_partitions(stores, pending)
    return reports


def run_metric(stores: Stores, metric: Metric, day: date, limits: Limits | None = None) -> pa.Table:
    """The scores that a metric would store for the day, by trace id; nothing is stored.

    Raises BadMetric where the metric fails as a whole.
    """
    with exported_day(stores, day) as files, _sandbox(stores, files, limits) as sandbox:
        return scores_of(checked_over(stores, sandbox, metric, files))


def checked_over(stores: Stores, sandbox: Sandbox, metric: Metric, files: DayFiles) -> pa.Table:
    """What a metric says of the traces in the files, a row each, as it would be scored.

    `failed` and `skipped` say why a row is no score. Raises BadMetric where it fails as a whole.
    """
    return _checked(metric, files, _answers(stores, sandbox, metric, files))


@contextmanager
def exported_day(stores: Stores, day: date) -> Iterator[DayFiles]:
    """The day's current traces and messages as Parquet files, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="flywheel-metrics-") as folder:
        traces, messages = Path(folder) / "traces.parquet", Path(folder) / "messages.parquet"
        with stores.warehouse.read() as connection:
            n_traces = connection.count("metrics_runs/traces_of_day", day=day, path=str(traces))
            n_messages = connection.count(
                "metrics_runs/messages_of_day", day=day, path=str(messages)
            )
            earlier = connection.run("metrics_runs/scored_at", day=day).fetchall()
        scored_at = {(metric, version): when for metric, version, when in earlier}
        with opened_files(traces, messages, n_traces, n_messages, day, scored_at) as files:
            yield files


@contextmanager
def opened_files(
    traces: Path,
    messages: Path,
    n_traces: int,
    n_messages: int,
    day: date = date.min,
    scored_at: Mapping[tuple[str, str], datetime] = MappingProxyType({}),
) -> Iterator[DayFiles]:
    """Two Parquet files as metrics are run over them; of traces of any days where none is named."""
    with duckdb.connect() as raw:
        raw.read_parquet(str(traces)).create_view("traces")
        raw.read_parquet(str(messages)).create_view("messages")
        yield DayFiles(day, traces, messages, n_traces, n_messages, scored_at, Connection(raw))


def _sandbox(stores: Stores, files: DayFiles, limits: Limits | None) -> Sandbox:
    return Sandbox(files.traces, files.messages, limits or Limits(threads=stores.warehouse.threads))


def _answers(stores: Stores, sandbox: Sandbox, metric: Metric, files: DayFiles) -> pa.Table:
    # A day without traces needs no sandbox: to start one takes half a second.
    if files.n_traces and isinstance(metric, SqlMetric):
        return sandbox.answers(metric, files.max_rows(metric))
    if files.n_traces and isinstance(metric, CheckMetric):
        return check_answers(stores, metric, files.day, files.traces, files.messages)
    return ANSWERS.empty_table()


def _score(
    stores: Stores, sandbox: Sandbox, metric: Metric, files: DayFiles
) -> tuple[PartitionReport, Parts]:
    try:
        checked = _checked(metric, files, _answers(stores, sandbox, metric, files))
        failed = _counts(checked, "failed")
        skipped = _counts(checked, "skipped")
    except BadMetric as error:
        checked = _checked(metric, files, ANSWERS.empty_table())
        failed, skipped = {error.why: checked.num_rows}, {}
    scores = scores_of(checked)
    report = PartitionReport(files.day, checked.num_rows, scores.num_rows, skipped, failed)
    return report, _parts(metric, scores, report, files)


def _checked(metric: Metric, files: DayFiles, answers: pa.Table) -> pa.Table:
    with files.connection.given(answers=answers):
        return files.connection.table(
            "metrics_runs/checked_answers",
            level=metric.level,
            day=files.day,
            metric=metric.name,
            metric_version=metric.version,
        )


def scores_of(checked: pa.Table) -> pa.Table:
    """Those of the rows that are scores."""
    stands = pc.and_(pc.is_null(checked["failed"]), pc.is_null(checked["skipped"]))
    return checked.filter(stands).drop_columns(["failed", "skipped"])


def _counts(checked: pa.Table, column: str) -> dict[str, int]:
    counted = pc.value_counts(checked[column].drop_null())
    return {row["values"]: row["counts"] for row in counted.to_pylist()}


def _parts(metric: Metric, scores: pa.Table, report: PartitionReport, files: DayFiles) -> Parts:
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
    return {
        "scores": (key, scores),
        "score_runs": (key, pa.Table.from_pylist([run])),
        "current_runs": current_run(report.day, metric.name, metric.version, judge=""),
    }
