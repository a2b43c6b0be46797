"""What is known of the rate and of the judge, with the estimates stored and the page published.

Judged traces and labels in, rows of `estimates` and the artifact of the quality page out.
"""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import NotEnough
from flywheel.quality.audit import judged_traces
from flywheel.quality.judge import CalibrationReport, card_of, measure_calibration
from flywheel.quality.publishing import publish_quality
from flywheel.quality.rates import METRIC, RateEstimate, rates_of
from flywheel.statistics import JudgeCard
from flywheel.store import Stores
from flywheel.store.ledger import now
from flywheel.store.snapshots import write_partition

_STORED = (
    *("app", "judge_version", "method", "n_traces", "n_labels", "estimate", "low", "high"),
    "release",
)


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Everything that is known of the rate and of the judge; `written` rows of it are stored."""

    estimates: list[RateEstimate]
    agreement: JudgeCard | None
    calibration: CalibrationReport
    written: int


def write_quality_report(stores: Stores, at: datetime | None = None) -> QualityReport:
    """Estimate over all days, store what can be estimated, and measure the judge beside it.

    What the quality page shows is published with it, as it is at `at`: now, where nothing is said.
    """
    rows = judged_traces(stores)
    estimates = rates_of(rows)
    by_release = rates_of(rows, by="release") if len(pc.unique(rows["release"])) > 1 else []
    known = [e for e in (*estimates, *by_release) if e.estimate is not None]
    if known:
        key = {"metric": METRIC, "first_day": known[0].first_day, "last_day": known[0].last_day}
        stored = [{name: getattr(e, name) for name in _STORED} | key for e in known]
        write_partition(stores, {"estimates": (key, pa.Table.from_pylist(stored))})
    try:
        agreement = card_of(rows)
    except NotEnough:
        agreement = None
    publish_quality(stores, rows, estimates, agreement, at or now())
    return QualityReport(estimates, agreement, measure_calibration(stores), len(known))
