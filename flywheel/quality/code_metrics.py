"""How far metrics by code agree with people: which of them find errors, and which cry wolf.

Labels and scores by code in, a line a metric with intervals out. A metric of yes or no is right
where it speaks against a trace in which people saw an error.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flywheel.metrics import Metric
from flywheel.quality.audit import weighted_wilson
from flywheel.quality.judge import LARGEST_WEIGHT
from flywheel.queue.overdue import AGAINST
from flywheel.records import Interval
from flywheel.statistics import Floats
from flywheel.store import Stores

# Fewer labels of a kind say nothing about a share of them.
MIN_LABELS = 5


@dataclass(frozen=True, slots=True)
class MetricAgreement:
    """How a metric fits the labels of people (Shankar 2024; EvalGen, 2404.12272).

    `coverage` is the share of the `n_errors` traces with an error that the metric speaks against,
    `false_failure_rate` that of the `n_fine` others, `alignment` the harmonic mean of coverage and
    1 - false failure rate. Labels count by 1 / draw probability, at most 20. Intervals are Wilson's
    at the effective number of labels; that of the alignment joins both at their ends, and so holds
    with at least 90 %. None where there are fewer than 5 labels of a kind.
    """

    metric: str
    review_due: date
    is_overdue: bool
    n_labels: int
    n_errors: int
    n_fine: int
    coverage: Interval | None
    false_failure_rate: Interval | None
    alignment: Interval | None


def metric_agreement(stores: Stores, metrics: Iterable[Metric], at: date) -> list[MetricAgreement]:
    """Every metric that speaks for or against traces, by name, also one without a label yet."""
    directed = [metric for metric in metrics if metric.direction != "neutral"]
    directions = pa.table(
        {
            "metric": pa.array([m.name for m in directed], pa.string()),
            "label": pa.array([AGAINST[m.direction] for m in directed], pa.string()),
        }
    )
    with stores.warehouse.read() as connection, connection.given(directions=directions):
        rows = connection.table("quality/metric_verdicts", largest_weight=LARGEST_WEIGHT)
    return [
        _agreement(metric, rows.filter(pc.equal(rows["metric"], metric.name)), at)
        for metric in sorted(directed, key=lambda metric: metric.name)
    ]


def _agreement(metric: Metric, rows: pa.Table, at: date) -> MetricAgreement:
    is_error = np.array(rows["perceived_error"].to_pylist(), bool)
    is_against = np.array(rows["is_against"].to_pylist(), bool)
    weight = np.array(rows["weight"].to_pylist(), float)
    coverage = _share(is_against, weight, is_error)
    false_failures = _share(is_against, weight, ~is_error)
    alignment = None
    if coverage is not None and false_failures is not None:
        alignment = Interval(
            _harmonic(coverage.estimate, 1 - false_failures.estimate),
            _harmonic(coverage.low, 1 - false_failures.high),
            _harmonic(coverage.high, 1 - false_failures.low),
        )
    return MetricAgreement(
        metric.name,
        metric.review_due,
        metric.review_due < at,
        len(is_error),
        int(is_error.sum()),
        int((~is_error).sum()),
        coverage,
        false_failures,
        alignment,
    )


def _share(is_against: NDArray[np.bool_], weight: Floats, of: NDArray[np.bool_]) -> Interval | None:
    if of.sum() < MIN_LABELS:
        return None
    return weighted_wilson(is_against[of].astype(float), weight[of])


def _harmonic(*parts: float) -> float:
    shares: Sequence[float] = [min(1.0, max(0.0, part)) for part in parts]
    return 0.0 if min(shares) <= 0 else len(shares) / sum(1 / share for share in shares)
