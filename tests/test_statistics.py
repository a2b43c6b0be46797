"""Intervals, paired tests and rates of a judge, against published numbers and numbers by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from flywheel import statistics
from flywheel.statistics import Floats


# Newcombe 1998 (Statistics in Medicine 17:857), table I, methods 3 and 5.
@pytest.mark.parametrize(
    ("successes", "n", "wilson", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_intervals_of_a_share_are_those_that_newcombe_printed(
    successes: int, n: int, wilson: tuple[float, float], exact: tuple[float, float]
):
    score, clopper = statistics.wilson(successes, n), statistics.clopper_pearson(successes, n)
    assert (score.low, score.high) == pytest.approx(wilson, abs=5e-5)
    assert (clopper.low, clopper.high) == pytest.approx(exact, abs=5e-5)


def test_a_share_of_nothing_is_unknown_and_its_interval_is_everything():
    assert (statistics.wilson(0, 0).low, statistics.wilson(0, 0).high) == (0.0, 1.0)


def test_29_agreements_of_29_are_the_fewest_that_certify_90_percent():
    # One-sided at 95 %: .05^(1/29) = .9019, .05^(1/28) = .8985.
    assert statistics.clopper_pearson(29, 29, alpha=0.1).low == pytest.approx(0.9019, abs=5e-5)
    assert statistics.clopper_pearson(28, 28, alpha=0.1).low == pytest.approx(0.8985, abs=5e-5)


def test_no_error_in_60_bounds_the_error_at_5_percent():
    # The rule of three: 1 - .05^(1/60) = .0487.
    assert statistics.clopper_pearson(0, 60, alpha=0.1).high == pytest.approx(0.0487, abs=5e-5)


def test_exact_mcnemar_counts_the_tails_of_a_fair_coin():
    # 10 against 2 of 12: 2 (1 + 12 + 66) / 4096. Six against none: 2 / 64.
    assert statistics.mcnemar_exact(10, 2) == pytest.approx(158 / 4096)
    assert statistics.mcnemar_exact(2, 10) == pytest.approx(158 / 4096)
    assert statistics.mcnemar_exact(0, 6) == pytest.approx(0.03125)
    assert statistics.mcnemar_exact(0, 0) == 1.0


def test_one_sided_mcnemar_asks_whether_the_first_is_right_more_often():
    assert statistics.mcnemar_exact(10, 2, "greater") == pytest.approx(79 / 4096)
    assert statistics.mcnemar_exact(2, 10, "greater") == pytest.approx(1 - 13 / 4096)


def test_holm_steps_down_and_keeps_the_order_given():
    # .005 x 4, .01 x 3, .03 x 2, then .04 may not fall below the one before it.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


def test_mcc_of_a_worked_table():
    # tp 6, fn 2, fp 1, tn 3: (6 x 3 - 1 x 2) / sqrt(7 x 8 x 4 x 5).
    truth = np.array([True] * 8 + [False] * 4)
    said = np.array([True] * 6 + [False] * 2 + [True] + [False] * 3)
    assert statistics.mcc(truth, said) == pytest.approx(16 / np.sqrt(1120))
    assert statistics.mcc(truth, np.zeros(12, bool)) == 0.0


def test_ece_of_five_items_is_the_mean_gap_where_every_item_is_a_bin():
    # |0 - .1| + |0 - .2| + |1 - .3| + |1 - .8| + |1 - .9| = 1.3, over 5.
    truth = np.array([False, False, True, True, True])
    said = np.array([0.1, 0.2, 0.3, 0.8, 0.9])
    assert statistics.ece(truth, said, bins=5) == pytest.approx(0.26)
    # In one bin the gaps cancel: .6 of them true, .46 said.
    assert statistics.ece(truth, said, bins=1) == pytest.approx(0.14)


def _made_up(n: int = 200, seed: int = 3) -> tuple[NDArray[np.bool_], Floats, Floats]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    # Two decimals, so that there are ties.
    said = np.clip(rng.random(n) * 0.6 + truth * 0.3, 0, 1).round(2)
    return truth, said, rng.random(n) + 0.1


def test_weighted_rates_are_those_of_scikit_learn():
    y, p, w = _made_up()
    hat = p >= 0.5
    assert statistics.roc_auc(y, p, w) == pytest.approx(sk.roc_auc_score(y, p, sample_weight=w))
    assert statistics.pr_auc(y, p, w) == pytest.approx(
        sk.average_precision_score(y, p, sample_weight=w)
    )
    assert statistics.f1(y, hat, w) == pytest.approx(sk.f1_score(y, hat, sample_weight=w))
    assert statistics.mcc(y, hat, w) == pytest.approx(sk.matthews_corrcoef(y, hat, sample_weight=w))


def test_an_item_of_weight_two_is_an_item_that_stands_twice():
    y, p, _ = _made_up()
    twice = np.where(np.arange(len(y)) % 3 == 0, 2, 1)
    y2, p2 = np.repeat(y, twice), np.repeat(p, twice)
    assert statistics.roc_auc(y, p, twice.astype(float)) == pytest.approx(
        statistics.roc_auc(y2, p2)
    )
    assert statistics.pr_auc(y, p, twice.astype(float)) == pytest.approx(statistics.pr_auc(y2, p2))


def test_rates_that_need_a_class_are_unknown_without_it():
    said = np.array([0.2, 0.7])
    assert np.isnan(statistics.roc_auc(np.array([True, True]), said))
    assert np.isnan(statistics.pr_auc(np.array([False, False]), said))


def test_a_judge_card_has_every_rate_inside_its_interval():
    y, p, w = _made_up()
    groups = [f"session-{i // 2}" for i in range(len(y))]
    for weight in (None, w.tolist()):
        card = statistics.judge_card(y.tolist(), p.tolist(), groups, draws=200, weight=weight)
        assert (card.n, card.positives) == (200, int(y.sum()))
        # Resampling moves the calibration error upwards: its interval may stand above it.
        rates = [rate for name, rate in card.rates.items() if name != "ece"]
        assert all(rate.low < rate.estimate < rate.high for rate in rates)
    assert card.as_dict()["mcc_ci"] == [card.rates["mcc"].low, card.rates["mcc"].high]


def test_a_judge_card_of_nothing_is_unknown_and_no_crash():
    card = statistics.judge_card([], [], [])
    assert card.n == 0
    assert np.isnan(card.rates["mcc"].estimate)


def test_the_bootstrap_draws_sessions_and_not_rows():
    value = np.random.default_rng(0).random(40)
    once = statistics.cluster_bootstrap(
        lambda i: float(value[i].mean()), [str(k) for k in range(40)], draws=500
    )
    doubled = np.repeat(value, 2)
    # The same rows twice within a session tell nothing new, and must not narrow the interval.
    twice = statistics.cluster_bootstrap(
        lambda i: float(doubled[i].mean()), [str(k // 2) for k in range(80)], draws=500
    )
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_mcc_difference_by_cells_is_the_plain_cluster_bootstrap():
    y, p, w = _made_up()
    q = np.random.default_rng(1).random(len(y)) * 0.7 + y * 0.2
    groups = [f"session-{i // 2}" for i in range(len(y))]
    a, b = p >= 0.5, q >= 0.5
    plain = statistics.cluster_bootstrap(
        lambda i: statistics.mcc(y[i], b[i], w[i]) - statistics.mcc(y[i], a[i], w[i]), groups, 400
    )
    cells = statistics.mcc_difference(y.tolist(), a.tolist(), b.tolist(), groups, w.tolist(), 400)
    assert (cells.estimate, cells.low, cells.high) == pytest.approx(
        (plain.estimate, plain.low, plain.high)
    )


def test_bootstrap_p_is_small_exactly_where_the_interval_leaves_out_zero():
    rng = np.random.default_rng(0)
    for shift in np.linspace(-3, 3, 25):
        draws = rng.normal(shift, 1, 4000)
        low, high = np.percentile(draws, [2.5, 97.5])
        p = statistics.bootstrap_p(draws)
        if abs(p - 0.05) > 0.002:
            assert (p < 0.05) == (low > 0 or high < 0)


def test_bootstrap_p_is_never_zero_and_one_where_nothing_is_known():
    assert statistics.bootstrap_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert statistics.bootstrap_p(-np.ones(999), "less") == pytest.approx(1 / 1000)
    assert statistics.bootstrap_p(np.empty(0)) == 1.0


def test_wilson_and_scipy_agree_over_the_whole_range():
    for k in range(0, 31, 3):
        ours = statistics.wilson(k, 30)
        theirs = stats.binomtest(k, 30).proportion_ci(method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
