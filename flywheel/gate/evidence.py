"""What the holdout says of two judges: counts, paired tests, cards, apps.

Labelled items with both judges' probabilities in, `Evidence` out; the one idea is that everything
the gate decides by, and everything a person wants to see of it, is computed in one place from the
same rows. Nothing here decides.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flywheel import statistics
from flywheel.errors import BadInput
from flywheel.records import Interval
from flywheel.settings import GateSettings
from flywheel.statistics import Floats, JudgeCard

# The rarest item counts at most this many times the commonest, so that none decides alone.
MAX_WEIGHT = 20.0
# The smallest p-value of the bootstrap is 2 / (DRAWS + 1): fine enough for the first twelve looks.
DRAWS, SLICE_DRAWS = 10_000, 2_000


@dataclass(frozen=True, slots=True)
class GateItem:
    """A labelled trace of the holdout; `champion` and `challenger` are their probabilities."""

    trace_id: str
    session_id: str
    app: str
    truth: bool
    champion: float
    challenger: float
    is_audit: bool
    draw_probability: float | None


@dataclass(frozen=True, slots=True)
class Slice:
    """The two judges on one app; `harm_p` is None where too little differs to tell."""

    app: str
    n: int
    positives: int
    wins: int
    losses: int
    mcc_difference: Interval
    harm_p: float | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the holdout says; differences are challenger minus champion, `harm_p` after Holm.

    `wins` and `losses` count the sessions on which one judge is right more often than the other.
    """

    n: int
    positives: int
    audit_n: int
    audit_positives: int
    wins: int
    losses: int
    audit_wins: int
    audit_losses: int
    mcnemar_p: float
    mcc_difference: Interval
    mcc_p: float
    auc_difference: Interval
    champion_card: JudgeCard
    challenger_card: JudgeCard
    slices: tuple[Slice, ...]
    n_unknown_draw: int


def weigh_evidence(items: Sequence[GateItem], settings: GateSettings) -> Evidence:
    """Everything the gate decides by: counts, both judges' cards, paired tests, apps.

    Items of unknown draw probability count as little as the commonest. Raises BadInput on a trace
    that stands twice and on a probability out of its bounds.
    """
    _check(items)
    weight = draw_weights(items)
    truth, groups = [i.truth for i in items], [i.session_id for i in items]
    champion, challenger = [i.champion for i in items], [i.challenger for i in items]
    audit = [i for i in items if i.is_audit]
    wins, losses = _discordant(items)
    audit_wins, audit_losses = _discordant(audit)
    difference, draws = _mcc_difference(items, weight, DRAWS)
    return Evidence(
        n=len(items),
        positives=sum(truth),
        audit_n=len(audit),
        audit_positives=sum(i.truth for i in audit),
        wins=wins,
        losses=losses,
        audit_wins=audit_wins,
        audit_losses=audit_losses,
        mcnemar_p=statistics.mcnemar_exact(audit_wins, audit_losses),
        mcc_difference=difference,
        mcc_p=statistics.bootstrap_p(draws),
        auc_difference=statistics.auc_difference(
            truth, champion, challenger, groups, weight=weight.tolist()
        ),
        champion_card=statistics.judge_card(truth, champion, groups, weight=weight.tolist()),
        challenger_card=statistics.judge_card(truth, challenger, groups, weight=weight.tolist()),
        slices=_slices(items, weight, settings.min_discordant),
        n_unknown_draw=sum(i.draw_probability is None for i in items),
    )


def draw_weights(items: Sequence[GateItem]) -> Floats:
    """1 / draw probability of each item, capped at `MAX_WEIGHT` times the least."""
    inverse = [1 / i.draw_probability if i.draw_probability else math.nan for i in items]
    known = [w for w in inverse if not math.isnan(w)]
    least = min(known, default=1.0)
    return np.array([least if math.isnan(w) else min(w, MAX_WEIGHT * least) for w in inverse])


def _check(items: Iterable[GateItem]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.trace_id in seen:
            raise BadInput(f"trace {item.trace_id!r} stands twice among the gate's items")
        seen.add(item.trace_id)
        if not (0 <= item.champion <= 1 and 0 <= item.challenger <= 1):
            raise BadInput(f"trace {item.trace_id!r}: a judge's probability is not in [0, 1]")
        if item.draw_probability is not None and not 0 < item.draw_probability <= 1:
            raise BadInput(f"trace {item.trace_id!r}: its draw probability is not in (0, 1]")


def _discordant(items: Iterable[GateItem]) -> tuple[int, int]:
    """Sessions on which the challenger, and on which the champion, is right more often."""
    lead: defaultdict[str, int] = defaultdict(int)
    for item in items:
        challenger_right = (item.challenger >= 0.5) == item.truth
        champion_right = (item.champion >= 0.5) == item.truth
        lead[item.session_id] += challenger_right - champion_right
    return sum(x > 0 for x in lead.values()), sum(x < 0 for x in lead.values())


def _mcc_difference(
    items: Sequence[GateItem], weight: Floats, draws: int
) -> tuple[Interval, Floats]:
    return statistics.mcc_difference_draws(
        [i.truth for i in items],
        [i.champion >= 0.5 for i in items],
        [i.challenger >= 0.5 for i in items],
        [i.session_id for i in items],
        weight.tolist(),
        draws,
    )


def _slices(items: Sequence[GateItem], weight: Floats, min_discordant: int) -> tuple[Slice, ...]:
    found: list[Slice] = []
    for app in sorted({i.app for i in items}):
        rows = [k for k, item in enumerate(items) if item.app == app]
        inside = [items[k] for k in rows]
        wins, losses = _discordant(inside)
        audit_wins, audit_losses = _discordant(i for i in inside if i.is_audit)
        difference, draws = _mcc_difference(inside, weight[rows], SLICE_DRAWS)
        p = None
        if audit_wins + audit_losses >= min_discordant:
            p = statistics.mcnemar_exact(audit_losses, audit_wins, "greater")
        elif wins + losses >= min_discordant:
            p = statistics.bootstrap_p(draws, "less")
        positives = sum(i.truth for i in inside)
        found.append(Slice(app, len(inside), positives, wins, losses, difference, p))
    tested = [s.harm_p for s in found if s.harm_p is not None]
    adjusted = iter(statistics.holm(tested))
    return tuple(s if s.harm_p is None else replace(s, harm_p=next(adjusted)) for s in found)
