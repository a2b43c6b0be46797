"""Intervals that may be looked at every day: whenever somebody stops, they still keep their alpha.

An estimate with its variance in, a confidence sequence out; counts and shares in, evidence that
lots were not drawn as planned out. The one idea is a test martingale: chance alone lets it grow to
1 / alpha at any time with a chance of at most alpha (Ville 1939), so that looking costs nothing.
"""

import math
from collections.abc import Sequence

import numpy as np

from flywheel.records import Interval
from flywheel.statistics.estimates import UNSEEN, Ints
from flywheel.statistics.intervals import Floats

# Weight of the planned shares, in draws: evidence of a mismatch grows fastest where shares are off
# by about sqrt(.25 / 500), two points.
PLANNED_DRAWS = 500.0
# Standard normal quantile of the chance with which an experiment is to be over in the time said.
_Z80 = 0.8416212335729143


def confidence_sequence(
    estimate: float, variance: float, difference: float, alpha: float = 0.05
) -> Interval:
    """An interval that covers the truth at all looks together with a chance of 1 - alpha.

    estimate +- sqrt(2 (I r + 1) / (I^2 r) log(sqrt(I r + 1) / alpha)), with I = 1 / variance and
    r = difference^2: Robbins' (1970) normal mixture, as the asymptotic confidence sequence of
    Waudby-Smith et al. (2103.06476, theorem 2.2), whose t rho^2 is I r here. Information is the
    clock, since a sum of efficient scores moves as a Brownian motion in it, however many sessions a
    day brings and however many labels a session (Scharfstein, Tsiatis and Robins 1997). It is
    narrowest about where a true `difference` shows, which must be chosen before the first look.
    Asymptotic: it holds from a least number of sessions on, never from the first.
    """
    half = float(margins(np.array([1 / variance]), difference, alpha)[0])
    return Interval(estimate, estimate - half, estimate + half)


def margins(information: Floats, difference: float, alpha: float) -> Floats:
    """Half the widths of the sequence at these informations (1 / variance), of the same shape."""
    grown = information * difference**2 + 1
    spread = 2 * grown / (information**2 * difference**2)
    return np.asarray(np.sqrt(spread * np.log(np.sqrt(grown) / alpha)), np.float64)


def information_to_decide(difference: float, alpha: float) -> float:
    """The information by which a true `difference` is seen with a chance of 80 % or more.

    Where the interval of an estimate that is as low as one in five will have left 0.
    """
    # Both terms fall with information, so that the first grid point at which they fit is the least.
    candidates = np.geomspace(1e-1, 1e4, 20_001) / difference**2
    needed = margins(candidates, difference, alpha) + _Z80 / np.sqrt(candidates)
    return float(candidates[np.argmax(needed <= difference)])


def fixed_information(difference: float, alpha: float) -> float:
    """The information that a single look, planned beforehand, would need for the same chance."""
    from scipy import stats

    return float(((stats.norm.ppf(1 - alpha / 2) + _Z80) / difference) ** 2)


def clustered_mean(
    values: Floats, sessions: Ints, spread: float, weight: Floats | None = None
) -> tuple[float, float]:
    """A weighted mean over rows of shape (n_rows,) and its variance, summed by session.

    `spread` is how far apart two values can be: sessions that are all alike may have missed half a
    one that is not, so that the variance is never 0.
    """
    w = np.full(len(values), 1 / len(values)) if weight is None else weight / weight.sum()
    mean = float(w @ values)
    codes = np.unique(sessions, return_inverse=True)[1]
    by_session = np.bincount(codes, w * (values - mean))
    shares, n = np.bincount(codes, w), int(codes.max()) + 1
    variance = n / max(n - 1, 1) * float(by_session @ by_session)
    return mean, max(variance, UNSEEN * spread**2 * float(shares @ shares) ** 2)


def mismatch_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """How likely counts this far from their planned shares are, whenever somebody looks.

    1 / B, at most 1, where B is the Bayes factor of a Dirichlet(500 shares) mixture of multinomials
    against the planned one (Lindon and Malek 2011.03567): a martingale where lots are drawn as
    planned, so that the chance of ever seeing p <= alpha is at most alpha, at any number of looks.
    """
    prior = [PLANNED_DRAWS * share for share in shares]
    log_factor = math.lgamma(sum(prior)) - math.lgamma(sum(prior) + sum(counts))
    for n, a, share in zip(counts, prior, shares, strict=True):
        log_factor += math.lgamma(a + n) - math.lgamma(a) - n * math.log(share)
    return math.exp(-max(log_factor, 0.0))
