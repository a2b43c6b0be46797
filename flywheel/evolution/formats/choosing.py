"""The cheapest way of writing that reads no worse: several arms on the same cases.

What each arm costs and gets right in, a certificate out. The one idea is that few tokens are no
reason by themselves: an arm is taken where the loss of accuracy against the present one is below
the margin with an error of alpha over all arms together, and not before.

Source: the paired score test of Tango (1998), with Holm (1979) over the arms. Non-inferiority says
nothing where the present arm fails as well, so that one has to be right on most cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flywheel.gate.items import leads
from flywheel.records import Interval
from flywheel.statistics.estimates import mean_of_sessions, share_of_sessions
from flywheel.statistics.intervals import Floats, holm
from flywheel.statistics.paired import cases_needed, loss_bound, noninferiority_p

MARGIN = 0.03
ALPHA = 0.05
# The present arm has to be right on more than this share, with its whole interval.
LEAST_RIGHT = 0.5

State = Literal["present", "no worse", "worse", "not shown"]


@dataclass(frozen=True, slots=True)
class Arm:
    """A way of writing, on the same cases as the others: tokens and whether the model was right."""

    name: str
    tokens: tuple[float, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """An arm beside the present one; a group of cases counts once, for who is right on more of it.

    `tokens` are of a case, `saving` the share of the present arm's tokens that it saves; `p` is
    Holm's, `needed` how many groups would show it, None where more of the same never would.
    """

    name: str
    tokens: Interval
    accuracy: Interval
    saving: float
    wins: int
    losses: int
    p: float
    loss_bound: float
    gain_bound: float
    state: State
    needed: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen, and on what; `why` is a sentence."""

    chosen: str
    present: str
    n: int
    groups: int
    arms: tuple[Compared, ...]
    why: str

    @property
    def arm(self) -> Compared:
        """The arm that is chosen."""
        return next(each for each in self.arms if each.name == self.chosen)


def choose(
    present: Arm,
    others: Sequence[Arm],
    groups: Sequence[str],
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> Choice:
    """The arm with the fewest tokens that is no worse than the present one, which may be that.

    `groups` has one name a case; all arms have the same cases, at least one.
    """
    paired = [_lead(present, each, groups) for each in others]
    n = len(set(groups))
    p_values = holm([float(noninferiority_p(n, wins, losses, margin)) for wins, losses in paired])
    share = alpha / max(1, len(others))
    compared = [
        _compared(present, each, groups, lead, p, (margin, alpha, share))
        for each, lead, p in zip(others, paired, p_values, strict=True)
    ]
    own = _own(present, groups)
    arms = (own, *compared)
    if own.accuracy.low <= LEAST_RIGHT:
        why = (
            f"The model is right on {own.accuracy.estimate:.1%} of the cases as {present.name} "
            f"({own.accuracy.low:.1%} to {own.accuracy.high:.1%}): who cannot do the task cannot "
            "tell formats apart"
        )
        return Choice(present.name, present.name, len(groups), n, arms, why)
    fit = [each for each in compared if each.state == "no worse" and each.saving > 0]
    if not fit:
        return Choice(present.name, present.name, len(groups), n, arms, _why_none(compared, n))
    # Of equals the first: whoever gives the arms knows which is the smaller change.
    best = min(fit, key=lambda each: each.tokens.estimate)
    why = (
        f"As {best.name} a case takes {best.saving:.1%} fewer tokens than as {present.name}, and "
        f"the model is right on {best.accuracy.estimate:.1%} of {len(groups)} cases, "
        f"{own.accuracy.estimate:.1%} before: "
        f"worse by {best.loss_bound:.1%} at most, margin {margin:.1%}"
    )
    return Choice(best.name, present.name, len(groups), n, arms, why)


def _why_none(compared: Sequence[Compared], n: int) -> str:
    cheaper = [each for each in compared if each.saving > 0]
    if not cheaper:
        return "Nothing takes fewer tokens than the present one"
    open_ = [each for each in cheaper if each.needed is not None]
    if not open_:
        return "What takes fewer tokens is worse by the margin or more, as far as it goes"
    first = min(open_, key=lambda each: (each.needed or 0, each.name))
    return (
        f"{n} cases do not show that a cheaper one is no worse; {first.needed} would for "
        f"{first.name}, if they go on like these"
    )


def _lead(present: Arm, other: Arm, groups: Sequence[str]) -> tuple[int, int]:
    """Groups that the other one wins, and that it loses."""
    return leads(zip(groups, present.right, other.right, strict=True))


def _own(present: Arm, groups: Sequence[str]) -> Compared:
    return Compared(
        name=present.name,
        tokens=_tokens(present, groups),
        accuracy=_accuracy(present, groups),
        saving=0.0,
        wins=0,
        losses=0,
        p=1.0,
        loss_bound=0.0,
        gain_bound=0.0,
        state="present",
        needed=0,
    )


def _compared(
    present: Arm,
    other: Arm,
    groups: Sequence[str],
    lead: tuple[int, int],
    p: float,
    limits: tuple[float, float, float],
) -> Compared:
    (wins, losses), (margin, alpha, share), n = lead, limits, len(set(groups))
    needed = 0 if p < alpha else cases_needed(n, wins, losses, margin, share)
    state: State = "no worse" if p < alpha else "worse" if needed is None else "not shown"
    was, now = sum(present.tokens), sum(other.tokens)
    return Compared(
        name=other.name,
        tokens=_tokens(other, groups),
        accuracy=_accuracy(other, groups),
        saving=1 - now / was if was else 0.0,
        wins=wins,
        losses=losses,
        p=p,
        loss_bound=loss_bound(n, wins, losses, share),
        gain_bound=loss_bound(n, losses, wins, share),
        state=state,
        needed=needed,
    )


def _tokens(arm: Arm, groups: Sequence[str]) -> Interval:
    return mean_of_sessions(np.asarray(arm.tokens, float), _codes(groups))


def _accuracy(arm: Arm, groups: Sequence[str]) -> Interval:
    codes, right = _codes(groups), np.asarray(arm.right, float)
    n: Floats = np.bincount(codes).astype(np.float64)
    yes: Floats = np.bincount(codes, right).astype(np.float64)
    sums = (n * n, n * yes, yes * yes)
    return share_of_sessions(
        len(right), int(right.sum()), len(n), *(float(one.sum()) for one in sums)
    )


def _codes(groups: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
