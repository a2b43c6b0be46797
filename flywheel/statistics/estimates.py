"""Estimates of a rate from a few labels and a judge's scores of everything.

Arrays in, `Interval` out; the one idea is that labels drawn by a known chance undo the judge's
bias, and that the judge's scores take the noise out of the labels. Variances add up sessions, and
intervals are Wilson's at the number of labels that such a variance is worth.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flywheel.records import Interval
from flywheel.statistics.intervals import Floats, score_interval

Ints = NDArray[np.int64]

# With fewer labels of either kind, their slope on the judge is an accident: the labels speak alone.
LEAST_OF_EACH_KIND = 3
# What labels of which none disagrees with the judge may still have missed: half a missed error and
# half a false alarm. By it, none of n labels of an error is worth n labels, as in Wilson's form.
UNSEEN = 0.5


@dataclass(frozen=True, slots=True)
class Estimated:
    """A rate, its interval, and what each row adds to its error.

    `parts` of shape (n_rows,) are the linear terms of the estimate, so that their sum over a
    session is what the session adds; two estimates on the same sessions vary together by them.
    `power` is how far the judge's scores are used: lambda of PPI++, 0 for the labels alone.
    `variance` is that of the estimate.
    """

    interval: Interval
    parts: Floats
    sessions: Ints
    power: float
    variance: float


def corrected_rate(truth: Floats, judge: Floats, weight: Floats, sessions: Ints) -> Estimated:
    """A rate over all rows from the labels of some and the judge's scores of all.

    theta = lambda mean(f) + sum w (Y - lambda f) / sum w, the sums over the labelled rows. `truth`
    is NaN where nobody labelled; `weight` (1 / chance of a label) is read where somebody did. With
    equal weights it is PPI++ on the rows with a label and those without. The variance is that of
    the linear terms summed by session. The interval is Wilson's (1927) at the effective number of
    labels theta (1 - theta) / variance, by Student's t of the labelled sessions (Korn and Graubard
    1998, for the exact interval): PPI++'s own, +-1.96 standard errors, covers too little where
    errors are rare.
    """
    known = ~np.isnan(truth)
    y, f, w = truth[known], judge[known], weight[known] / weight[known].sum()
    codes = np.unique(sessions, return_inverse=True)[1]
    of_labels = np.unique(codes[known], return_inverse=True)[1]
    n_sessions = int(of_labels.max()) + 1
    power = _power(y, f, w, of_labels)
    residual = y - power * f
    theta = power * float(judge.mean()) + float(w @ residual)
    parts = power * (judge - judge.mean()) / len(judge)
    parts[known] += w * (residual - w @ residual)
    by_session = np.bincount(codes, parts)
    variance = n_sessions / max(n_sessions - 1, 1) * float(by_session @ by_session)
    # Kish's number of labels of equal weight, of which those in one session count as one.
    worth = n_sessions / (len(y) * float(w @ w))
    floor = power**2 * float(judge.var()) / len(judge) + _unseen(y, f, w, power) / worth**2
    variance = max(variance, floor)
    interval = _at_effective_size(theta, variance, worth, n_sessions)
    return Estimated(interval, parts, np.asarray(sessions), power, variance)


def _power(y: Floats, f: Floats, w: Floats, codes: Ints) -> float:
    """Lambda: the weighted slope of the labels on the judge's scores, in [0, 1].

    Shrunk by the share of its square that is noise (James and Stein 1961, the positive part), and 0
    where a kind of label is too rare. Cross-fitted over five folds it covers as well, by intervals
    that are a twentieth wider where five of a hundred labels are of an error.
    """
    errors = int(y.sum())
    apart = f - w @ f
    variance = float(w @ apart**2)
    if min(errors, len(y) - errors) < LEAST_OF_EACH_KIND or variance < 1e-12:
        return 0.0
    slope = float(w @ (apart * y)) / variance
    if slope <= 0:
        return 0.0
    noise = np.bincount(codes, w * apart * (y - w @ y - slope * apart)) / variance
    return min(1.0, slope * max(0.0, 1 - float(noise @ noise) / slope**2))


def _unseen(y: Floats, f: Floats, w: Floats, power: float) -> float:
    """The squares of what an error that the judge misses, and a false alarm, would add."""
    middle = float(w @ (y - power * f))
    score_of_fine = float(f[y == 0].mean()) if (y == 0).any() else 0.0
    score_of_error = float(f[y == 1].mean()) if (y == 1).any() else 1.0
    missed, false_alarm = 1 - power * score_of_fine - middle, -power * score_of_error - middle
    return float(UNSEEN * (missed**2 + false_alarm**2))


def _at_effective_size(theta: float, variance: float, worth: float, n_sessions: int) -> Interval:
    # Weights may make labels worth less than one: then they say nothing, which is one half.
    least = min(0.5, 1 / (2 * worth))
    inside = min(max(theta, least), 1 - least)
    size = inside * (1 - inside) / variance
    score = score_interval(min(max(theta, 0.0), 1.0), size, t_quantile(n_sessions - 1))
    return Interval(theta, min(score.low, theta), max(score.high, theta))


def mean_of_sessions(values: Floats, sessions: Ints) -> Interval:
    """A mean over rows of shape (n_rows,), by Student's t, with the variance by session."""
    codes = np.unique(sessions, return_inverse=True)[1]
    mean, n_sessions = float(values.mean()), int(codes.max()) + 1
    half = _half_width((values - mean) / len(values), codes, n_sessions, 0.0)
    return Interval(mean, mean - half, mean + half)


