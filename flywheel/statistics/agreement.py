"""How well a judge's verdicts fit labels: single rates, cards of all of them, and differences.

Labels, probabilities, weights and sessions in, rates with intervals out. `weight` is 1 / draw
probability throughout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.records import Interval
from flywheel.statistics.intervals import Floats, cluster_bootstrap, percentile_interval, wilson


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
    return percentile_interval(mcc(y, b, w) - mcc(y, a, w), values), values


def _mcc_of_cells(cells: Floats) -> Floats:
    """MCC of each row of (true positive, false positive, true negative, false negative)."""
    tp, fp, tn, fn = cells.T
    bottom = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return np.where(bottom > 0, (tp * tn - fp * fn) / np.sqrt(np.where(bottom > 0, bottom, 1)), 0.0)
