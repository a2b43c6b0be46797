"""What the holdout says of two sides: counts, paired tests, cards, slices, and what suites show.

Held-out items with what both made of them in, `Evidence` out; the one idea is that everything the
gate decides by, and everything a person wants to see of it, is computed in one place from the same
rows. Nothing here decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from flywheel import statistics
from flywheel.gate.items import GateItem, check_items, discordant, draw_weights
from flywheel.gate.slices import Slice, slices_of
from flywheel.gate.suites import CaseList, Suite, weigh_suite
from flywheel.records import Interval
from flywheel.settings import GateSettings
from flywheel.statistics import Floats, JudgeCard
from flywheel.statistics.paired import success_difference_draws

# The smallest p-value of the bootstrap is 2 / (DRAWS + 1): fine enough for the first twelve looks.
DRAWS = 10_000

# By what two sides differ: judges by the Matthews correlation of their verdicts with labels, the
# models of an application by the share of replies that succeed.
Measure = Literal["mcc", "success"]


@dataclass(frozen=True, slots=True)
class GateMaterial:
    """All that one look is at: the items of the holdout, and the cases of the suites.

    `left_out` counts items that were not compared, by why; `notes` say what was not looked at.
    """

    items: Sequence[GateItem]
    suites: tuple[CaseList, ...] = ()
    measure: Measure = "mcc"
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the holdout says; differences are challenger minus champion, `harm_p` after Holm.

    `wins` and `losses` count the sessions on which one side is right more often than the other.
    `difference` is that of the `measure`, `auc_difference` None where nothing is ranked.
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
    difference: Interval
    difference_p: float
    auc_difference: Interval | None
    champion_card: JudgeCard
    challenger_card: JudgeCard
    slices: tuple[Slice, ...]
    n_unknown_draw: int
    measure: Measure = "mcc"
    suites: tuple[Suite, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def weigh_evidence(material: GateMaterial, settings: GateSettings) -> Evidence:
    """Everything the gate decides by: counts, both cards, paired tests, slices and suites.

    Items of unknown draw probability count as little as the commonest. Raises BadInput on a trace
    that stands twice and on a probability out of its bounds.
    """
    items = material.items
    check_items(items)
    weight = draw_weights(items)
    audit = [i for i in items if i.is_audit]
    wins, losses = discordant(items)
    audit_wins, audit_losses = discordant(audit)
    difference, draws = _difference(material, weight)
    return Evidence(
        n=len(items),
        positives=sum(i.truth for i in items),
        audit_n=len(audit),
        audit_positives=sum(i.truth for i in audit),
        wins=wins,
        losses=losses,
        audit_wins=audit_wins,
        audit_losses=audit_losses,
        mcnemar_p=statistics.mcnemar_exact(audit_wins, audit_losses),
        difference=difference,
        difference_p=statistics.bootstrap_p(draws),
        auc_difference=_auc_difference(material, weight),
        champion_card=_card(material, [i.champion for i in items], weight),
        challenger_card=_card(material, [i.challenger for i in items], weight),
        slices=slices_of(items, weight, settings.min_discordant),
        n_unknown_draw=sum(i.draw_probability is None for i in items),
        measure=material.measure,
        suites=tuple(weigh_suite(s, settings.margin, settings.alpha) for s in material.suites),
        left_out=dict(material.left_out),
        notes=material.notes,
    )


def _difference(material: GateMaterial, weight: Floats) -> tuple[Interval, Floats]:
    """The difference of the measure and its draws, weighted and by session."""
    items = material.items
    groups = [i.session_id for i in items]
    if material.measure == "success":
        first, second = [i.champion_right for i in items], [i.challenger_right for i in items]
        return success_difference_draws(first, second, groups, weight.tolist(), DRAWS)
    # Who says nothing is counted as if it had said the wrong thing.
    return statistics.mcc_difference_draws(
        [i.truth for i in items],
        [i.truth == i.champion_right for i in items],
        [i.truth == i.challenger_right for i in items],
        groups,
        weight.tolist(),
        DRAWS,
    )


def _auc_difference(material: GateMaterial, weight: Floats) -> Interval | None:
    if material.measure != "mcc":
        return None
    both = [
        (i, w, i.champion, i.challenger)
        for i, w in zip(material.items, weight.tolist(), strict=True)
        if i.champion is not None and i.challenger is not None
    ]
    return statistics.auc_difference(
        [i.truth for i, *_ in both],
        [champion for *_, champion, _ in both],
        [challenger for *_, challenger in both],
        [i.session_id for i, *_ in both],
        weight=[w for _, w, *_ in both],
    )


def _card(material: GateMaterial, found: Sequence[float | None], weight: Floats) -> JudgeCard:
    """The card of one side, on the items that it said something of."""
    rows = [
        (i, p, w)
        for i, p, w in zip(material.items, found, weight.tolist(), strict=True)
        if p is not None
    ]
    groups = [i.session_id for i, *_ in rows]
    weights = [w for *_, w in rows]
    if material.measure == "success":
        right = np.array([p >= 0.5 for _, p, _ in rows], float)
        w = np.array(weights)
        share = statistics.cluster_bootstrap(
            lambda k: float(np.average(right[k], weights=w[k])), groups, 1000
        )
        return JudgeCard(len(rows), len(rows), {"success": share})
    truth = [i.truth for i, *_ in rows]
    return statistics.judge_card(truth, [p for _, p, _ in rows], groups, weight=weights)
