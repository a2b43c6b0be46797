"""Intervals, paired tests and estimates, so that no number leaves without its uncertainty.

Leaf module. Arrays in, `Interval` or p-values out. Whatever groups by conversation takes `groups`,
one session per row, and resamples sessions, never rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
    # Two seconds to import, which the web server has no use for.
    from scipy import stats

    low = 0.0 if successes == 0 else float(stats.beta.ppf(alpha / 2, successes, n - successes + 1))
    high = (
        1.0
        if successes == n
        else float(stats.beta.ppf(1 - alpha / 2, successes + 1, n - successes))
    )
    return Interval(successes / n if n else float("nan"), low, high)


def mcnemar_exact(
    only_first: int, only_second: int, alternative: Literal["two-sided", "greater"] = "two-sided"
) -> float:
    """Exact McNemar p-value from the discordant pairs (McNemar 1947).

    `greater` is one-sided: that the first is right more often than the second.
    """
    from scipy import stats

    n = only_first + only_second
    return 1.0 if n == 0 else float(stats.binomtest(only_first, n, alternative=alternative).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of `statistic(row_indices)`, whole sessions drawn with replacement.

    Draws in which the statistic is undefined (NaN) are left out; the estimate is that of all rows.
    """
    if not len(groups):
        return Interval(float("nan"), float("nan"), float("nan"))
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    by_session, sizes = np.argsort(codes, kind="stable"), np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        picked = rng.integers(0, len(sizes), len(sizes))
        n = sizes[picked]
        offsets = np.repeat(starts[picked] - (np.cumsum(n) - n), n)
        values.append(statistic(by_session[offsets + np.arange(n.sum())]))
    return _percentile_interval(statistic(np.arange(len(codes))), np.asarray(values))


def bootstrap_p(values: Floats, alternative: Literal["two-sided", "less"] = "two-sided") -> float:
    """p-value of "no difference" from bootstrap draws of a difference; NaN draws are left out.

    Below alpha exactly where the percentile interval at 1 - alpha leaves out 0, and never 0, since
    the observed draw counts as one (Davison and Hinkley 1997, 4.2). `less`: that it is below 0.
    """
    kept = values[~np.isnan(values)]
    not_above = (1 + int((kept <= 0).sum())) / (len(kept) + 1)
    not_below = (1 + int((kept >= 0).sum())) / (len(kept) + 1)
    return min(1.0, 2 * min(not_above, not_below)) if alternative == "two-sided" else not_below


def _percentile_interval(estimate: float, values: Floats) -> Interval:
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.percentile(kept, [2.5, 97.5])
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


