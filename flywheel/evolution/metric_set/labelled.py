"""Labelled traces as metrics are measured on them, and what metrics say of them.

The warehouse's labels, scores and texts in, arrays out. The one idea is that what a model is shown
and what a proposal is measured on are different splits: sessions of the holdout measure, the others
teach.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flywheel.judge.people import Bools, People, people_of
from flywheel.metrics import Metric
from flywheel.metrics.scoring import DayFiles, opened_files
from flywheel.quality.judge import LARGEST_WEIGHT
from flywheel.queue.overdue import AGAINST
from flywheel.statistics import Floats
from flywheel.store import Stores


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of people of n traces, by trace id; `people` has what they said, as arrays of (n,)."""

    people: People
    trace_ids: tuple[str, ...]
    hashes: tuple[str, ...]
    apps: tuple[str, ...]
    splits: tuple[str, ...]
    codes: tuple[str, ...]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.trace_ids)

    @property
    def n_errors(self) -> int:
        """How many of them are of an error."""
        return int(self.people.truth.sum())

    @property
    def version(self) -> str:
        """The same for the same labels of the same versions of traces."""
        said = zip(self.trace_ids, self.hashes, self.people.truth.tolist(), strict=True)
        return hashlib.sha256(repr(list(said)).encode()).hexdigest()[:12]

    def take(self, rows: Bools) -> "Labels":
        """Those of `rows`."""
        places = np.flatnonzero(rows).tolist()
        columns = (self.trace_ids, self.hashes, self.apps, self.splits, self.codes, self.reasons)
        taken = [tuple(column[i] for i in places) for column in columns]
        return Labels(self.people.take(rows), *taken)

    def of_holdout(self, is_held: bool) -> "Labels":
        """Those that measure, or the others, which teach."""
        return self.take(np.array([(split == "holdout") == is_held for split in self.splits], bool))


@dataclass(frozen=True, slots=True)
class Said:
    """What a metric says of each labelled trace, arrays of (n,).

    `is_against` is false where it says nothing; `value` is NaN there.
    """

    is_against: Bools
    is_answered: Bools
    value: Floats

    def take(self, rows: Bools) -> "Said":
        """What it says of `rows`."""
        return Said(self.is_against[rows], self.is_answered[rows], self.value[rows])


def read_labels(stores: Stores) -> Labels:
    """Every label of people of a current trace that is not sensitive."""
    with stores.warehouse.read() as connection:
        rows = connection.table("evolution/people_labels", largest_weight=LARGEST_WEIGHT)
    names = ("trace_id", "content_hash", "app", "split", "reason_code", "reason")
    people = people_of(
        rows["perceived_error"].to_pylist(), rows["session"].to_pylist(), rows["weight"].to_pylist()
    )
    return Labels(people, *(tuple(map(str, rows[name].to_pylist())) for name in names))


def read_said(stores: Stores, labels: Labels, metrics: Sequence[Metric]) -> dict[str, Said]:
    """By name, what each metric that speaks for or against traces has said of them in its scores.

    Of the version that its file has now; a metric that has scored none of them is left out.
    """
    with stores.warehouse.read() as connection:
        rows = connection.table("evolution/verdicts_on_labels")
    by_metric: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    for row in rows.to_pylist():
        by_metric.setdefault((row["metric"], row["metric_version"]), []).append(row)
    place = {trace_id: i for i, trace_id in enumerate(labels.trace_ids)}
    found: dict[str, Said] = {}
    for metric in metrics:
        of_metric = [
            row
            for row in by_metric.get((metric.name, metric.version), [])
            if row["trace_id"] in place
        ]
        if of_metric and metric.direction != "neutral":
            found[metric.name] = _said(of_metric, f"has_{AGAINST[metric.direction]}", place)
    return found


def said_of(scores: pa.Table, metric: Metric, labels: Labels) -> Said:
    """The same from scores that a metric has just given."""
    against = AGAINST[metric.direction]
    rows = [
        {"trace_id": trace_id, "value": value, "is_against": (label or "").lower() == against}
        for trace_id, label, value in zip(
            *(scores[name].to_pylist() for name in ("trace_id", "label", "value")), strict=True
        )
    ]
    return _said(rows, "is_against", {name: i for i, name in enumerate(labels.trace_ids)})


def _said(rows: Sequence[Mapping[str, object]], against: str, place: Mapping[str, int]) -> Said:
    is_against, is_answered = np.zeros(len(place), bool), np.zeros(len(place), bool)
    value = np.full(len(place), np.nan)
    for row in rows:
        at = place[str(row["trace_id"])]
        is_against[at] |= bool(row[against])
        is_answered[at] = True
        if row["value"] is not None:
            value[at] = float(str(row["value"]))
    return Said(is_against, is_answered, value)


@contextmanager
def files_of(stores: Stores, labels: Labels, order: NDArray[np.int64]) -> Iterator[DayFiles]:
    """The traces of these labels as a metric sees them, in this order, until the block ends."""
    wanted = pa.table(
        {
            "trace_id": pa.array([labels.trace_ids[i] for i in order], pa.string()),
            "content_hash": pa.array([labels.hashes[i] for i in order], pa.string()),
            "place": pa.array(range(len(order)), pa.int64()),
        }
    )
    with tempfile.TemporaryDirectory(prefix="flywheel-metrics-") as folder:
        traces, messages = Path(folder) / "traces.parquet", Path(folder) / "messages.parquet"
        with stores.warehouse.read() as connection, connection.given(wanted=wanted):
            n_traces = connection.count("evolution/labelled_traces", path=str(traces))
            n_messages = connection.count("evolution/labelled_messages", path=str(messages))
        with opened_files(traces, messages, n_traces, n_messages) as files:
            yield files
