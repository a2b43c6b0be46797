"""Intervals, paired tests and estimates, so that no number leaves without its uncertainty.

Leaf stage. Arrays in, `Interval` or p-values out.

intervals   a share, a test of pairs, sessions drawn again
agreement   a judge against labels: its card, and the difference of two judges
estimates   a rate, from a few labels and a judge's scores of everything
sequences   intervals that may be looked at every day
"""

from flywheel.statistics.agreement import (
    JudgeCard,
    auc_difference,
    ece,
    f1,
    judge_card,
    mcc,
    mcc_difference,
    mcc_difference_draws,
    pr_auc,
    roc_auc,
)
from flywheel.statistics.estimates import (
    Estimated,
    corrected_rate,
    mean_of_sessions,
    rate_difference,
    rogan_gladen,
    share_of_sessions,
)
from flywheel.statistics.intervals import (
    Z95,
    Floats,
    bootstrap_p,
    clopper_pearson,
    cluster_bootstrap,
    holm,
    mcnemar_exact,
    wilson,
)
from flywheel.statistics.sequences import (
    clustered_mean,
    confidence_sequence,
    fixed_information,
    information_to_decide,
    margins,
    mismatch_p_value,
)

__all__ = [
    "Z95",
    "Estimated",
    "Floats",
    "JudgeCard",
    "auc_difference",
    "bootstrap_p",
    "clopper_pearson",
    "cluster_bootstrap",
    "clustered_mean",
    "confidence_sequence",
    "corrected_rate",
    "ece",
    "f1",
    "fixed_information",
    "holm",
    "information_to_decide",
    "judge_card",
    "margins",
    "mcc",
    "mcc_difference",
    "mcc_difference_draws",
    "mcnemar_exact",
    "mean_of_sessions",
    "mismatch_p_value",
    "pr_auc",
    "rate_difference",
    "roc_auc",
    "rogan_gladen",
    "share_of_sessions",
    "wilson",
]
