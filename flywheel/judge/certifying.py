"""Certified thresholds: labels in, a cascade out, with what it holds and why a tier is not in it.

For each tier and side a fixed grid of thresholds is walked from the most confident down, and the
walk stops where the lower Clopper-Pearson bound of the agreement with people falls under the target
(fixed-sequence testing; Angelopoulos et al., Learn then Test, 2110.01052). The one idea is that the
walk is a sequence named before a label is looked at, so that its last step is as certain as its
first; a threshold that is chosen because it looks best is not. A later tier is certified on labels
that the one before has been through: what the first leaves is settled by its scores but for where
its walk stopped, which only leaves the later tier more disagreement than is fair.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np

from flywheel.judge.cascade import Cascade, Thresholds
from flywheel.judge.conformal import conformal_rule
from flywheel.judge.people import Bools, People, amounts_to, kish, session_icc
from flywheel.judge.reactions import Floats
from flywheel.records import Tier
from flywheel.statistics import clopper_pearson

Side = Literal["error", "fine"]

# Of alpha (Bonferroni, unequal): the first tier, the best fitted one, a generative one, which costs
# most and reads least. What a tier has no use for goes to the next; a tier shares its part evenly
# between the sides that it walks.
ALPHA_SHARES = (0.4, 0.4, 0.2)
# Thresholds of `fine`, from the most confident down; those of `error` are their mirror.
GRID = tuple(float(x) for x in np.round(np.arange(0.005, 0.5, 0.005), 3))
_MOST_LABELS = 100_000


@dataclass(frozen=True, slots=True)
class Goal:
    """What a decided side must agree with people, and the chance that one does not after all."""

    target: float = 0.9
    alpha: float = 0.05


DEFAULT_GOAL = Goal()


@dataclass(frozen=True, slots=True)
class Certification:
    """What labels certify: `cascade` is None where no tier decides anything.

    `tried` has every tier, also one that is `left_out`, and why.
    """

    cascade: Cascade | None
    tried: Mapping[Tier, Thresholds]
    left_out: Mapping[Tier, str]

    def as_dict(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {
            "is_certified": self.cascade is not None,
            "tiers": {tier: asdict(one) for tier, one in self.tried.items()},
            "left_out": dict(self.left_out),
        }


def certify(tiers: Mapping[Tier, Floats], people: People, goal: Goal) -> Certification:
    """Certify the tiers in their order, each on what those before it leave undecided.

    A value of `tiers` has shape (n,), calibrated, NaN where the tier has learnt from the trace. A
    tier that agrees less on what it would decide than the tier before is left out, and one that
    decides nothing as well, unless its probabilities of what is left are the better ones.
    """
    left = np.ones(len(people), bool)
    kept: dict[Tier, Thresholds] = {}
    tried: dict[Tier, Thresholds] = {}
    left_out: dict[Tier, str] = {}
    before: Floats | None = None
    unused = 0.0
    for (tier, probability), share in zip(tiers.items(), ALPHA_SHARES, strict=False):
        rows = left & ~np.isnan(probability)
        found, spent = certify_tier(
            tier, probability[rows], people.take(rows), goal.target, goal.alpha * share + unused
        )
        unused = 0.0 if spent else goal.alpha * share + unused
        decided = left & found.decides(probability)
        found = replace(found, share=_share(people.weight, decided))
        tried[tier] = found
        if found.is_empty and _knows_more(probability, before, people, rows):
            kept[tier] = found
            continue
        why = _why_left_out(found, probability, before, decided, people)
        if why:
            left_out[tier] = why
            continue
        kept[tier], before = found, probability
        left &= ~decided
    cascade = Cascade(kept, goal.target, goal.alpha)
    return Certification(None if cascade.is_empty else cascade, tried, left_out)


def certify_tier(
    tier: Tier, probability: Floats, people: People, target: float, alpha: float
) -> tuple[Thresholds, bool]:
    """The thresholds of one tier on the traces that it is asked about, and whether it was tested.

    A side is walked where it has labels enough to pass at all, and the tier's own probabilities
    promise the target where the walk starts; neither looks at what people said.
    """
    starts = {side: _start(side, probability, people, target, alpha / 2) for side in _SIDES}
    walked = [side for side, start in starts.items() if isinstance(start, int)]
    alone = alpha / max(1, len(walked))
    sides = {side: _Side() for side in _SIDES}
    for side, start in starts.items():
        if isinstance(start, str):
            sides[side] = _Side(why=f"{side}: {start}")
        else:
            start = _start(side, probability, people, target, alone)
            assert isinstance(start, int)
            sides[side] = _walk(side, probability, people, target, alone, start)
    error, fine = sides["error"], sides["fine"]
    rule = conformal_rule(probability, people, 1 - target)
    found = Thresholds(
        tier,
        error.threshold,
        fine.threshold,
        target,
        len(people),
        error.low,
        fine.low,
        error.n,
        fine.n,
        why="; ".join(side.why for side in sides.values() if side.why),
        set_error_from=1 - rule.strangest_error,
        set_fine_to=rule.strangest_fine,
    )
    return found, bool(walked)


_SIDES: tuple[Side, Side] = ("error", "fine")


@dataclass(frozen=True, slots=True)
class _Side:
    """How far one side was walked; `why` says why no further than nothing."""

    threshold: float | None = None
    low: float | None = None
    n: int = 0
    why: str = ""


def _cells(side: Side, probability: Floats) -> list[tuple[float, Bools]]:
    """The thresholds of a side in the order of the walk, each with what it would decide."""
    if side == "fine":
        return [(t, probability <= t) for t in GRID]
    mirrored = [round(1 - t, 3) for t in GRID]
    return [(t, probability >= t) for t in mirrored]


def _start(
    side: Side, probability: Floats, people: People, target: float, alpha: float
) -> int | str:
    """Index of the cell at which to start; a sentence where the side is not worth walking.

    It holds as many as pass at an agreement half way from the target to 1; where that is more than
    half of the side, half, and never fewer than pass where all agree.
    """
    cells = _cells(side, probability)
    sizes = [kish(people.weight[cell]) for _, cell in cells]
    least = smallest_n(target, alpha, 1.0)
    if sizes[-1] < least:
        more = _more(len(people), least / max(sizes[-1], 1.0))
        return f"{sizes[-1]:.0f} labels, and {least} would have to agree{more}"
    wanted = min(smallest_n(target, alpha, (1 + target) / 2), max(least, sizes[-1] / 2))
    start = next(i for i, size in enumerate(sizes) if size >= wanted)
    sure = probability if side == "error" else 1 - probability
    inside = cells[start][1]
    promised = float(np.average(sure[inside], weights=people.weight[inside]))
    if promised < target:
        return f"its own probabilities promise {promised:.2f} on the {inside.sum()} surest"
    return start


def _walk(
    side: Side, probability: Floats, people: People, target: float, alpha: float, start: int
) -> _Side:
    """The last threshold of the walk that holds, with its lower bound."""
    agrees = people.truth if side == "error" else ~people.truth
    is_side = (probability >= 0.5) == (side == "error")
    overall = session_icc(agrees[is_side], people.groups[is_side])
    reached = _Side()
    for threshold, inside in _cells(side, probability)[start:]:
        share, n = amounts_to(agrees[inside], people.take(inside), overall)
        low = clopper_pearson(share * n, n, 2 * alpha).low
        if low < target:
            break
        reached = _Side(threshold, low, int(inside.sum()))
    if reached.threshold is None:
        more = _more(len(people), smallest_n(target, alpha, round(share, 3)) / n)
        agreed = f"{share:.3f} agree of the {inside.sum()} surest, at least {low:.3f}"
        return _Side(why=f"{side}: {agreed}{more if share > target else ''}")
    return reached


def _more(n: int, times: float) -> str:
    """How many labels would do, where `times` as many of each kind do."""
    return f"; {max(1, int(np.ceil(n * (times - 1))))} more labels would do at this agreement"


@cache
def smallest_n(target: float, alpha: float, agreement: float) -> int:
    """The fewest labels whose lower bound reaches the target at this agreement; 29 for .9 at .05
    where all agree. `_MOST_LABELS` where none do."""
    low, high = 1, _MOST_LABELS
    while low < high:
        middle = (low + high) // 2
        if clopper_pearson(agreement * middle, middle, 2 * alpha).low >= target:
            high = middle
        else:
            low = middle + 1
    return low


def _share(weight: Floats, rows: Bools) -> float:
    return float(weight[rows].sum() / weight.sum()) if len(weight) else 0.0


def _knows_more(probability: Floats, before: Floats | None, people: People, rows: Bools) -> bool:
    """Whether the log loss on what is left is below that of the tier before."""
    if before is None or not rows.any():
        return False
    truth, weight = people.truth[rows], people.weight[rows]
    of_this, of_before = (
        float(np.average(-np.log(np.clip(np.where(truth, p, 1 - p), 1e-6, 1)), weights=weight))
        for p in (probability[rows], before[rows])
    )
    return of_this < of_before


def _why_left_out(
    found: Thresholds,
    probability: Floats,
    before: Floats | None,
    decided: Bools,
    people: People,
) -> str:
    if found.is_empty:
        return found.why
    if before is None:
        return ""
    truth, weight = people.truth[decided], people.weight[decided]
    agreement, earlier = (
        float(np.average((p[decided] >= 0.5) == truth, weights=weight))
        for p in (probability, before)
    )
    if agreement < earlier:
        return (
            f"it agrees on {agreement:.3f} of what it would decide, the tier before {earlier:.3f}"
        )
    return ""
