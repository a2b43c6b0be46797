"""Intervals of a share, tests of pairs, and sessions drawn again.

Counts or a function of rows in, an `Interval` or a p-value out. Whatever groups by conversation
takes `groups`, one session per row, and resamples sessions, never rows.
"""

from collections.abc import Callable, Sequence
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
    return score_interval(successes / n, n, Z95)


def score_interval(share: float, n: float, quantile: float) -> Interval:
    """The shares that a score test with this quantile does not reject, given `share` of n."""
    z2 = quantile**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = quantile / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    # At the ends the two are equal, but for their last digits.
    low = max(0.0, float(centre - half)) if share > 0 else 0.0
    high = min(1.0, float(centre + half)) if share < 1 else 1.0
    return Interval(share, low, high)


def clopper_pearson(successes: float, n: float, alpha: float = 0.05) -> Interval:
    """The exact interval of a share (Clopper and Pearson 1934), each side at alpha / 2.

    Fractions are effective numbers, of weighted or clustered rows (Korn and Graubard 1998).
    """
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
    return percentile_interval(statistic(np.arange(len(codes))), np.asarray(values))


def bootstrap_p(values: Floats, alternative: Literal["two-sided", "less"] = "two-sided") -> float:
    """p-value of "no difference" from bootstrap draws of a difference; NaN draws are left out.

    Below alpha exactly where the percentile interval at 1 - alpha leaves out 0, and never 0, since
    the observed draw counts as one (Davison and Hinkley 1997, 4.2). `less`: that it is below 0.
    """
    kept = values[~np.isnan(values)]
    not_above = (1 + int((kept <= 0).sum())) / (len(kept) + 1)
    not_below = (1 + int((kept >= 0).sum())) / (len(kept) + 1)
    return min(1.0, 2 * min(not_above, not_below)) if alternative == "two-sided" else not_below


def percentile_interval(estimate: float, values: Floats) -> Interval:
    """`estimate`, between the 2.5 and 97.5 % points of the draws that are defined (not NaN)."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.percentile(kept, [2.5, 97.5])
    return Interval(estimate, float(low), float(high))
