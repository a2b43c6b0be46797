"""A check over one day: its answers in the shape that a SELECT's have.

The day's files and the warehouse in, an Arrow table out. The check is our code and the text is not:
nothing here interprets it, and what is read of a text is bounded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa

from flywheel.errors import BadMetric, NeverWill
from flywheel.metrics.checks import Answer, DayView
from flywheel.metrics.metric import CheckMetric
from flywheel.store import Stores
from flywheel.store.queries import query
from flywheel.store.warehouse import Connection

ANSWERS = pa.schema(
    {
        "trace_id": pa.string(),
        "value": pa.float64(),
        "label": pa.string(),
        "reason": pa.string(),
        "evidence_turn": pa.int32(),
        "is_no_number": pa.bool_(),
    }
)
_BATCH = 10_000
_REASON_CHARS = 500


def check_answers(
    stores: Stores, metric: CheckMetric, day: date, traces: Path, messages: Path
) -> pa.Table:
    """What the check says of the day; raises BadMetric where it cannot be run."""
    with _view(stores, day, traces, messages) as view:
        try:
            answers = metric.check.answers(view, metric.node, metric.level)
            return pa.Table.from_batches(list(_batches(answers)), ANSWERS)
        except NeverWill as why:
            raise BadMetric(metric.file, str(why)) from why


@contextmanager
def _view(stores: Stores, day: date, traces: Path, messages: Path) -> Iterator[DayView]:
    with duckdb.connect(config={"threads": str(stores.warehouse.threads)}) as raw:
        raw.execute("set TimeZone = 'UTC'")
        raw.execute("set enable_progress_bar = false")
        raw.read_parquet(str(traces)).create_view("traces")
        raw.read_parquet(str(messages)).create_view("messages")
        raw.execute(f"create view nodes as {query('metrics_runs/nodes')}")
        yield DayView(day, Connection(raw), _earlier(stores), stores.warehouse.threads)


def _earlier(stores: Stores) -> Callable[..., pa.Table]:
    def run(name: str, **parameters: object) -> pa.Table:
        with stores.warehouse.read() as connection:
            return connection.table(name, **parameters)

    return run


def _batches(answers: Iterator[Answer]) -> Iterator[pa.RecordBatch]:
    while batch := list(islice(answers, _BATCH)):
        rows = [
            {
                "trace_id": answer.trace_id,
                "value": answer.finding.value,
                "label": None
                if answer.finding.label is None
                else str(answer.finding.label).lower(),
                "reason": answer.finding.reason[:_REASON_CHARS],
                "evidence_turn": answer.evidence_turn,
                "is_no_number": False,
            }
            for answer in batch
        ]
        yield pa.RecordBatch.from_pylist(rows, ANSWERS)
