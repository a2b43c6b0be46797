"""Conformal sets: the same certainty as a set of labels; two of them, or none, ask the next tier.

Probabilities and labels in, a set a trace out. Split conformal prediction by class (Mondrian; Vovk,
Lindsay, Nouretdinov and Gammerman 2003): of each class by itself, at least 1 - alpha of the traces
get a set with their true label in it, where labels and traces are exchangeable.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.judge.cascade import Sets
from flywheel.judge.people import People
from flywheel.judge.reactions import Floats


@dataclass(frozen=True, slots=True)
class ConformalRule:
    """A label is in the set of a trace that is no stranger to its class than these quantiles.

    How strange a trace is to a class is 1 - its probability of that class.
    """

    alpha: float
    strangest_error: float
    strangest_fine: float
    n_error: int
    n_fine: int

    def sets(self, probability: Floats) -> Sets:
        """The set of each probability."""
        return Sets(probability >= 1 - self.strangest_error, probability <= self.strangest_fine)


def conformal_rule(probability: Floats, people: People, alpha: float) -> ConformalRule:
    """The rule of these labels, of which no model has learnt; with too few, every set has both.

    A session speaks once, with the strangest of its traces of a class: coverage then holds for
    sessions that are exchangeable, whatever the traces of a session have in common.
    """
    error, fine = people.truth, ~people.truth
    of_error, of_fine = people.take(error), people.take(fine)
    return ConformalRule(
        alpha,
        _quantile(1 - probability[error], of_error.groups, of_error.weight, alpha),
        _quantile(probability[fine], of_fine.groups, of_fine.weight, alpha),
        len(of_error),
        len(of_fine),
    )


def conformal_sets(
    probability: Floats, labelled: Floats, people: People, alpha: float = 0.1
) -> Sets:
    """Sets for `probability` by the labels of `labelled`, each class covered at 1 - alpha."""
    return conformal_rule(labelled, people, alpha).sets(probability)


def _quantile(strange: Floats, groups: NDArray[np.int64], weight: Floats, alpha: float) -> float:
    """The least strangeness that 1 - alpha of the mass is within, a new session's own counted in.

    Weighted as in Tibshirani et al. (1904.06019), the new session with the largest weight.
    """
    if not len(strange):
        return 1.0
    codes = np.unique(groups, return_inverse=True)[1]
    k = int(codes.max()) + 1
    worst, mass = np.zeros(k), np.zeros(k)
    np.maximum.at(worst, codes, strange)
    np.maximum.at(mass, codes, weight)
    order = np.argsort(worst, kind="stable")
    within = np.cumsum(mass[order]) / (mass.sum() + mass.max())
    reached = np.flatnonzero(within >= 1 - alpha - 1e-12)
    return float(worst[order][reached[0]]) if len(reached) else 1.0
