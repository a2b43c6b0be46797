"""How far reviewers agree: published examples, intervals that cover, and what is unknown."""

from datetime import datetime

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from flywheel.quality.agreement import (
    MISSING,
    agreement_with_others,
    cohen_kappa,
    krippendorff_alpha,
    measure_agreement,
)
from flywheel.quality.answers import measure_answers, shared_answers
from flywheel.quality.resampling import draws_by_session
from flywheel.review import adjudicate, decide, undo
from flywheel.statistics import cluster_bootstrap
from flywheel.store.ledger import Ledger
from tests.judged import said

ONE_EACH = [f"s{number}" for number in range(10_000)]


def two_people(both: int, first: int, second: int, neither: int) -> np.ndarray:
    """Answers of two people: so many items that both, one of them or neither called an error."""
    kinds = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    return np.array(kinds, np.int64)


def test_alpha_of_four_observers_is_krippendorffs_own() -> None:
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: .743.
    m = MISSING
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, m, m, m],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, m, 3],
        [m, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, m],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, m],
    ]
    assert krippendorff_alpha(np.array(observers).T) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_two_observers_is_krippendorffs_own() -> None:
    # The same source, section A: ten articles, two observers, binary: .095.
    meg, owen = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert krippendorff_alpha(np.array([meg, owen]).T) == pytest.approx(0.095, abs=5e-4)


def test_kappa_is_what_is_reached_of_what_chance_leaves() -> None:
    # 35 of 50 the same: .7. The first says yes 25 times, the second 30: by chance .5 * .6 + .5 * .4
    # = .5. (.7 - .5) / (1 - .5) = .4.
    first, second = two_people(20, 5, 10, 15).T
    assert cohen_kappa(first, second) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, 60)
    second = np.where(rng.random(60) < 0.6, first, rng.integers(0, 4, 60))
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_two_people_get_kappa_and_more_get_alpha() -> None:
    two = two_people(20, 5, 10, 15)
    measured = measure_agreement("perceived_error", two, ONE_EACH[:50])
    assert (measured.measure, measured.n_items, measured.n_reviewers) == ("Cohen's kappa", 50, 2)
    assert measured.beyond_chance is not None
    assert measured.beyond_chance.estimate == pytest.approx(0.4)
    three = np.column_stack([two, two[:, 0]])
    measured = measure_agreement("perceived_error", three, ONE_EACH[:50])
    assert (measured.measure, measured.n_reviewers) == ("Krippendorff's alpha", 3)
    assert measured.beyond_chance is not None
    assert measured.beyond_chance.estimate == pytest.approx(krippendorff_alpha(three))


def test_an_item_with_one_opinion_says_nothing_of_agreement() -> None:
    two = two_people(20, 5, 10, 15)
    alone = np.array([[1, MISSING], [MISSING, 0]] * 30)
    measured = measure_agreement("all", np.vstack([two, alone]), ONE_EACH[:110])
    assert measured == measure_agreement("all", two, ONE_EACH[:50])


def test_somebody_who_shared_no_item_is_not_one_of_the_reviewers() -> None:
    two = two_people(20, 5, 10, 15)
    third = np.full((50, 1), MISSING)
    measured = measure_agreement("all", np.hstack([two, third]), ONE_EACH[:50])
    assert measured == measure_agreement("all", two, ONE_EACH[:50])


def test_a_reviewer_against_one_other_is_cohens_kappa() -> None:
    two = two_people(20, 5, 10, 15)
    pooled = agreement_with_others("ann", two, 0, ONE_EACH[:50])
    assert pooled.beyond_chance is not None
    assert pooled.beyond_chance.estimate == pytest.approx(0.4)
    assert pooled.raw is not None
    assert pooled.raw.estimate == pytest.approx(0.7)


def test_a_reviewer_against_several_counts_an_item_once() -> None:
    # Ten items, both others disagree on half of them and one other on the rest: 0 + 5 * .5 of 10.
    ratings = np.array([[1, 0, 0]] * 5 + [[0, 0, 1]] * 5)
    pooled = agreement_with_others("ann", ratings, 0, ONE_EACH[:10])
    assert pooled.raw is not None
    assert pooled.raw.estimate == pytest.approx(0.25)
    assert pooled.n_items == 10


def test_who_guesses_stands_out() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    ratings = np.column_stack([np.where(rng.random(300) < 0.95, truth, ~truth) for _ in range(3)])
    ratings = np.column_stack([ratings, rng.random(300) < 0.3]).astype(np.int64)
    found = [agreement_with_others("x", ratings, r, ONE_EACH[:300]).beyond_chance for r in range(4)]
    assert all(of is not None for of in found)
    careful, guessing = [of.low for of in found[:3] if of], found[3]
    assert guessing is not None
    assert guessing.high < min(careful)


def test_too_few_shared_items_are_said_in_a_sentence() -> None:
    measured = measure_agreement("all", two_people(4, 0, 1, 4), ONE_EACH[:9])
    assert (measured.beyond_chance, measured.raw) == (None, None)
    assert measured.why == "9 items with two opinions, and at least 10 are needed"
    assert measure_agreement("all", np.empty((0, 0), np.int64), []).n_items == 0


