"""Quality: how often users see an error, and how far the judge that counts them can be believed.

Verdicts of all traces and people's labels of a few in, estimates with intervals out; the one idea
is that a judge's own rate is biased, that labels drawn by a known chance correct it, and that where
those are too few, or too many were left undecided, there is no estimate but the reason why.

audit       the traces that an estimate speaks of, and the audit labels among them
rates       the rate of each app by three methods, and of each day by the best of them
judge       how well the judge agrees with people, and how far its probabilities are frequencies
resampling  sessions drawn again, for an interval
agreement   how far people agree with each other, beyond chance
answers     what they said, from the ledger
throughput  how much they get done, and what is left
trends      all of it by day and by week
charts      trends as SVG; `svg` makes it fit for a page
figures     a chart with what it says in words; `readings` says it
publishing  what the quality page shows, as an artifact
report      all of it, stored
"""

from flywheel.quality.judge import (
    CalibrationBin,
    CalibrationReport,
    judge_agreement,
    measure_calibration,
)
from flywheel.quality.rates import RateEstimate, estimate_rates
from flywheel.quality.report import QualityReport, write_quality_report

__all__ = [
    "CalibrationBin",
    "CalibrationReport",
    "QualityReport",
    "RateEstimate",
    "estimate_rates",
    "judge_agreement",
    "measure_calibration",
    "write_quality_report",
]
