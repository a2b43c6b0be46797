"""What people said of traces, and how many independent labels that amounts to.

Labels with their sessions and draw weights in, effective numbers out: sessions give several traces,
and those drawn by doubt weigh differently, so that a count of labels says too much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.judge.reactions import Floats

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class People:
    """What people said of traces, arrays of shape (n,); `weight` is 1 / draw probability.

    `groups` numbers the sessions.
    """

    truth: Bools
    groups: Integers
    weight: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: Bools) -> "People":
        """What they said of `rows`."""
        return People(self.truth[rows], self.groups[rows], self.weight[rows])


def people_of(
    truth: Sequence[bool] | Bools, groups: Sequence[str], weight: Sequence[float] | None = None
) -> People:
    """What people said, with sessions by name; all weigh alike where no weight is given."""
    codes = np.unique(np.asarray(groups, str), return_inverse=True)[1]
    each = np.ones(len(codes)) if weight is None else np.asarray(weight, float)
    return People(np.asarray(truth, bool), codes.astype(np.int64), each)


def amounts_to(agrees: Bools, people: People, least_icc: float = 0.0) -> tuple[float, float]:
    """The weighted share that agrees, and how many independent labels say so.

    A session is taken to be as alike as it looks, and `least_icc` at least.
    """
    icc = max(least_icc, session_icc(agrees, people.groups))
    n = kish(people.weight) / design_effect(people.groups, icc)
    return float(np.average(agrees, weights=people.weight)), n


def kish(weight: Floats) -> float:
    """How many labels of equal weight these amount to: (sum w)^2 / sum w^2 (Kish 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0


def design_effect(groups: Integers, icc: float) -> float:
    """By how much sessions lessen a number of labels: 1 + (m - 1) icc (Kish 1965).

    m is the mean size of a label's own session.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    return 1.0 + (float((sizes**2).sum() / sizes.sum()) - 1.0) * icc


def session_icc(agrees: Bools, groups: Integers) -> float:
    """How alike the traces of a session are, in [0, 1]: intraclass correlation by the analysis of
    variance (Donner and Koval 1980); 0 where no session repeats."""
    codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    n, k = len(agrees), len(sizes)
    if k < 2 or n == k:
        return 0.0
    means = np.bincount(codes, agrees) / sizes
    between = float((sizes * (means - agrees.mean()) ** 2).sum()) / (k - 1)
    within = float(((agrees - means[codes]) ** 2).sum()) / (n - k)
    m = (n - float((sizes**2).sum()) / n) / (k - 1)
    bottom = between + (m - 1) * within
    return float(np.clip((between - within) / bottom, 0.0, 1.0)) if bottom > 0 else 0.0
