"""Rates from labels and scores as arrays, for tests and benchmarks of what stands behind them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flywheel.records import Interval
from flywheel.statistics import Floats, corrected_rate


def ppi_mean(
    labelled_truth: Sequence[float], labelled_judge: Sequence[float], judge_only: Sequence[float]
) -> Interval:
    """PPI++ of uniform labels and of a judge's scores of them and of others, a session each."""
    truth = np.concatenate([labelled_truth, np.full(len(judge_only), np.nan)])
    judge = np.concatenate([labelled_judge, judge_only])
    return corrected_rate(truth, judge, np.ones(len(truth)), np.arange(len(truth))).interval


def weighted_mean_estimate(
    truth: Floats, judge: Floats, probability: Floats, groups: NDArray[np.int64]
) -> Interval:
    """The estimate from labels of these chances, NaN in `truth` where nobody labelled."""
    known = ~np.isnan(truth)
    weight = np.zeros(len(truth))
    weight[known] = 1 / probability[known]
    return corrected_rate(truth, judge, weight, groups).interval
