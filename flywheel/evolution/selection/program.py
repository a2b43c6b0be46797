"""The fewest metrics that together find enough errors and together cry wolf seldom enough.

What metrics say of labelled traces in, the chosen metrics out, or why there are none. The one idea
is that false failures are counted of the *union*: three metrics that are each wrong on a tenth of
the good traces may together be wrong on three tenths.

Source: SPADE (2401.03038), section 4.2; the integer program is solved by HiGHS.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import BadInput, NotEnough, TryAgain
from flywheel.statistics import Floats

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

Bools = NDArray[np.bool_]

# Shares are sums of floats: what is this near a bound is at it.
_SLACK = 1e-9
# Below one half, so that what a set reaches never outweighs one metric more.
_TIE = 0.4
# Of sets that reach as much, the smaller.
_HAIR = 1e-6
# The best set is mostly proven within one; what is best so far counts then, and is not proven.
TIME_LIMIT_S = 30.0
# More columns than the solver can prove anything of.
MAX_METRICS = 500
# What the solver calls a limit that it ran into.
_OUT_OF_TIME = 1


class Unsolved(TryAgain):
    """The solver found nothing in its time."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A set of metrics, as columns of the matrix, and what it reaches on the rows it was fitted on.

    `coverage` is the weighted share of the bad rows that any of them flags, `false_failures` that
    of the good ones. `is_proven` says that no better set exists.
    """

    columns: tuple[int, ...]
    coverage: float
    false_failures: float
    is_proven: bool = True


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Why no set meets both constraints.

    `all_reach` is the coverage of all metrics together: where that is too low, `broken` is
    `coverage` and no choice helps. Else each constraint can be met alone and not both: `broken` is
    `both`, and beside it stand the most coverage within the allowed false failures, and the fewest
    false failures at the wanted coverage (None where the coverage cannot be reached).
    """

    broken: Literal["coverage", "both"]
    all_reach: float
    most_coverage: Chosen
    fewest_false: Chosen | None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows with the same flags as one, with the share of their class that they are."""

    bad: Bools
    bad_share: Floats
    good: Bools
    good_share: Floats

    @property
    def n_metrics(self) -> int:
        return int(self.bad.shape[1])


def select_metrics(
    flags: Bools, is_bad: Bools, weight: Floats, min_coverage: float, max_false: float
) -> Chosen | Infeasible:
    """The smallest set with coverage >= `min_coverage` and union false failures <= `max_false`.

    `flags` is of shape (n_traces, n_metrics): whether a metric speaks against a trace; `is_bad` and
    `weight` of shape (n_traces,). Of sets of equal size, the one with the most coverage less false
    failures. Raises NotEnough where there is no bad or no good trace, and BadInput on bounds that
    are no shares.
    """
    if not (0 < min_coverage <= 1 and 0 <= max_false < 1):
        raise BadInput(
            f"coverage is wanted above 0 and up to 1, false failures from 0 to below 1; got "
            f"{min_coverage:g} and {max_false:g}"
        )
    rows = _rows(flags, is_bad, weight)
    found = _solve(rows, np.ones(rows.n_metrics), (_TIE, _TIE), min_coverage, max_false)
    return found or _explain(rows, min_coverage, max_false)


def reached(flags: Bools, share: Floats, columns: tuple[int, ...]) -> float:
    """The share of the rows that any of these columns flags."""
    return float(share @ flags[:, list(columns)].any(axis=1)) if len(share) else 0.0


def _rows(flags: Bools, is_bad: Bools, weight: Floats) -> _Rows:
    for what, n in (("an error", int(is_bad.sum())), ("no error", int((~is_bad).sum()))):
        if not n:
            raise NotEnough(f"labels of {what} to select metrics on", n, 1)
    if flags.shape[1] > MAX_METRICS:
        raise BadInput(f"{flags.shape[1]} metrics are more than {MAX_METRICS}, too many to select")
    bad, bad_share = _merged(flags[is_bad], weight[is_bad])
    good, good_share = _merged(flags[~is_bad], weight[~is_bad])
    return _Rows(bad, bad_share, good, good_share)


def _merged(flags: Bools, weight: Floats) -> tuple[Bools, Floats]:
    kinds, which = np.unique(flags, axis=0, return_inverse=True)
    return kinds, np.bincount(which.ravel(), weight, len(kinds)) / weight.sum()


def _explain(rows: _Rows, min_coverage: float, max_false: float) -> Infeasible:
    everything = tuple(range(rows.n_metrics))
    all_reach = reached(rows.bad, rows.bad_share, everything)
    cost = np.full(rows.n_metrics, _HAIR)
    most = _solve(rows, cost, (1.0, 0.0), 0.0, max_false)
    # The empty set flags nothing, so that this one always exists.
    most = most or Chosen((), 0.0, 0.0)
    if all_reach < min_coverage - _SLACK:
        return Infeasible("coverage", all_reach, most, None)
    fewest = _solve(rows, cost, (0.0, 1.0), min_coverage, 1.0)
    return Infeasible("both", all_reach, most, fewest)


def _solve(
    rows: _Rows,
    cost: Floats,
    worth: tuple[float, float],
    min_coverage: float,
    max_false: float,
) -> Chosen | None:
    """The set of least cost, less what it is worth: its coverage, and false failures avoided.

    Variables: x_j whether a metric is in (0 or 1), u_i whether a kind of bad row is found, w_k
    whether a kind of good one is flagged; the last two come out whole where the x_j are. Raises
    Unsolved where none was found in time.
    """
    from scipy.optimize import Bounds, milp

    of_coverage, of_false = worth
    n, n_kinds = rows.n_metrics, len(rows.bad) + len(rows.good)
    answer = milp(
        np.concatenate([cost, -of_coverage * rows.bad_share, of_false * rows.good_share]),
        integrality=np.r_[np.ones(n), np.zeros(n_kinds)],
        bounds=Bounds(0, 1),
        constraints=_constraints(rows, min_coverage, max_false),
        options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": 0.0},
    )
    if answer.x is None and answer.status == _OUT_OF_TIME:
        raise Unsolved(f"no set of {n} metrics was found within {TIME_LIMIT_S:.0f} s")
    if answer.x is None:
        return None
    columns = tuple(int(j) for j in np.flatnonzero(answer.x[:n] > 0.5))
    return Chosen(
        columns,
        reached(rows.bad, rows.bad_share, columns),
        reached(rows.good, rows.good_share, columns),
        answer.status == 0,
    )


def _constraints(rows: _Rows, min_coverage: float, max_false: float) -> list["LinearConstraint"]:
    """u_i <= sum of the x_j that flag i; w_k >= each x_j that flags k; and the two bounds."""
    from scipy import sparse
    from scipy.optimize import LinearConstraint

    n, n_bad, n_good = rows.n_metrics, len(rows.bad), len(rows.good)
    found = sparse.hstack(
        [
            sparse.csr_array(rows.bad.astype(float)),
            -sparse.eye_array(n_bad),
            sparse.csr_array((n_bad, n_good)),
        ]
    )
    kinds, metrics = np.nonzero(rows.good)
    ones, places = np.ones(len(kinds)), np.arange(len(kinds))
    flagged = sparse.hstack(
        [
            sparse.csr_array((-ones, (places, metrics)), shape=(len(kinds), n)),
            sparse.csr_array((len(kinds), n_bad)),
            sparse.csr_array((ones, (places, kinds)), shape=(len(kinds), n_good)),
        ]
    )
    coverage = np.r_[np.zeros(n), rows.bad_share, np.zeros(n_good)]
    false = np.r_[np.zeros(n + n_bad), rows.good_share]
    return [
        LinearConstraint(found, 0, np.inf),
        *([LinearConstraint(flagged, 0, np.inf)] if len(kinds) else []),
        LinearConstraint(coverage, min_coverage - _SLACK, np.inf),
        LinearConstraint(false, -np.inf, max_false + _SLACK),
    ]
