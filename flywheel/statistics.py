"""Intervals, paired tests and estimates, so that no number leaves without its uncertainty.

Leaf module. Arrays in, `Interval` or p-values out. Whatever groups by conversation takes `groups`,
one session per row, and resamples sessions, never rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from flywheel.records import Interval

Floats = NDArray[np.float64]
Z95 = 1.959963984540054


def wilson(successes: float, n: float) -> Interval:
    """Wilson's score interval of a share (Wilson 1927); the whole of [0, 1] where n is 0."""
    if n <= 0:
        return Interval(float("nan"), 0.0, 1.0)
    p = successes / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Interval(p, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def clopper_pearson(successes: int, n: int, alpha: float = 0.05) -> Interval:
    """The exact interval of a share (Clopper and Pearson 1934), each side at alpha / 2."""
    low = 0.0 if successes == 0 else float(stats.beta.ppf(alpha / 2, successes, n - successes + 1))
    high = (
        1.0
        if successes == n
        else float(stats.beta.ppf(1 - alpha / 2, successes + 1, n - successes))
    )
    return Interval(successes / n if n else float("nan"), low, high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact McNemar p-value from the discordant pairs (McNemar 1947)."""
    n = only_first + only_second
    return 1.0 if n == 0 else float(stats.binomtest(min(only_first, only_second), n).pvalue)


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of `statistic(row_indices)`, whole sessions drawn with replacement.

    Draws in which the statistic is undefined (NaN) are left out; the estimate is that of all rows.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(codes == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        picked = rng.integers(0, len(members), len(members))
        value = statistic(np.concatenate([members[i] for i in picked]))
        if not np.isnan(value):
            values.append(value)
    estimate = statistic(np.arange(len(codes)))
    if not values:
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(estimate, float(low), float(high))


def mcc(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], weight: Floats | None = None
) -> float:
    """Matthews correlation in [-1, 1]; 0 where a class is missing from either side."""
    w = np.ones(len(truth)) if weight is None else weight
    tp, tn = w[truth & predicted].sum(), w[~truth & ~predicted].sum()
    fp, fn = w[~truth & predicted].sum(), w[truth & ~predicted].sum()
    bottom = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return float((tp * tn - fp * fn) / np.sqrt(bottom)) if bottom > 0 else 0.0


def ece(truth: NDArray[np.bool_], probability: Floats, bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019)."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(p) * abs(truth[p].mean() - probability[p].mean()) for p in parts]
    return float(sum(gaps) / len(truth))


def _roc_auc(truth: NDArray[np.bool_], probability: Floats) -> float:
    return (
        float(sk.roc_auc_score(truth, probability))
        if 0 < truth.sum() < len(truth)
        else float("nan")
    )


def _pr_auc(truth: NDArray[np.bool_], probability: Floats) -> float:
    return float(sk.average_precision_score(truth, probability)) if truth.any() else float("nan")


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """How well a judge's verdicts fit labels; every rate with its 95 % interval."""

    n: int
    positives: int
    rates: dict[str, Interval]

    def as_dict(self) -> dict[str, float | int | list[float]]:
        """Flat: `<name>` and `<name>_ci` per rate, beside `n` and `positives`."""
        flat: dict[str, float | int | list[float]] = {"n": self.n, "positives": self.positives}
        for name, interval in self.rates.items():
            flat[name] = interval.estimate
            flat[f"{name}_ci"] = [interval.low, interval.high]
        return flat


def judge_card(
    truth: Sequence[bool],
    probability: Sequence[float],
    groups: Sequence[str],
    draws: int = 1000,
) -> JudgeCard:
    """Accuracy, TPR, TNR, F1, MCC, ROC AUC, PR AUC, ECE and Brier of a judge at threshold .5.

    Wilson intervals for the plain shares where no session repeats, else, and for all the others, a
    percentile bootstrap over sessions.
    """
    y, p = np.asarray(truth, bool), np.asarray(probability, float)
    hat = p >= 0.5

    def over(rows: NDArray[np.bool_], right: NDArray[np.bool_]) -> Interval:
        if len(set(groups)) == len(groups):
            return wilson(float(right[rows].sum()), float(rows.sum()))
        return cluster_bootstrap(
            lambda i: float(right[i][rows[i]].mean()) if rows[i].any() else float("nan"),
            groups,
            draws,
        )

    def boot(f: Callable[[NDArray[np.bool_], Floats], float]) -> Interval:
        return cluster_bootstrap(lambda i: f(y[i], p[i]), groups, draws)

    everything = np.ones(len(y), bool)
    rates = {
        "accuracy": over(everything, y == hat),
        "tpr": over(y, hat),
        "tnr": over(~y, ~hat),
        "f1": boot(lambda t, q: float(sk.f1_score(t, q >= 0.5, zero_division=0.0))),
        "mcc": boot(lambda t, q: mcc(t, q >= 0.5)),
        "roc_auc": boot(_roc_auc),
        "pr_auc": boot(_pr_auc),
        "ece": boot(ece),
        "brier": boot(lambda t, q: float(np.mean((t - q) ** 2))),
    }
    return JudgeCard(len(y), int(y.sum()), rates)


def auc_difference(
    truth: Sequence[bool],
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str],
    draws: int = 2000,
) -> Interval:
    """ROC AUC of `second` minus that of `first` on the same rows, sessions resampled in pairs."""
    y, a, b = np.asarray(truth, bool), np.asarray(first, float), np.asarray(second, float)
    return cluster_bootstrap(lambda i: _roc_auc(y[i], b[i]) - _roc_auc(y[i], a[i]), groups, draws)


def mcc_difference(
    truth: Sequence[bool],
    first: Sequence[bool],
    second: Sequence[bool],
    groups: Sequence[str],
    weight: Sequence[float],
    draws: int = 2000,
) -> Interval:
    """MCC of `second` minus that of `first`, rows weighted by 1 / draw probability, by session."""
    y, a, b = (np.asarray(x, bool) for x in (truth, first, second))
    w = np.asarray(weight, float)
    return cluster_bootstrap(lambda i: mcc(y[i], b[i], w[i]) - mcc(y[i], a[i], w[i]), groups, draws)


def ppi_mean(
    labelled_truth: Sequence[float],
    labelled_judge: Sequence[float],
    all_judge: Sequence[float],
) -> Interval:
    """PPI++ estimate of a mean from a few uniform labels and a judge's score of every trace.

    theta = lambda mean(all_judge) + mean(truth - lambda judge), lambda by power tuning, clipped
    to [0, 1] and cross-fitted over two halves (Angelopoulos et al. 2301.09633, 2311.01453).
    """
    y, f = np.asarray(labelled_truth, float), np.asarray(labelled_judge, float)
    everyone = np.asarray(all_judge, float)
    n, total = len(y), len(everyone)
    halves = np.arange(n) % 2
    rectified, weights = np.empty(n), []
    for half in (0, 1):
        inside, outside = halves == half, halves != half
        weight = _ppi_weight(y[outside], f[outside], n / total)
        rectified[inside] = y[inside] - weight * f[inside]
        weights.append(weight * inside.mean())
    weight = float(sum(weights))
    theta = weight * everyone.mean() + rectified.mean()
    variance = weight**2 * everyone.var(ddof=1) / total + rectified.var(ddof=1) / n
    half_width = Z95 * float(np.sqrt(variance))
    return Interval(float(theta), float(theta - half_width), float(theta + half_width))


def _ppi_weight(y: Floats, f: Floats, ratio: float) -> float:
    variance = f.var(ddof=1) if len(f) > 1 else 0.0
    if variance == 0.0:
        return 0.0
    return float(np.clip(np.cov(y, f)[0, 1] / ((1 + ratio) * variance), 0.0, 1.0))