def test_one_answer_alone_leaves_nothing_to_agree_on() -> None:
    measured = measure_agreement("all", two_people(0, 0, 0, 40), ONE_EACH[:40])
    assert measured.beyond_chance is None
    assert measured.why == "all answers are the same, as they would be by chance"
    assert measured.raw is not None
    # None of 40 differs: up to 1 - .025^(1/40) = 8.8 % may (Clopper and Pearson).
    assert measured.raw.low == pytest.approx(1 - 0.088, abs=1e-3)


def test_an_agreement_that_hangs_on_one_item_is_not_given() -> None:
    measured = measure_agreement("all", two_people(1, 0, 0, 99), ONE_EACH[:100])
    assert measured.beyond_chance is None
    assert measured.why.startswith("nearly all answers are the same")


def test_agreement_without_a_difference_has_an_interval_all_the_same() -> None:
    # By chance .5; 8.8 % may differ: 1 - .088 / .5.
    measured = measure_agreement("all", two_people(20, 0, 0, 20), ONE_EACH[:40])
    assert measured.beyond_chance is not None
    assert (measured.beyond_chance.estimate, measured.beyond_chance.high) == (1.0, 1.0)
    assert measured.beyond_chance.low == pytest.approx(1 - 0.0881 / 0.5, abs=1e-3)


def test_the_interval_covers_the_agreement_of_the_population() -> None:
    # Two people, each right with .9 on errors and .95 on others, of which a third are errors:
    # the same answer in 1/3 (.81 + .01) + 2/3 (.9025 + .0025) = .8767; "error" in 1/3 * .9 + 2/3 *
    # .05 = .3333 of all, so by chance .5556; kappa (.8767 - .5556) / .4444 = .7225.
    rng = np.random.default_rng(1)
    n, draws, covered = 150, 300, 0
    for seed in range(draws):
        truth = rng.random((n, 1)) < 1 / 3
        says_error = rng.random((n, 2)) < np.where(truth, 0.9, 0.05)
        found = measure_agreement("all", says_error.astype(np.int64), ONE_EACH[:n], seed)
        assert found.beyond_chance is not None
        covered += found.beyond_chance.low <= 0.7225 <= found.beyond_chance.high
    assert 0.91 <= covered / draws <= 0.98


def test_items_of_one_session_are_one_witness() -> None:
    two = two_people(20, 5, 10, 15)
    alone = measure_agreement("all", two, ONE_EACH[:50]).beyond_chance
    threefold = np.repeat(two, 3, axis=0)
    grouped = measure_agreement("all", threefold, np.repeat(ONE_EACH[:50], 3)).beyond_chance
    plain = measure_agreement("all", threefold, ONE_EACH[:150]).beyond_chance
    assert alone is not None
    assert grouped is not None
    assert plain is not None
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert plain.high - plain.low < 0.7 * (grouped.high - grouped.low)


def test_sessions_drawn_together_are_drawn_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    values, sessions = rng.integers(0, 3, 200).astype(float), [f"s{i // 3}" for i in range(200)]
    tables = np.column_stack([values, np.ones(200)])
    sums = draws_by_session(tables, sessions)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5])
    one_by_one = cluster_bootstrap(lambda i: float(values[i].mean()), sessions)
    assert (low, high) == pytest.approx((one_by_one.low, one_by_one.high), abs=0.01)


def test_only_what_stands_of_the_ledger_counts(ledger: Ledger) -> None:
    for name in ("t0", "t1", "t2"):
        decide(ledger, said(name, True, "ann"))
        decide(ledger, said(name, True, "bob"))
    decide(ledger, said("t3", True, "ann"))
    decide(ledger, said("t1", False, "bob"))
    undo(ledger, "ann")
    decide(ledger, said("t2", False, "ann"))
    undo(ledger, "ann")
    answers = shared_answers(ledger)
    assert {(a.item[0], a.reviewer): a.perceived_error for a in answers} == {
        ("t0", "ann"): True,
        ("t0", "bob"): True,
        ("t1", "ann"): True,
        ("t1", "bob"): False,
        ("t2", "ann"): True,
        ("t2", "bob"): True,
    }
    assert all(isinstance(a.decided_at, datetime) and a.decided_at.tzinfo for a in answers)


def test_who_settles_a_dispute_is_no_third_opinion(ledger: Ledger) -> None:
    decide(ledger, said("t0", True, "ann"))
    decide(ledger, said("t0", False, "bob"))
    adjudicate(ledger, said("t0", True, "eve"))
    assert [a.reviewer for a in shared_answers(ledger)] == ["ann", "bob"]


def test_the_reason_counts_where_both_see_an_error(ledger: Ledger) -> None:
    for number in range(12):
        code = "correction" if number % 2 else "rejection"
        decide(ledger, said(f"t{number}", True, "ann", reason_code=code))
        decide(ledger, said(f"t{number}", True, "bob", reason_code=code))
        decide(ledger, said(f"u{number}", True, "ann"))
        decide(ledger, said(f"u{number}", False, "bob"))
    report = measure_answers(shared_answers(ledger))
    on_errors, on_reasons = report.by_metric
    assert (on_errors.n_items, on_reasons.n_items) == (24, 12)
    assert on_reasons.beyond_chance is not None
    assert on_reasons.beyond_chance.estimate == 1.0
    assert [of.of for of in report.by_reviewer] == ["ann", "bob"]


def test_without_reviewers_nothing_is_known(ledger: Ledger) -> None:
    report = measure_answers(shared_answers(ledger))
    assert [of.n_items for of in report.by_metric] == [0, 0]
    assert report.by_reviewer == []
