"""Suites and slices: what breaks, what is thin and by how much, and how often the rule errs."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from scipy import stats

from flywheel.gate import (
    CaseList,
    GateItem,
    GateMaterial,
    alpha_of_look,
    decide,
    decide_gate,
    verdicts_of,
    weigh_evidence,
)
from flywheel.gate import SuiteCase as Case
from flywheel.gate.suites import weigh_suite
from flywheel.settings import GateSettings
from flywheel.statistics.paired import (
    cases_needed,
    least_cases,
    loss_bound,
    noninferiority_p,
    success_difference_draws,
)
from flywheel.store import Project
from flywheel.store.ledger import now
from flywheel.store.tables import gate_verdicts
from tests.gating import World, cases, decided, draw, promoted
from tests.test_gate import items_of

SETTINGS = GateSettings()
ALPHA = alpha_of_look(SETTINGS.alpha, 1)
# Twenty sessions won, none lost: the primary test passes, p = 2 / 2^20.
BETTER = items_of([(False, True)] * 20 + [(True, True)] * 60)


def verdict_on(items: Sequence[GateItem], *suites: CaseList):
    return decide(weigh_evidence(GateMaterial(items, suites), SETTINGS), SETTINGS, ALPHA)


# The bound


def test_fifty_nine_clean_cases_bound_a_loss_below_five_points() -> None:
    # .95^59 = .0485, .95^58 = .0510.
    assert least_cases(0.05, 0.05) == 59
    assert float(noninferiority_p(59, 0, 0, 0.05)) == pytest.approx(0.95**59)
    # 1 - .05^(1/59) = .0495.
    assert loss_bound(59, 0, 0, 0.05) == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-6)


def test_the_bound_with_losses_and_wins_is_the_score_test_of_tango() -> None:
    # 300 cases, 12 lost, 6 won, margin .05: b = (600 - 12 + 6) .05 - 18 = 11.7 and
    # c = -6 * .05 * .95 = -.285, so that q = (sqrt(11.7^2 + 8 * 300 * .285) - 11.7) / 1200 =
    # (28.644 - 11.7) / 1200 = .01412, and z = (6 - 15) / sqrt(300 (2 * .01412 + .0475)) = -1.8885.
    assert float(noninferiority_p(300, 6, 12, 0.05)) == pytest.approx(0.02948, abs=2e-4)


@pytest.mark.parametrize("n", [60, 150, 300])
def test_a_loss_of_the_margin_passes_as_non_inferior_with_chance_alpha_at_most(n: int) -> None:
    """By summing over every outcome, whatever share is won."""
    wins, losses = (x.ravel() for x in np.indices((n + 1, n + 1)))
    there = wins + losses <= n
    wins, losses = wins[there], losses[there]
    passes = noninferiority_p(n, wins, losses, 0.05) < 0.05
    outcomes = np.stack([wins, losses, n - wins - losses], axis=1)[passes]
    for won in (0.0, 0.01, 0.05, 0.2, 0.4):
        chances = [won, won + 0.05, 0.95 - 2 * won]
        # The normal curve may add a twentieth to it.
        assert stats.multinomial.pmf(outcomes, n, chances).sum() < 0.0525


def test_how_many_cases_it_takes_follows_from_the_present_rates() -> None:
    needed = cases_needed(100, 1, 3, 0.05, 0.05)
    assert needed is not None
    assert float(noninferiority_p(needed, 0.01 * needed, 0.03 * needed, 0.05)) < 0.05
    assert float(noninferiority_p(needed - 8, 0.01 * needed, 0.03 * needed, 0.05)) >= 0.05
    # Five lost of a hundred are the margin itself: no number of the like shows that it is less.
    assert cases_needed(100, 0, 5, 0.05, 0.05) is None


def test_the_success_difference_is_weighted_and_drawn_by_group() -> None:
    # Weights 1, 1, 2: (1 - 0 + 0) / 4 with the first gained and the third lost is (1 - 2) / 4.
    found, draws = success_difference_draws(
        [False, True, True], [True, True, False], ["a", "b", "c"], [1, 1, 2], 500
    )
    assert found.estimate == pytest.approx(-0.25)
    assert draws.shape == (500,)
    assert draws.min() == pytest.approx(-1.0)
    assert draws.max() == pytest.approx(1.0)


# What a suite is


def test_a_suite_without_a_case_is_named_and_refuses_nobody() -> None:
    verdict = verdict_on(BETTER, cases("regression", 0, 0, 0, is_closed=True))
    assert verdict.passed
    (suite,) = verdict.suites
    assert (suite.state, suite.n, suite.needed) == ("absent", 0, 0)
    said = "Suite regression: not there, no case yet. More cases make it."
    assert said in verdict.why


def test_a_thin_suite_refuses_with_the_number_of_cases_and_spends_nothing() -> None:
    verdict = verdict_on(BETTER, cases("general", 20, 0, 0))
    assert (verdict.passed, verdict.rule, verdict.alpha) == (False, "thin", 0.0)
    # 59 clean cases are needed, and 20 are there.
    assert verdict.labels_needed == 39
    assert "refused, the evidence is thin: about 39 more cases" in verdict.why[-1]
    assert verdict_on(BETTER, cases("general", 59, 0, 0)).passed


def test_each_loss_on_a_suite_takes_more_cases() -> None:
    (suite,) = verdict_on(BETTER, cases("general", 100, 1, 3)).suites
    assert (suite.state, suite.needed) == ("thin", 83)


def test_a_regression_suite_that_breaks_refuses_a_challenger_that_is_better() -> None:
    verdict = verdict_on(BETTER, cases("regression", 100, 0, 8, is_closed=True))
    assert not verdict.passed
    # It looked, and that is spent.
    assert verdict.alpha == ALPHA
    assert verdict.why[-2] == (
        "Suite regression: right on 92.0% of 100 cases, the champion on 100.0%; 8 lost, 0 won, "
        "worse by 14.0% at most; refused, that is not below 5.0%."
    )


def test_a_short_closed_list_holds_unless_more_is_lost_than_won() -> None:
    """Nothing more can be added to it, so that no challenger waits for that."""
    for n, wins, losses, state in ((1, 0, 0, "held"), (12, 1, 1, "held"), (12, 0, 1, "broken")):
        found = weigh_suite(cases("regression", n, wins, losses, is_closed=True), 0.05, 0.05)
        assert found.state == state
    assert verdict_on(BETTER, cases("regression", 12, 0, 0, is_closed=True)).passed
    assert not verdict_on(BETTER, cases("regression", 12, 0, 1, is_closed=True)).passed


def test_a_group_counts_once_in_a_suite() -> None:
    many = CaseList("general", tuple(Case(f"c{k}", "one", True, k > 0) for k in range(80)), "More.")
    found = weigh_suite(many, 0.05, 0.05)
    assert (found.n, found.wins, found.losses, found.state) == (1, 0, 1, "broken")


def test_malformed_replies_refuse_as_any_suite_does() -> None:
    verdict = verdict_on(BETTER, cases("malformed", 80, 0, 9))
    assert not verdict.passed
    assert "Suite malformed: right on 88.8% of 80 cases" in verdict.why[-2]


# Slices


def sliced(outcomes: Sequence[tuple[bool, bool]], **of: object) -> list[GateItem]:
    code = str(of.get("reason_code", of.get("app", "docs")))
    return [
        replace(item, trace_id=f"{code}-{k}", session_id=f"{code}-{k}", **of)
        for k, item in enumerate(items_of(outcomes))
    ]


def test_a_slice_that_breaks_refuses_after_holm_and_not_before() -> None:
    # Six lost and none won by one reason code: 1 / 2^6 = .0156 alone. Over four codes Holm makes
    # .0625 of it, which refuses nobody; nine lost are 4 / 2^9 = .0078, which refuse.
    won, same = [(False, True)] * 12, [(True, True)] * 30
    good = [
        item
        for code in ("rejection", "positive", "none")
        for item in sliced([*won, *same], reason_code=code)
    ]
    lost = [(True, False)]
    six = weigh_evidence(
        GateMaterial(good + sliced(lost * 6 + same, reason_code="correction")), SETTINGS
    )
    assert [s.name for s in six.slices] == ["correction", "none", "positive", "rejection"]
    assert six.slices[0].harm_p == pytest.approx(4 / 2**6)
    assert decide(six, SETTINGS).passed
    nine = weigh_evidence(
        GateMaterial(good + sliced(lost * 9 + same, reason_code="correction")), SETTINGS
    )
    assert nine.slices[0].harm_p == pytest.approx(4 / 2**9)
    verdict = decide(nine, SETTINGS)
    assert not verdict.passed
    assert "It is worse on reason code 'correction'" in verdict.why[-2]
    assert "after Holm over 4 slices" in verdict.why[-2]


def test_holm_is_over_all_kinds_of_slices_together() -> None:
    outcomes = [(False, True)] * 10 + [(True, False)] * 6 + [(True, True)] * 20
    two = [
        replace(item, app=app, language=language, trace_id=f"{app}-{item.trace_id}")
        for app, language in (("docs", "en"), ("agent", "de"))
        for item in items_of(outcomes, app=app)
    ]
    found = weigh_evidence(GateMaterial(two), SETTINGS).slices
    assert [(s.kind, s.name) for s in found] == [
        ("app", "agent"),
        ("app", "docs"),
        ("language", "de"),
        ("language", "en"),
    ]


def test_lengths_are_thirds_and_rare_languages_one_slice() -> None:
    items = [
        replace(item, n_chars=100 + k, language="en" if k < 40 else ("fr", "da")[k % 2])
        for k, item in enumerate(items_of([(True, True)] * 45))
    ]
    found = weigh_evidence(GateMaterial(items), SETTINGS).slices
    assert [(s.name, s.n) for s in found if s.kind == "language"] == [("en", 40), ("other", 5)]
    assert [(s.name, s.n) for s in found if s.kind == "length"] == [
        ("up to 114 characters", 15),
        ("115 to 129 characters", 15),
        ("over 129", 15),
    ]


# The rule as a whole


def test_labels_drawn_by_the_champions_doubts_enter_weighted_whatever_is_measured() -> None:
    # 40 audit items, drawn with .1, on which the challenger wins 4 and loses 8; 160 that the
    # champion doubted, drawn with .5, on which it wins 40 and loses 8. Unweighted that is
    # (44 - 16) / 200 = .14; weighted 10 * -4 + 2 * 32 = 24 of 10 * 40 + 2 * 160 = 720.
    def some(n: int, wins: int, losses: int, p: float, name: str) -> list[GateItem]:
        outcomes = [(False, True)] * wins + [(True, False)] * losses
        outcomes += [(True, True)] * (n - wins - losses)
        made = items_of(outcomes, p == 0.1, name)
        return [
            replace(i, truth=True, champion=float(a), challenger=float(b), draw_probability=p)
            for i, (a, b) in zip(made, outcomes, strict=True)
        ]

    items = some(40, 4, 8, 0.1, "audit") + some(160, 40, 8, 0.5, "doubted")
    evidence = weigh_evidence(GateMaterial(items, measure="success"), SETTINGS)
    assert evidence.difference.estimate == pytest.approx(24 / 720)
    assert evidence.champion_card.rates["success"].estimate == pytest.approx(
        (10 * 36 + 2 * 120) / 720
    )
    # Twelve sessions of the audit differ, four won: p = .388, so that it is refused.
    verdict = decide(evidence, SETTINGS, ALPHA)
    assert (verdict.passed, verdict.rule, verdict.measure) == (False, "mcnemar", "success")
    assert verdict.why[0] == "The holdout has 200 corrections; 40 are of the uniform audit."


def test_who_says_nothing_is_wrong() -> None:
    items = [replace(item, challenger=None) for item in items_of([(True, True)] * 40)]
    evidence = weigh_evidence(GateMaterial(items), SETTINGS)
    assert (evidence.wins, evidence.losses) == (0, 40)
    assert (evidence.champion_card.n, evidence.challenger_card.n) == (40, 0)
    assert not decide(evidence, SETTINGS).passed


SEEDS = 4_000


@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(holdout=(0.03, 0.03)),
        World(n=1000, holdout=(0.1, 0.1)),
        # Far better on the holdout, and exactly by the margin worse on what it should still know.
        World(holdout=(0.15, 0.03), general=(0.02, 0.07)),
        World(holdout=(0.15, 0.03), n_regression=300, regression=(0.0, 0.05)),
    ],
)
def test_what_is_no_better_or_breaks_a_suite_is_promoted_less_often_than_alpha(
    world: World,
) -> None:
    rate = promoted(draw(world, SEEDS), SETTINGS, ALPHA).mean()
    # Two standard errors of 4,000 draws at .05 are .007.
    assert rate < SETTINGS.alpha + 0.007


def test_what_is_better_and_harms_nobody_is_promoted_and_what_harms_a_slice_is_not() -> None:
    # Ten points better on 400 labels, with room on the suites: found in nine of ten.
    good = World(holdout=(0.14, 0.04), general=(0.01, 0.01), regression=(0.0, 0.0))
    assert promoted(draw(good, 1_000), SETTINGS, ALPHA).mean() > 0.9
    # As good in the mean, and a quarter of all worse by 14 points.
    harmful = replace(good, holdout=(0.2, 0.02), slice_=(0.02, 0.16))
    assert promoted(draw(harmful, 1_000), SETTINGS, ALPHA).mean() < 0.2


@pytest.mark.parametrize("holdout", [(0.06, 0.06), (0.14, 0.04)])
def test_the_rule_in_arrays_is_the_rule(holdout: tuple[float, float]) -> None:
    drawn = draw(World(holdout=holdout, regression=(0.0, 0.002)), 30)
    found = promoted(drawn, SETTINGS, ALPHA)
    assert [decided(drawn, k, SETTINGS, ALPHA).passed for k in range(30)] == found.tolist()


# What is stored


def test_a_verdict_is_read_back_with_its_suites_and_slices(project: Project) -> None:
    both = [*BETTER, *sliced([(True, True)] * 9, app="agent")]
    material = GateMaterial(
        both, (cases("general", 80, 1, 0),), left_out={"learnt": 2}, notes=("No languages.",)
    )
    verdict = decide_gate(project.stores, "judge", "new", "old", material, SETTINGS)
    assert verdict.left_out == {"learnt": 2}
    assert "2 more are left out: learnt." in verdict.why
    assert "No languages." in verdict.why
    with project.stores.ledger.begin() as ledger:
        assert verdicts_of(ledger, "judge") == [verdict]
    # Other cases are another look.
    other = replace(material, suites=(cases("general", 81, 1, 0),))
    assert decide_gate(project.stores, "judge", "new", "old", other, SETTINGS).looks == 2


def test_a_verdict_from_before_there_were_suites_is_read(project: Project) -> None:
    interval = {"estimate": 0.1, "low": None, "high": 0.2}
    counts = {"n": 9, "positives": 3, "wins": 2, "losses": 1, "harm_p": None}
    old = {"rule": "bootstrap", "labels_needed": 0, "looks": 1, "alpha_spent": 0.03}
    old["slices"] = [{"app": "docs", "mcc_difference": interval} | counts]
    row = {"target": "judge", "challenger": "b", "champion": "a", "passed": True, "why": "It won."}
    row |= {"evidence": json.dumps(old), "alpha_spent": 0.03, "look_key": "k", "decided_at": now()}
    with project.stores.ledger.begin() as ledger:
        ledger.execute(sa.insert(gate_verdicts).values(row))
        (verdict,) = verdicts_of(ledger, "judge")
    assert (verdict.passed, verdict.suites, verdict.measure) == (True, (), "mcc")
    assert (verdict.slices[0].title, verdict.slices[0].difference.estimate) == ("app 'docs'", 0.1)
