"""Two versions on the same cases: by how much one is better, and whether it is worse by too much.

Outcomes of both in, a difference with its draws, a p-value or a bound out. The one idea is that
what counts is the cases on which they differ: those that only one of them gets right.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flywheel.records import Interval
from flywheel.statistics.intervals import Floats, percentile_interval

# Cells of a block of bootstrap draws in memory at once: 64 MB of counts.
_CELLS = 8_000_000
# No project has so many cases; a number above it says nothing to anybody.
_MOST_CASES = 1_000_000


def success_difference_draws(
    first: Sequence[bool],
    second: Sequence[bool],
    groups: Sequence[str],
    weight: Sequence[float],
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Interval, Floats]:
    """Share of successes of `second` minus that of `first`, weighted, and its bootstrap draws.

    Whole groups are drawn with replacement; draws of shape (draws,), none without rows. `weight` is
    1 / draw probability.
    """
    if not len(groups):
        return Interval(*[float("nan")] * 3), np.empty(0)
    w = np.asarray(weight, float)
    gain = w * (np.asarray(second, float) - np.asarray(first, float))
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    n = int(codes.max()) + 1
    sums = np.stack([np.bincount(codes, gain, n), np.bincount(codes, w, n)], axis=1)
    rng, values = np.random.default_rng(seed), []
    rows = max(1, _CELLS // n)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        picked = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        drawn = np.bincount(picked.ravel(), minlength=size * n).reshape(size, n) @ sums
        values.append(drawn[:, 0] / drawn[:, 1])
    found = np.concatenate(values)
    return percentile_interval(float(gain.sum() / w.sum()), found), found


def noninferiority_p(
    n: ArrayLike, wins: ArrayLike, losses: ArrayLike, margin: ArrayLike
) -> NDArray[np.float64]:
    """One-sided p-value that the second is worse by less than `margin`, a share of the cases.

    Of `n` cases the second alone gets `wins` right and the first alone `losses`. The score test of
    Tango (1998, Statistics in Medicine 17:891). Where hardly anything differs the normal curve is
    too sure: so it is never below the exact binomial p-value of the net losses. Numbers or arrays.
    """
    from scipy import special

    n, w, x, d = (np.asarray(value, np.float64) for value in (n, wins, losses, margin))
    b = (2 * n - x + w) * d - x - w
    c = -w * d * (1 - d)
    only_second = (np.sqrt(np.maximum(b**2 - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * (2 * only_second + d * (1 - d))
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(variance > 0, (x - w - n * d) / np.sqrt(variance), 0.0)
    net = np.floor(x - w)
    # The binomial distribution's sum, which takes fractions of cases as well.
    at_most = special.betainc(np.maximum(n - net, 1e-9), np.maximum(net, 0) + 1, 1 - d)
    exact = np.where(net >= 0, at_most, 0.0)
    return np.asarray(np.maximum(special.ndtr(score), exact), np.float64)


def loss_bound(n: int, wins: int, losses: int, alpha: float) -> float:
    """The upper 1 - `alpha` bound of how much worse the second is, in [0, 1]; 1 without cases."""
    if n == 0 or noninferiority_p(n, wins, losses, 1 - 1e-9) >= alpha:
        return 1.0
    low, high = 0.0, 1 - 1e-9
    for _ in range(40):
        middle = (low + high) / 2
        if noninferiority_p(n, wins, losses, middle) < alpha:
            high = middle
        else:
            low = middle
    return high


def least_cases(margin: float, alpha: float) -> int:
    """How many cases show non-inferiority where not one differs; 59 for 5 points at .05."""
    return cases_needed(1, 0, 0, margin, alpha) or _MOST_CASES


def cases_needed(n: int, wins: int, losses: int, margin: float, alpha: float) -> int | None:
    """How many cases in all show non-inferiority, if `n` of them go on as they are.

    None where the second is worse by the margin as it is, so that more of the same show nothing.
    """
    if n == 0:
        return least_cases(margin, alpha)
    if losses - wins >= margin * n:
        return None
    low, high = 1, _MOST_CASES
    while low < high:
        middle = (low + high) // 2
        scale = middle / n
        if noninferiority_p(middle, wins * scale, losses * scale, margin) < alpha:
            high = middle
        else:
            low = middle + 1
    return low if low < _MOST_CASES else None