def share_of_sessions(
    n: int, yes: int, n_sessions: int, n_squared: float, n_by_yes: float, yes_squared: float
) -> Interval:
    """A share over all rows, with Wilson's interval at the number of rows that its sessions make.

    The last three are sums over sessions of rows squared, of rows times yes, and of yes squared.
    """
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0)
    share = yes / n
    spread = yes_squared - 2 * share * n_by_yes + share**2 * n_squared
    variance = n_sessions / max(n_sessions - 1, 1) * spread / n**2
    floor = UNSEEN * max(share, 1 - share) ** 2 / n_sessions**2
    return _at_effective_size(share, max(variance, floor), float(n_sessions), n_sessions)


@lru_cache(maxsize=4096)
def t_quantile(df: int) -> float:
    """The 97.5 % point of Student's t; that of 1 degree of freedom where there are none."""
    from scipy import stats

    return float(stats.t.ppf(0.975, max(df, 1)))


def rogan_gladen(
    truth: Floats, judge: Floats, is_counted: NDArray[np.bool_], sessions: Ints
) -> Interval | None:
    """A rate from labels whose chances are unknown, or that were picked by what they say.

    theta = (p + q0 - 1) / (q0 + q1 - 1), where p is the judge's mean over the rows that the rate is
    of (`is_counted`), and q1 and 1 - q0 its mean over labelled errors and over labelled others:
    sensitivity and specificity where it says 0 or 1 (Rogan and Gladen 1978; 2511.21140). It holds
    only where the judge errs as often on the labelled rows as on the others of their class.
    `truth` is NaN where nobody labelled. Delta method, the variance by session. None where the
    labels do not show that the judge tells the classes apart.
    """
    is_error, is_fine = truth == 1, truth == 0
    if not is_error.any() or not is_fine.any():
        return None
    codes = np.unique(sessions, return_inverse=True)[1]
    n_sessions = len(np.unique(codes[is_error | is_fine]))
    high, low, p = (float(judge[of].mean()) for of in (is_error, is_fine, is_counted))
    of_error = np.where(is_error, (judge - high) / is_error.sum(), 0.0)
    of_fine = np.where(is_fine, (judge - low) / is_fine.sum(), 0.0)
    # What a share of such a label more or less would add, where all seen are alike.
    unseen = UNSEEN / is_error.sum() ** 2, UNSEEN / is_fine.sum() ** 2
    apart = high - low
    if apart <= _half_width(of_error - of_fine, codes, n_sessions, sum(unseen)):
        return None
    theta = (p - low) / apart
    own = np.where(is_counted, (judge - p) / is_counted.sum(), 0.0)
    parts = own - theta * of_error - (1 - theta) * of_fine
    least = theta**2 * unseen[0] + (1 - theta) ** 2 * unseen[1]
    half = _half_width(parts, codes, n_sessions, least) / apart
    return Interval(theta, max(0.0, theta - half), min(1.0, theta + half))


def _half_width(parts: Floats, codes: Ints, n_sessions: int, least: float) -> float:
    by_session = np.bincount(codes, parts)
    variance = n_sessions / max(n_sessions - 1, 1) * float(by_session @ by_session)
    return t_quantile(n_sessions - 1) * float(np.sqrt(max(variance, least)))


def rate_difference(first: Estimated, second: Estimated) -> Interval:
    """The rate of `second` minus that of `first`, from their intervals and how they vary together.

    The interval recovers each side's variance from its own interval (Zou and Donner 2008), so that
    that of two shares by labels alone is Newcombe's; sessions in both bring a correlation.
    """
    names = np.concatenate([first.sessions, second.sessions])
    codes = np.unique(names, return_inverse=True)[1]
    n = int(codes.max()) + 1
    a_sums = np.bincount(codes[: len(first.parts)], first.parts, n)
    b_sums = np.bincount(codes[len(first.parts) :], second.parts, n)
    scale = float(np.sqrt((a_sums @ a_sums) * (b_sums @ b_sums)))
    together = float(a_sums @ b_sums) / scale if scale else 0.0
    a, b = first.interval, second.interval
    difference = b.estimate - a.estimate
    below = _hypotenuse(b.estimate - b.low, a.high - a.estimate, together)
    above = _hypotenuse(b.high - b.estimate, a.estimate - a.low, together)
    return Interval(difference, difference - below, difference + above)


def _hypotenuse(one: float, other: float, correlation: float) -> float:
    square = one**2 + other**2 - 2 * correlation * one * other
    return float(np.sqrt(max(square, 0.0)))
