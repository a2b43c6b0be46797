"""Sessions drawn again: how far a sum over conversations could have come out otherwise.

Tables of rows in, draws of their sum out; the one idea is that sessions which say the same are
drawn together.
"""

from collections.abc import Sequence

import numpy as np

from flywheel.records import Interval
from flywheel.statistics import Floats

DRAWS = 2000


def draws_by_session(
    tables: Floats, sessions: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Floats:
    """Sums of the rows' tables over sessions drawn with replacement.

    `tables` is of shape (n_rows, ...), what is returned of shape (draws, ...). How often each kind
    of session is drawn is multinomial, so the cost is that of the different sums of a session, and
    not of the sessions.
    """
    codes = np.unique(np.asarray(sessions), return_inverse=True)[1]
    flat = tables.reshape(len(tables), -1)
    is_used = flat.any(axis=0)
    if not is_used.any():
        return np.zeros((draws, *tables.shape[1:]))
    by_session = np.stack([np.bincount(codes, column) for column in flat.T[is_used]], axis=1)
    kinds, sizes = np.unique(by_session, axis=0, return_counts=True)
    n = int(sizes.sum())
    times = np.random.default_rng(seed).multinomial(n, sizes / n, draws)
    drawn = np.zeros((draws, flat.shape[1]))
    drawn[:, is_used] = times @ kinds
    return drawn.reshape(draws, *tables.shape[1:])


def percentiles(estimate: float, values: Floats) -> Interval:
    """The interval between the 2.5 and 97.5 % points of the draws that are defined (not NaN)."""
    low, high = np.percentile(values[~np.isnan(values)], [2.5, 97.5])
    return Interval(estimate, float(low), float(high))


def none_in(n: int) -> float:
    """What share of cases may still be of a kind that none of `n` sessions showed.

    The upper end of the exact 95 % interval at zero (Clopper and Pearson 1934).
    """
    return float(1 - 0.025 ** (1 / n))
