"""The gate on made-up holdouts: who passes, who is refused, and what a look costs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from flywheel.errors import BadInput, Refused
from flywheel.gate import (
    CaseList,
    Evidence,
    GateItem,
    GateMaterial,
    GateVerdict,
    alpha_of_look,
    decide,
    decide_gate,
    picture,
    verdicts_of,
    weigh_evidence,
)
from flywheel.gate.items import draw_weights
from flywheel.records import Interval
from flywheel.registry import alias_of, follow_verdict, promote, register, rollback, set_alias
from flywheel.settings import GateSettings
from flywheel.store import Project, Stores
from flywheel.store.tables import gate_verdicts

SETTINGS = GateSettings()


def holdout(champion: float, challenger: float, n: int = 600, seed: int = 1) -> list[GateItem]:
    """A holdout in sessions of two, a quarter errors, of judges with these shares right.

    Every trace is in the uniform audit with probability .1; every second one is in a targeted queue
    as well, and drawn with .4 in all, so that a quarter of those that were drawn are audit.
    """
    rng = np.random.default_rng(seed)

    def says(truth: bool, share_right: float) -> float:
        is_right = rng.random() < share_right
        return float(rng.uniform(0.5, 1) if truth == is_right else rng.uniform(0, 0.499))

    items = []
    for k in range(n):
        truth, drawn = bool(rng.random() < 0.25), 0.1 if k % 4 < 2 else 0.4
        items.append(
            GateItem(
                trace_id=f"t{k}",
                session_id=f"session-{k // 2}",
                app=("docs", "agent")[k % 2],
                truth=truth,
                champion=says(truth, champion),
                challenger=says(truth, challenger),
                is_audit=bool(rng.random() < 0.1 / drawn),
                draw_probability=drawn,
            )
        )
    return items


def items_of(
    outcomes: Iterable[tuple[bool, bool]], is_audit: bool = True, app: str = "docs"
) -> list[GateItem]:
    """Items, each its own session and half of them errors: (champion right, challenger right)."""
    return [
        GateItem(
            f"{app}-{k}",
            f"{app}-session-{k}",
            app,
            k % 2 == 0,
            0.9 if (k % 2 == 0) == first else 0.1,
            0.9 if (k % 2 == 0) == second else 0.1,
            is_audit,
            None,
        )
        for k, (first, second) in enumerate(outcomes)
    ]


def weighed(items: Sequence[GateItem], settings: GateSettings, *suites: CaseList) -> Evidence:
    return weigh_evidence(GateMaterial(items, suites), settings)


def look(
    stores: Stores, items: Sequence[GateItem], settings: GateSettings, *suites: CaseList
) -> GateVerdict:
    """The verdict on `new` against `old`."""
    return decide_gate(stores, "judge", "new", "old", GateMaterial(items, suites), settings)


@pytest.fixture
def registered(project: Project) -> Project:
    """A project with two judges, of which `old` is the champion."""
    for version in ("old", "new"):
        register(project.stores.ledger, "judge", version, {"kind": "lexical"}, None, None, "ada")
    set_alias(project.stores.ledger, "judge", "champion", "old", "ada", "cold start")
    return project


def _champion(project: Project) -> str | None:
    version = alias_of(project.stores.ledger, "judge", "champion")
    return version.version if version else None


def test_a_clearly_better_challenger_is_promoted_by_itself_and_rolled_back(registered: Project):
    ledger, auto = registered.stores.ledger, GateSettings(promotion="auto")
    verdict = look(registered.stores, holdout(0.8, 0.92), auto)
    assert verdict.passed
    assert verdict.rule == "mcnemar"
    follow_verdict(ledger, "judge", verdict, auto, "gate")
    assert _champion(registered) == "new"
    assert rollback(ledger, "judge", "ada").current == "old"
    assert _champion(registered) == "old"
    # The same look passes again, and does not overrule the person who rolled back.
    again = look(registered.stores, holdout(0.8, 0.92), auto)
    assert follow_verdict(ledger, "judge", again, auto, "gate") is None
    assert _champion(registered) == "old"


def test_a_better_challenger_waits_for_approval_by_default(registered: Project):
    ledger = registered.stores.ledger
    verdict = look(registered.stores, holdout(0.8, 0.92), SETTINGS)
    assert verdict.passed
    assert follow_verdict(ledger, "judge", verdict, SETTINGS, "gate") is None
    assert _champion(registered) == "old"
    promote(ledger, "judge", "new", "ada", "approved")
    assert _champion(registered) == "new"


def test_a_worse_challenger_is_refused_and_cannot_be_promoted(registered: Project):
    verdict = look(registered.stores, holdout(0.9, 0.8), SETTINGS)
    assert not verdict.passed
    assert "The challenger is worse in the mean." in verdict.why
    assert verdict.why[-1] == "Refused: the champion stays."
    with pytest.raises(Refused, match="the gate refused 'new' against 'old'"):
        promote(registered.stores.ledger, "judge", "new", "ada", "I like it")
    assert _champion(registered) == "old"


def test_an_equal_challenger_is_refused(registered: Project):
    verdict = look(registered.stores, holdout(0.85, 0.85), SETTINGS)
    assert not verdict.passed
    assert verdict.rule == "mcnemar"


def test_a_challenger_that_agrees_everywhere_is_thin_and_no_labels_can_be_named():
    same = [replace(item, challenger=item.champion) for item in holdout(0.85, 0.85, n=300)]
    verdict = decide(weighed(same, SETTINGS), SETTINGS)
    assert (verdict.passed, verdict.rule, verdict.labels_needed) == (False, "thin", None)
    assert verdict.why[-1] == (
        "Refused, the evidence is thin: 0 sessions on which the judges differ and at least 6 are "
        "needed; the two agree everywhere so far, so no number of labels can be named."
    )


def test_gate_refuses_when_evidence_is_thin_and_says_how_many_labels_are_missing():
    # 40 audit items, 20 of them errors, 4 discordant. Ten more errors at .5 a label are 20 labels,
    # two more discordant pairs at .1 a label are 20 labels as well.
    evidence = weighed(items_of([(False, True)] * 4 + [(True, True)] * 36), SETTINGS)
    verdict = decide(evidence, SETTINGS)
    assert (verdict.passed, verdict.rule, verdict.labels_needed) == (False, "thin", 20)
    assert verdict.why == (
        "The holdout has 40 labels, 20 of them perceived errors; 40 are of the uniform audit.",
        "Refused, the evidence is thin: 20 perceived errors and at least 30 are needed; "
        "at 50.0% of labels that is about 20 more in the holdout.",
        "Refused, the evidence is thin: 4 sessions on which the judges differ and at least 6 are "
        "needed; at 10.0% of labels that is about 20 more in the holdout.",
    )


def test_an_empty_holdout_is_thin_and_no_crash():
    verdict = decide(weighed([], SETTINGS), SETTINGS)
    assert (verdict.passed, verdict.rule, verdict.labels_needed) == (False, "thin", None)


def test_the_audit_decides_by_mcnemar_where_it_can_pass_at_all():
    # Seven against none: p = 2 / 128 = .0156, below the .0304 of the first look.
    seven = items_of([(False, True)] * 7 + [(True, True)] * 73)
    verdict = decide(weighed(seven, SETTINGS), SETTINGS, alpha_of_look(0.05, 1))
    assert (verdict.passed, verdict.rule) == (True, "mcnemar")
    assert "7 sessions and the champion in 0; exact McNemar p = 0.0156" in verdict.why[1]
    # Six against none could not pass there (2 / 64 = .0313), so the bootstrap decides.
    six = items_of([(False, True)] * 6 + [(True, True)] * 74)
    verdict = decide(weighed(six, SETTINGS), SETTINGS, alpha_of_look(0.05, 1))
    assert verdict.rule == "bootstrap"


def test_labels_that_no_audit_drew_are_decided_by_the_weighted_bootstrap():
    items = [replace(item, is_audit=False) for item in holdout(0.8, 0.92)]
    evidence = weighed(items, SETTINGS)
    verdict = decide(evidence, SETTINGS)
    assert (verdict.passed, verdict.rule) == (True, "bootstrap")
    assert evidence.difference.low > 0
    assert evidence.difference_p < 0.05


def test_a_lead_that_may_be_chance_says_how_many_labels_would_settle_it():
    # 14 against 7 in 160 audit items: z = 7 / sqrt(21) = 1.528, wanted 1.960 at .05, so that
    # 160 x (1.960 / 1.528)^2 - 160 = 103.4 more.
    outcomes = [(False, True)] * 14 + [(True, False)] * 7 + [(True, True)] * 139
    verdict = decide(weighed(items_of(outcomes), SETTINGS), SETTINGS)
    assert (verdict.passed, verdict.labels_needed) == (False, 104)
    assert verdict.why[-1] == (
        "Refused: if the lead holds, about 104 more labels in the holdout settle it."
    )


def test_a_challenger_that_harms_one_app_is_refused():
    # 40 won and none lost on one app; on the other 2 won and 12 lost: a fair coin does that or
    # worse with (1 + 14 + 91) / 2^14 = .0065, times two apps by Holm.
    better = items_of([(False, True)] * 40 + [(True, True)] * 60, app="docs")
    worse = [(False, True)] * 2 + [(True, False)] * 12 + [(True, True)] * 46
    evidence = weighed(better + items_of(worse, app="agent"), SETTINGS)
    agent, docs = evidence.slices
    assert agent.harm_p == pytest.approx(2 * 106 / 2**14)
    assert docs.harm_p == 1.0
    verdict = decide(evidence, SETTINGS)
    assert evidence.mcnemar_p < 0.001
    assert not verdict.passed
    assert "It is worse on app 'agent'" in verdict.why[-2]


def test_an_app_on_which_little_differs_is_shown_and_not_tested():
    few = items_of([(True, False)] * 3 + [(True, True)] * 20, app="agent")
    many = items_of([(False, True)] * 20 + [(True, True)] * 60, app="docs")
    agent = weighed(few + many, SETTINGS).slices[0]
    assert (agent.n, agent.wins, agent.losses, agent.harm_p) == (23, 0, 3, None)


def test_a_session_counts_once_for_the_side_that_is_right_more_often():
    items = items_of([(False, True), (False, True), (True, False), (True, False), (False, True)])
    sessions = ["a", "a", "a", "b", "c"]
    joined = [replace(i, session_id=s) for i, s in zip(items, sessions, strict=True)]
    evidence = weighed(joined, SETTINGS)
    assert (evidence.audit_wins, evidence.audit_losses) == (2, 1)


def test_weights_are_inverse_draw_probabilities_up_to_twenty_times_the_least():
    first, *_ = items_of([(True, True)])
    drawn = [0.5, 0.25, 0.001, None]
    items = [replace(first, draw_probability=p) for p in drawn]
    assert draw_weights(items).tolist() == [2.0, 4.0, 40.0, 2.0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"champion": 1.5}, "not in"),
        ({"challenger": math.nan}, "not in"),
        ({"draw_probability": 0.0}, "draw probability"),
        ({"trace_id": "docs-1"}, "stands twice"),
    ],
)
def test_items_that_cannot_be_are_named(change: dict[str, float], why: str):
    first, second = items_of([(True, True), (True, False)])
    with pytest.raises(BadInput, match=why):
        weighed([replace(first, **change), second], SETTINGS)


def test_all_looks_together_never_spend_more_than_alpha():
    spent = [alpha_of_look(0.05, look) for look in range(1, 2001)]
    assert spent[0] == pytest.approx(0.0304, abs=5e-5)
    assert 0.0499 < sum(spent) < 0.05


def test_the_same_look_is_one_look_and_a_new_label_is_another(project: Project):
    items = items_of([(False, True)] * 20 + [(True, True)] * 60)
    first = look(project.stores, items, SETTINGS)
    assert (first.looks, first.alpha_spent) == (1, pytest.approx(alpha_of_look(0.05, 1)))
    shuffled: Sequence[GateItem] = items[::-1]
    assert look(project.stores, shuffled, SETTINGS) == first
    more = items_of([(False, True)] * 20 + [(True, True)] * 61)
    second = look(project.stores, more, SETTINGS)
    assert second.looks == 2
    assert second.alpha == pytest.approx(alpha_of_look(0.05, 2))
    assert second.alpha_spent == pytest.approx(first.alpha + second.alpha)
    with project.stores.ledger.begin() as ledger:
        assert verdicts_of(ledger, "judge") == [first, second]
        assert verdicts_of(ledger, "app") == []


def test_thin_evidence_is_stored_and_spends_nothing(project: Project):
    thin = items_of([(False, True)] * 4 + [(True, True)] * 10)
    verdict = look(project.stores, thin, SETTINGS)
    assert (verdict.passed, verdict.looks, verdict.alpha_spent) == (False, 0, 0.0)
    with project.stores.ledger.begin() as ledger:
        assert ledger.execute(sa.select(sa.func.count()).select_from(gate_verdicts)).scalar() == 1


def test_a_champion_cannot_challenge_itself(project: Project):
    with pytest.raises(BadInput, match="is the champion of judge already"):
        decide_gate(project.stores, "judge", "old", "old", GateMaterial([]), SETTINGS)


def test_the_mcc_difference_may_not_be_below_zero_whatever_the_test_says():
    evidence = weighed(items_of([(False, True)] * 20 + [(True, True)] * 60), SETTINGS)
    worse: Evidence = replace(evidence, difference=Interval(-0.01, -0.05, 0.03))
    assert decide(evidence, SETTINGS).passed
    assert not decide(worse, SETTINGS).passed


def test_the_picture_is_a_png_and_the_same_every_time():
    items = holdout(0.8, 0.92, n=100)
    page = picture(items)
    assert page.startswith(b"\x89PNG")
    assert page == picture(items)
    with pytest.raises(BadInput, match="no curve to draw"):
        picture([replace(item, truth=False) for item in items])
