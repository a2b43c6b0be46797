"""What each metric says of each labelled trace, as a matrix.

Labels of people and current scores of metrics in, `Flags` out; the one idea is that a metric which
says nothing of a trace does not speak against it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flywheel.metrics import Metric, read_metrics
from flywheel.metrics.rubric_files import read_rubrics
from flywheel.quality.judge import LARGEST_WEIGHT
from flywheel.queue.overdue import AGAINST
from flywheel.records import Interval, Split
from flywheel.statistics import Floats, corrected_rate
from flywheel.store import Project, Stores

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Flags:
    """Whether metrics speak against labelled traces; a row a trace, a column a metric.

    `matrix` is of shape (n_traces, n_metrics); the other arrays of shape (n_traces,). `weight` is
    1 / chance that the trace was drawn for people, at most 20.
    """

    metrics: tuple[str, ...]
    traces: tuple[tuple[str, str], ...]
    splits: NDArray[np.str_]
    sessions: NDArray[np.int64]
    is_bad: Bools
    weight: Floats
    matrix: Bools

    def of(self, *splits: Split) -> "Flags":
        """The rows of these splits."""
        kept = np.flatnonzero(np.isin(self.splits, splits))
        arrays = ("splits", "sessions", "is_bad", "weight", "matrix")
        return replace(
            self,
            traces=tuple(self.traces[i] for i in kept),
            **{name: getattr(self, name)[kept] for name in arrays},
        )


@dataclass(frozen=True, slots=True)
class Reach:
    """What a set of metrics finds of the errors, and how often it is wrong about the rest.

    Intervals are of 95 %, by session; None where there are no labels of the kind.
    """

    n_errors: int
    n_fine: int
    coverage: Interval | None
    false_failures: Interval | None


def read_flags(stores: Stores, metrics: Iterable[Metric], app: str | None = None) -> Flags:
    """The flags of every metric that speaks for or against traces and has said anything."""
    directions = directions_of(metrics)
    with stores.warehouse.read() as connection, connection.given(directions=directions):
        rows = connection.table("evolution/metric_flags", largest_weight=LARGEST_WEIGHT, app=app)
    return _arranged(rows)


def directions_of(metrics: Iterable[Metric]) -> pa.Table:
    """What each metric says where it speaks against a trace; neutral ones are left out."""
    directed = [metric for metric in metrics if metric.direction != "neutral"]
    return pa.table(
        {
            "metric": pa.array([m.name for m in directed], pa.string()),
            "label": pa.array([AGAINST[m.direction] for m in directed], pa.string()),
        }
    )


def metrics_of(project: Project) -> list[Metric]:
    """Every metric of a project, by code and by rubric."""
    metrics = read_metrics(project.metrics_dir)[0]
    rubrics = read_rubrics(project.metrics_dir, {metric.name for metric in metrics})[0]
    return [*metrics, *rubrics]


def _arranged(rows: pa.Table) -> Flags:
    names = tuple(sorted(set(rows["metric"].to_pylist())))
    columns = {name: place for place, name in enumerate(names)}
    keys = list(zip(rows["trace_id"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    matrix = np.zeros((len(place), len(names)), bool)
    first = np.zeros(len(place), np.int64)
    for i, row in enumerate(rows.select(["metric", "is_against"]).to_pylist()):
        matrix[place[keys[i]], columns[row["metric"]]] |= row["is_against"]
        first[place[keys[i]]] = i
    of_trace = rows.take(pa.array(first, pa.int64()))
    sessions = np.array(of_trace["session"].to_pylist(), str)
    return Flags(
        names,
        tuple(place),
        np.array(of_trace["split"].to_pylist(), str),
        np.unique(sessions, return_inverse=True)[1].astype(np.int64),
        np.array(of_trace["perceived_error"].to_pylist(), bool),
        np.array(of_trace["weight"].to_pylist(), float),
        matrix,
    )


def reach_of(flags: Flags, columns: Iterable[int]) -> Reach:
    """What these columns together find and flag falsely."""
    is_flagged = np.asarray(flags.matrix[:, list(columns)].any(axis=1))
    bad, good = flags.is_bad, np.asarray(~flags.is_bad)
    return Reach(
        int(bad.sum()),
        int(good.sum()),
        _share(flags, is_flagged, bad),
        _share(flags, is_flagged, good),
    )


def _share(flags: Flags, is_flagged: Bools, of: Bools) -> Interval | None:
    """The weighted share of the rows `of` that are flagged; variances by session."""
    if not of.any():
        return None
    none = np.zeros(int(of.sum()))
    said = is_flagged[of].astype(float)
    found = corrected_rate(said, none, flags.weight[of], flags.sessions[of]).interval
    # Sums of weights leave a last digit beyond a whole share.
    return Interval(*(round(x, 12) for x in (found.estimate, found.low, found.high)))
