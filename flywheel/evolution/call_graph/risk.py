"""How risky a node is: how often it fails, how sure that is, and what depends on it.

Sums by session in, intervals and risks out. After Shankar, "Data Flywheels for LLM Applications"
(2024): past failure rate x uncertainty x dependents. The rate is shrunk towards that of all nodes,
so that a node that was seen once is neither safe nor the worst.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flywheel.evolution.call_graph.tally import Shares
from flywheel.records import Interval
from flywheel.statistics import share_of_sessions

# Of the prior, in sessions: at least what a uniform one is worth, at most what would hide a node.
_LEAST_WORTH, _MOST_WORTH = 2.0, 200.0
# With fewer nodes, how far they differ is an accident.
_LEAST_NODES = 3


@dataclass(frozen=True, slots=True)
class Risk:
    """What a node's past says of it.

    `failure` is the shrunk share of sessions' runs that fail at it; `spread` the standard deviation
    of what is known of it; `dependents` how many other nodes come after it or above it in a run, on
    average. `value` is the product of the three, with one added to `dependents` for itself.
    """

    failure: Interval
    spread: float
    dependents: float

    @property
    def value(self) -> float:
        """Failure rate x uncertainty x dependents."""
        return self.failure.estimate * self.spread * (1.0 + self.dependents)


@dataclass(frozen=True, slots=True)
class Prior:
    """A beta distribution of nodes' failure rates: its mean, and what it is worth in sessions."""

    mean: float
    worth: float


def prior_of(shares: Sequence[Shares]) -> Prior:
    """The prior that nodes share, by the method of moments over their rates by session."""
    sums = [_sums(each) for each in shares]
    n = np.array([count for count, _ in sums], float)
    rate = np.array([yes / count if count else 0.0 for count, yes in sums])
    if not len(n) or n.sum() == 0:
        return Prior(0.5, _LEAST_WORTH)
    mean = float((rate * n).sum() / n.sum())
    # Never 0 or 1: what was never seen may still be.
    mean = (mean * n.sum() + 0.5) / (n.sum() + 1.0)
    if len(n) < _LEAST_NODES:
        return Prior(mean, _LEAST_WORTH)
    between = float((n * (rate - mean) ** 2).sum() / n.sum())
    noise = mean * (1 - mean) * len(n) / n.sum()
    excess = between - noise
    worth = mean * (1 - mean) / excess - 1 if excess > 0 else _MOST_WORTH
    return Prior(mean, min(max(float(worth), _LEAST_WORTH), _MOST_WORTH))


def risk_of(shares: Shares, n_later: int, n_runs: int, prior: Prior) -> Risk:
    """The risk of a node from its faults by session.

    A session counts once, by the mean of its runs, so that a long one does not outvote the others.
    """
    from scipy import stats

    n, yes = _sums(shares)
    # Half a fault and half a run without at least (Jeffreys 1946): none of ten is not never.
    a = max(prior.mean * prior.worth, 0.5) + yes
    b = max((1 - prior.mean) * prior.worth, 0.5) + n - yes
    low, high = (float(stats.beta.ppf(at, a, b)) for at in (0.025, 0.975))
    spread = math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    return Risk(Interval(a / (a + b), low, high), spread, n_later / max(1, n_runs))


def by_session(shares: Shares) -> Interval:
    """The plain share with its interval, the variance by session."""
    sums = np.array(list(shares.by_session.values())).reshape(-1, 2)
    n, yes = sums[:, 0], sums[:, 1]
    return share_of_sessions(
        int(n.sum()), int(yes.sum()), len(n), float(n @ n), float(n @ yes), float(yes @ yes)
    )


def _sums(shares: Shares) -> tuple[int, float]:
    """How many sessions there are, and the sum of their means."""
    means = [yes / n for n, yes in shares.by_session.values()]
    return len(means), float(sum(means))
