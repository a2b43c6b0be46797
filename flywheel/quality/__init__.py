"""Quality: how often users see an error, and how far the judge that counts them can be believed.

Verdicts of all traces and people's labels of a few in, estimates with intervals out; the one idea
is that a judge's own rate is biased, that labels drawn by a known chance correct it, and that where
those are too few, or too many were left undecided, there is no estimate but the reason why.

audit       the traces that an estimate speaks of, and the labels among them by their chance
estimators  the rate of some traces by every method that their labels allow
rates       the rate of each application, day, release or metric, the one to go by first
comparing   two releases, or two judges
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

from flywheel.quality.comparing import (
    JudgeComparison,
    ReleaseComparison,
    compare_judges,
    compare_releases,
)
from flywheel.quality.judge import (
    CalibrationBin,
    CalibrationReport,
    judge_agreement,
    measure_calibration,
)
from flywheel.quality.rates import By, RateEstimate, estimate_rates
from flywheel.quality.report import QualityReport, write_quality_report

__all__ = [
    "By",
    "CalibrationBin",
    "CalibrationReport",
    "JudgeComparison",
    "QualityReport",
    "RateEstimate",
    "ReleaseComparison",
    "compare_judges",
    "compare_releases",
    "estimate_rates",
    "judge_agreement",
    "measure_calibration",
    "write_quality_report",
]
