"""What is known of the rate and of the judge, with the estimates stored.

Judged traces and labels in, rows of `estimates` out.
"""

from dataclasses import dataclass

import pyarrow as pa

from flywheel.errors import NotEnough
from flywheel.quality.judge import CalibrationReport, judge_agreement, measure_calibration
from flywheel.quality.rates import RateEstimate, estimate_rates
from flywheel.statistics import JudgeCard
from flywheel.store import Stores
from flywheel.store.snapshots import write_partition

METRIC = "perceived_error"
_STORED = (
    *("app", "judge_version", "method", "n_traces", "n_labels", "estimate", "low", "high"),
    *("first_day", "last_day"),
)


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Everything that is known of the rate and of the judge; `written` rows of it are stored."""

    estimates: list[RateEstimate]
    agreement: JudgeCard | None
    calibration: CalibrationReport
    written: int


def write_quality_report(stores: Stores) -> QualityReport:
    """Estimate over all days, store what can be estimated, and measure the judge beside it."""
    estimates = estimate_rates(stores)
    known = [e for e in estimates if e.estimate is not None]
    if known:
        key = {"metric": METRIC, "first_day": known[0].first_day, "last_day": known[0].last_day}
        rows = [{name: getattr(e, name) for name in _STORED} | {"metric": METRIC} for e in known]
        write_partition(stores, {"estimates": (key, pa.Table.from_pylist(rows))})
    try:
        agreement = judge_agreement(stores)
    except NotEnough:
        agreement = None
    return QualityReport(estimates, agreement, measure_calibration(stores), len(known))
