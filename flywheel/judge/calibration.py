"""From a judge's logit to a probability that can be believed, with a say for similar corrections.

Logits and labels in, a `Calibration` out: Platt scaling, and where cross-validation shows that it
helps, a weight for what people said of the most similar conversations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from flywheel.judge.reactions import Floats

# Below this many labels, or this many of either class, a fitted slope is noise.
MIN_LABELS = 30
MIN_CLASS = 5
# The prior of Platt scaling's slope and bias; large, since there are two or three numbers to fit.
_C = 10.0
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """probability = sigmoid(slope * logit + neighbour_weight * neighbours + bias) (Platt 1999).

    `neighbours` is in [-1, 1]: how far the similar corrections lean to an error, 0 where none is.
    """

    slope: float = 1.0
    bias: float = 0.0
    neighbour_weight: float = 0.0

    def probability(self, logits: Floats, neighbours: Floats) -> Floats:
        """Probabilities of a perceived error, of the shape of `logits`."""
        score = self.slope * logits + self.neighbour_weight * neighbours + self.bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -30, 30))), np.float64)


def fit_calibration(
    logits: Floats,
    neighbours: Floats,
    truth: NDArray[np.bool_],
    groups: Sequence[str],
    weight: Floats | None = None,
    start: Calibration = Calibration(),
) -> Calibration:
    """The calibration that fits labels which the judge has not seen; `start` where they are few.

    Neighbours get a weight only where the log loss over grouped folds falls with it.
    """
    if len(truth) < MIN_LABELS or min(truth.sum(), (~truth).sum()) < MIN_CLASS:
        return start
    w = np.ones(len(truth)) if weight is None else weight
    plain, both = logits[:, None], np.column_stack([logits, neighbours])
    has_spread = bool(np.ptp(neighbours) > 0) and len(set(groups)) >= _FOLDS
    if has_spread and _fold_loss(both, truth, groups, w) < _fold_loss(plain, truth, groups, w):
        model = _fit(both, truth, w)
        slope, neighbour_weight = model.coef_[0]
    else:
        model = _fit(plain, truth, w)
        slope, neighbour_weight = model.coef_[0][0], 0.0
    if slope <= 0:  # A judge that is worse than chance on a handful of labels is not turned around.
        return start
    return Calibration(float(slope), float(model.intercept_[0]), float(max(0.0, neighbour_weight)))


def _fit(x: Floats, truth: NDArray[np.bool_], weight: Floats) -> LogisticRegression:
    return LogisticRegression(C=_C).fit(x, truth, sample_weight=weight)


def _fold_loss(x: Floats, truth: NDArray[np.bool_], groups: Sequence[str], weight: Floats) -> float:
    total = 0.0
    for train, test in GroupKFold(_FOLDS).split(x, truth, groups):
        if truth[train].all() or not truth[train].any():
            return float("inf")
        p = _fit(x[train], truth[train], weight[train]).predict_proba(x[test])[:, 1]
        p = np.clip(p, 1e-6, 1 - 1e-6)
        total -= float(weight[test] @ np.where(truth[test], np.log(p), np.log(1 - p)))
    return total
