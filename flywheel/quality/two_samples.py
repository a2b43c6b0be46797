"""Whether two samples of sessions differ: a permutation test, and the population stability index.

Rows with a session in, a p-value out; the one idea is that whole sessions change sides, since the
traces of one are alike, so that the false-alarm rate is the one that was asked for.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flywheel.statistics import Floats

Bools = NDArray[np.bool_]
# Means of the two sides, each of shape (draws, width), in; a statistic a draw out.
Statistic = Callable[[Floats, Floats], Floats]

N_BINS = 10
# Added to each bin of each side, as a share of a sample, so that an empty bin is no infinity.
_FLOOR = 1e-3
_BATCH = 200


def stability(first: Floats, second: Floats) -> Floats:
    """The population stability index of two distributions over bins: shape (draws,).

    sum (a - b) ln(a / b): below .1 little has moved, above .25 much (a rule of credit scoring; for
    its own distribution, Yurdakul and Naranjo 2020).
    """
    a, b = first + _FLOOR, second + _FLOOR
    a, b = a / a.sum(axis=-1, keepdims=True), b / b.sum(axis=-1, keepdims=True)
    return np.asarray(((a - b) * np.log(a / b)).sum(axis=-1), np.float64)


def distance(first: Floats, second: Floats) -> Floats:
    """The squared distance of two mean vectors: shape (draws,).

    The maximum mean discrepancy under a linear kernel (Gretton et al. 2012).
    """
    return np.asarray(((first - second) ** 2).sum(axis=-1), np.float64)


def in_bins(values: Floats) -> Floats:
    """Which of ten bins of equal mass each value falls in, as rows of 0 and 1: shape (n, 10)."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    return np.eye(N_BINS)[np.searchsorted(edges, values, side="right")]


def permutation_test(
    rows: Floats,
    sessions: Sequence[str],
    is_first: Bools,
    statistic: Statistic,
    permutations: int,
    seed: int = 0,
) -> tuple[float, float]:
    """The statistic of the first side's mean against the second's, and its p-value.

    `rows` has shape (n, width). Sessions are dealt to the sides anew, as many to each; a session
    with rows on both sides is two. The p-value is (1 + draws as large) / (1 + draws), which is
    exact where sessions are exchangeable (Phipson and Smyth 2010).
    """
    names = [f"{int(side)} {session}" for session, side in zip(sessions, is_first, strict=True)]
    codes = np.unique(names, return_inverse=True)[1]
    n = int(codes.max()) + 1
    sums = np.zeros((n, rows.shape[1] + 1))
    np.add.at(sums, codes, np.column_stack([rows, np.ones(len(rows))]))
    sides = np.zeros(n, bool)
    sides[codes] = is_first
    total, size = sums.sum(axis=0), int(sides.sum())

    def of(chosen: Floats) -> Floats:
        inside = chosen @ sums
        outside = total - inside
        return statistic(inside[:, :-1] / inside[:, -1:], outside[:, :-1] / outside[:, -1:])

    observed = float(of(sides[None].astype(float))[0])
    rng, as_large = np.random.default_rng(seed), 0
    for start in range(0, permutations, _BATCH):
        keys = rng.random((min(_BATCH, permutations - start), n))
        chosen = np.zeros_like(keys)
        np.put_along_axis(chosen, np.argpartition(keys, size - 1, axis=1)[:, :size], 1.0, axis=1)
        # A draw that is the observed one again may differ from it in its last digits.
        as_large += int((of(chosen) >= observed * (1 - 1e-9)).sum())
    return observed, (1 + as_large) / (1 + permutations)