def ece(
    truth: NDArray[np.bool_], probability: Floats, bins: int = 10, weight: Floats | None = None
) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019)."""
    w = np.ones(len(truth)) if weight is None else weight
    order = np.argsort(probability, kind="stable")
    middle = np.cumsum(w[order]) - w[order] / 2
    places = np.floor(middle / w.sum() * bins).astype(np.int64)
    gaps = _mass(places, (w * (truth - probability))[order], bins)
    return float(np.abs(gaps).sum() / w.sum())


def f1(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], weight: Floats | None = None
) -> float:
    """F1 of the positive class in [0, 1]; 0 where neither side has a positive."""
    w = np.ones(len(truth)) if weight is None else weight
    bottom = w[truth].sum() + w[predicted].sum()
    return float(2 * w[truth & predicted].sum() / bottom) if bottom > 0 else 0.0


def roc_auc(truth: NDArray[np.bool_], probability: Floats, weight: Floats | None = None) -> float:
    """Share of positive-negative pairs in the right order, a tie half; NaN without both."""
    positive, negative = _mass_by_level(truth, probability, weight)
    if not positive.sum() or not negative.sum():
        return float("nan")
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / (positive.sum() * negative.sum()))


def pr_auc(truth: NDArray[np.bool_], probability: Floats, weight: Floats | None = None) -> float:
    """Average precision: precision at each threshold, weighted by the recall it adds."""
    positive, negative = (m[::-1] for m in _mass_by_level(truth, probability, weight))
    if not positive.sum():
        return float("nan")
    found = np.cumsum(positive)
    return float(positive @ (found / (found + np.cumsum(negative))) / positive.sum())


def _mass_by_level(
    truth: NDArray[np.bool_], probability: Floats, weight: Floats | None
) -> tuple[Floats, Floats]:
    """Weight of positives and of negatives at each distinct probability, lowest first."""
    w = np.ones(len(truth)) if weight is None else weight
    levels = np.unique(probability, return_inverse=True)[1]
    n = int(levels.max()) + 1
    return _mass(levels, w * truth, n), _mass(levels, w * ~truth, n)


def _mass(places: NDArray[np.int64], weight: Floats, n: int) -> Floats:
    return np.asarray(np.bincount(places, weight, n), np.float64)


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
    weight: Sequence[float] | None = None,
) -> JudgeCard:
    """Accuracy, TPR, TNR, F1, MCC, ROC AUC, PR AUC, ECE and Brier of a judge at threshold .5.

    Wilson intervals for the plain shares where no session repeats and no weight is given, else, and
    for all the others, a percentile bootstrap over sessions. `weight` is 1 / draw probability.
    """
    y, p = np.asarray(truth, bool), np.asarray(probability, float)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    hat = p >= 0.5

    def over(rows: NDArray[np.bool_], right: NDArray[np.bool_]) -> Interval:
        if weight is None and len(set(groups)) == len(groups):
            return wilson(float(right[rows].sum()), float(rows.sum()))
        inside, hits = w * rows, w * (rows & right)
        return cluster_bootstrap(
            lambda i: float(hits[i].sum() / inside[i].sum()) if rows[i].any() else float("nan"),
            groups,
            draws,
        )

    def boot(f: Callable[[NDArray[np.bool_], Floats, Floats], float]) -> Interval:
        return cluster_bootstrap(lambda i: f(y[i], p[i], w[i]), groups, draws)

    everything = np.ones(len(y), bool)
    rates = {
        "accuracy": over(everything, y == hat),
        "tpr": over(y, hat),
        "tnr": over(~y, ~hat),
        "f1": boot(lambda t, q, v: f1(t, q >= 0.5, v)),
        "mcc": boot(lambda t, q, v: mcc(t, q >= 0.5, v)),
        "roc_auc": boot(roc_auc),
        "pr_auc": boot(pr_auc),
        "ece": boot(lambda t, q, v: ece(t, q, weight=v)),
        "brier": boot(lambda t, q, v: float(np.average((t - q) ** 2, weights=v))),
    }
    return JudgeCard(len(y), int(y.sum()), rates)


def auc_difference(
    truth: Sequence[bool],
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str],
    draws: int = 2000,
    weight: Sequence[float] | None = None,
) -> Interval:
    """ROC AUC of `second` minus that of `first` on the same rows, sessions resampled in pairs."""
    y, a, b = np.asarray(truth, bool), np.asarray(first, float), np.asarray(second, float)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    return cluster_bootstrap(
        lambda i: roc_auc(y[i], b[i], w[i]) - roc_auc(y[i], a[i], w[i]), groups, draws
    )


def mcc_difference(
    truth: Sequence[bool],
    first: Sequence[bool],
    second: Sequence[bool],
    groups: Sequence[str],
    weight: Sequence[float],
    draws: int = 2000,
) -> Interval:
    """MCC of `second` minus that of `first`, rows weighted by 1 / draw probability, by session."""
    return mcc_difference_draws(truth, first, second, groups, weight, draws)[0]


def mcc_difference_draws(
    truth: Sequence[bool],
    first: Sequence[bool],
    second: Sequence[bool],
    groups: Sequence[str],
    weight: Sequence[float],
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Interval, Floats]:
    """`mcc_difference` and the bootstrap draws behind it, of shape (draws,); none without rows.

    MCC needs only the four cells of each session, so a draw is a sum over the sessions picked.
    """
    if not len(groups):
        return Interval(*[float("nan")] * 3), np.empty(0)
    y, a, b = (np.asarray(x, bool) for x in (truth, first, second))
    w = np.asarray(weight, float)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    cells = [y & a, ~y & a, ~y & ~a, y & ~a, y & b, ~y & b, ~y & ~b, y & ~b]
    n, rng = int(codes.max()) + 1, np.random.default_rng(seed)
    by_session = np.stack([_mass(codes, w * cell, n) for cell in cells], axis=1)
    picked = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws))
    sums = np.stack([times @ by_session for times in picked])
    values = _mcc_of_cells(sums[:, 4:]) - _mcc_of_cells(sums[:, :4])
    return _percentile_interval(mcc(y, b, w) - mcc(y, a, w), values), values


def _mcc_of_cells(cells: Floats) -> Floats:
    """MCC of each row of (true positive, false positive, true negative, false negative)."""
    tp, fp, tn, fn = cells.T
    bottom = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return np.where(bottom > 0, (tp * tn - fp * fn) / np.sqrt(np.where(bottom > 0, bottom, 1)), 0.0)


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


def weighted_mean_estimate(
    truth: Floats, judge: Floats, probability: Floats, groups: NDArray[np.int64]
) -> Interval:
    """Estimate of a mean from labels drawn with known, unequal probabilities, and a judge's scores.

    One row a trace, all of shape (n_traces,): `truth` is NaN where nobody labelled, `probability`
    of being labelled is read only where somebody did. theta = mean(f + (Y - f) xi / pi) (active
    statistical inference, 2403.03208); the variance sums over sessions, not over traces.
    """
    known = ~np.isnan(truth)
    parts = judge.astype(np.float64)
    parts[known] += (truth[known] - judge[known]) / probability[known]
    theta = float(parts.mean())
    by_session = np.bincount(groups, weights=parts - theta)
    n = np.count_nonzero(np.bincount(groups))
    variance = n / (n - 1) * (by_session**2).sum() / len(parts) ** 2 if n > 1 else float("nan")
    half_width = Z95 * float(np.sqrt(variance))
    return Interval(theta, theta - half_width, theta + half_width)


def _ppi_weight(y: Floats, f: Floats, ratio: float) -> float:
    variance = f.var(ddof=1) if len(f) > 1 else 0.0
    if variance == 0.0:
        return 0.0
    return float(np.clip(np.cov(y, f)[0, 1] / ((1 + ratio) * variance), 0.0, 1.0))
