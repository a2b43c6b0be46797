"""What a proposed metric has to be before anybody sees it: runnable, repeatable, new and general.

A metric and labelled traces in, what it says of them out, or one sentence on why it may not be. It
runs where every metric runs: in a process of its own that reaches two files.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flywheel.errors import BadMetric
from flywheel.evolution.metric_set.labelled import Labels, Said, files_of, said_of
from flywheel.metrics import Limits, Metric
from flywheel.metrics.metric import SqlMetric
from flywheel.metrics.sandbox import Sandbox
from flywheel.metrics.scoring import checked_over, scores_of
from flywheel.store import Stores

# What reads the clock and looks like a column.
_CLOCKS = frozenset({"current_date", "current_time", "localtime", "localtimestamp"})


def run_on_labels(stores: Stores, metric: SqlMetric, labels: Labels, limits: Limits) -> Said:
    """What the metric says of the labelled traces, none of which it may fail on.

    Raises BadMetric where the sandbox refuses it, where it takes too much, fails on a trace, or
    gives no yes or no, and where it says something else of a trace among others.
    """
    scores = _run(stores, metric, labels, limits, np.arange(len(labels)))
    check_repeatable(metric)
    _check_binary(metric, scores)
    # Every other trace, from the last to the first.
    half = np.arange(len(labels))[::-2].copy()
    again = _run(stores, metric, labels, limits, half)
    whole = _by_trace(scores)
    for trace_id, answer in _by_trace(again).items():
        if whole.get(trace_id) != answer:
            raise BadMetric(
                metric.file,
                "says something else of a trace when it runs over other traces or in another order",
            )
    if again.num_rows != len({labels.trace_ids[i] for i in half} & set(whole)):
        raise BadMetric(metric.file, "speaks of a trace or not, depending on the others")
    return said_of(scores, metric, labels)


def measured_on_labels(stores: Stores, metric: SqlMetric, labels: Labels, limits: Limits) -> Said:
    """What a metric in force says of the labelled traces; raises BadMetric where it fails."""
    scores = _run(stores, metric, labels, limits, np.arange(len(labels)))
    return said_of(scores, metric, labels)


def check_repeatable(metric: SqlMetric) -> None:
    """Raise BadMetric where the SELECT asks for chance or for the time of day."""
    if moody := sorted(_called(metric.sql) & _unsteady()):
        raise BadMetric(metric.file, f"calls {moody[0]}(), so that its answers would not last")


def check_new(said: Said, metric: Metric, present: Mapping[str, Said]) -> None:
    """Raise BadMetric where it speaks against no trace, or against the very same as another."""
    n = len(said.is_against)
    if not said.is_against.any():
        raise BadMetric(metric.file, f"speaks against none of {n:,} labelled traces")
    if said.is_against.all():
        raise BadMetric(metric.file, f"speaks against all of {n:,} labelled traces")
    for name, other in present.items():
        if np.array_equal(said.is_against, other.is_against):
            raise BadMetric(
                metric.file, f"speaks against the same of {n:,} labelled traces as {name} does"
            )


def check_general(text: str, metric: Metric, trace_ids: Iterable[str]) -> None:
    """Raise BadMetric where the text names a trace: it would know it by heart."""
    for trace_id in trace_ids:
        # A short id may be a word or a number of any SELECT.
        if len(trace_id) >= 8 and trace_id in text:
            raise BadMetric(metric.file, "names a single trace; it has to be about any trace")


def _run(
    stores: Stores, metric: SqlMetric, labels: Labels, limits: Limits, order: NDArray[np.int64]
) -> pa.Table:
    with (
        files_of(stores, labels, order) as files,
        Sandbox(files.traces, files.messages, limits) as sandbox,
    ):
        checked = checked_over(stores, sandbox, metric, files)
    failed = checked["failed"].drop_null().to_pylist()
    if failed:
        raise BadMetric(
            metric.file, f"fails on {len(failed):,} of {checked.num_rows:,} traces: {failed[0]}"
        )
    return scores_of(checked)


def _check_binary(metric: SqlMetric, scores: pa.Table) -> None:
    said = {str(label).lower() for label in scores["label"].to_pylist()}
    if metric.level != "trace" or metric.direction == "neutral":
        raise BadMetric(metric.file, "is not for or against whole traces, which labels are of")
    if other := sorted(said - {"true", "false"}):
        raise BadMetric(metric.file, f"gives the label {other[0][:40]!r}; a label is true or false")


def _by_trace(scores: pa.Table) -> dict[str, tuple[float, str | None]]:
    columns = (scores[name].to_pylist() for name in ("trace_id", "value", "label"))
    # Sums of floats may differ in their last digits with the order of rows.
    return {
        trace_id: (float(f"{v:.9g}"), label) for trace_id, v, label in zip(*columns, strict=True)
    }


def _called(sql: str) -> set[str]:
    """The functions that a SELECT calls, by name, and `sample` where it draws rows."""
    with duckdb.connect(config={"enable_external_access": "false"}) as parser:
        (row,) = parser.execute("select json_serialize_sql($1)", [sql]).fetchall()
    names: set[str] = set()
    waiting: list[object] = [json.loads(row[0])]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            names.add(str(part.get("function_name", "")).lower())
            names |= {"sample"} if part.get("sample") else set()
            names |= _CLOCKS & {str(name).lower() for name in part.get("column_names", ())}
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return names


@cache
def _unsteady() -> frozenset[str]:
    """Functions whose answers change from call to call or from query to query, as DuckDB has it."""
    found = "select function_name from duckdb_functions() where stability <> 'CONSISTENT'"
    with duckdb.connect() as connection:
        rows = connection.execute(found).fetchall()
    return frozenset({str(row[0]) for row in rows} | {"sample"}) | _CLOCKS
