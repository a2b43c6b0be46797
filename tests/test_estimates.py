"""Rates from a few labels and a judge: worked numbers, coverage, breakdowns and comparisons."""

import json
import math
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from numpy.typing import NDArray

from flywheel import statistics
from flywheel.cli.main import cli
from flywheel.corrections import derive_labels
from flywheel.errors import NotEnough, NotFound, Refused
from flywheel.quality import (
    RateEstimate,
    compare_judges,
    compare_releases,
    estimate_rates,
    write_quality_report,
)
from flywheel.queue import PANEL_QUEUE, fill_queue
from flywheel.records import unit_hash
from flywheel.review import decide, decline
from flywheel.settings import QueueSettings
from flywheel.statistics import Floats, corrected_rate, rate_difference, rogan_gladen
from flywheel.statistics.estimates import t_quantile
from flywheel.store import Project, Stores
from flywheel.store.tables import queue_items
from tests.conftest import trace
from tests.estimating import ppi_mean, weighted_mean_estimate
from tests.judged import DAY, JUDGE, add_scores, add_traces, said

Z = 1.959964


def wilson_at(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval by another way: the roots of (share - t)^2 = quantile^2 t (1 - t) / n."""
    q = quantile**2 / n
    low, high = sorted(np.roots([1 + q, -2 * share - q, share**2]))
    return float(low), float(high)


def test_ppi_of_a_worked_example() -> None:
    # Cov = 1/9, Var f = 2/9, a slope of 1/2, whose squared error is 24 (1/36 x 1/3 x 1/2)^2 over
    # (2/9)^2 = 1/96: a 24th of its square, so 23/48. One label to two others makes lambda 2/3 of
    # that, 23/72: theta = 23/72 x 1/2 + (1/3 - 23/72 x 2/3) = 121/432.
    y, f, others = [1, 1, 0, 0, 0, 0] * 6, [1, 1, 1, 1, 0, 0] * 6, [1, 0] * 36
    found = ppi_mean(y, f, others)
    assert found.estimate == pytest.approx(121 / 432)
    # Var = 36/35 x (lambda^2 x 1/4 / 72 + Var(y - lambda f) / 36), the latter 2/9 - 2 lambda / 9 +
    # 2 lambda^2 / 9; so many labels are theta (1 - theta) / Var worth.
    lam = 23 / 72
    variance = 36 / 35 * (lam**2 / 4 / 72 + 2 / 9 * (1 - lam + lam**2) / 36)
    worth = 121 / 432 * 311 / 432 / variance
    assert (found.low, found.high) == pytest.approx(
        wilson_at(121 / 432, worth, t_quantile(35)), abs=1e-3
    )


def test_ppi_is_that_of_the_package_but_for_how_lambda_is_fitted() -> None:
    # ppi-python 0.2.3 says .20365 in [.16880, .23850] with its lambda (fitted on all labels and the
    # variance of all scores), .2135 at lambda 1 and .185 at 0. It is no dependency: it brings
    # numba, pandas and statsmodels, and turns all warnings off.
    rng = np.random.default_rng(0)
    truth = rng.random(2200) < 0.2
    judge = np.where(rng.random(2200) < np.where(truth, 0.85, 0.05), 1.0, 0.0)
    y, f, others = truth[:200].astype(float).tolist(), judge[:200].tolist(), judge[200:].tolist()
    found = ppi_mean(y, f, others)
    assert found.estimate == pytest.approx(0.20365, abs=0.004)
    assert found.high - found.low == pytest.approx(0.23850 - 0.16880, rel=0.05)
    assert ppi_mean(y, [0.0] * 200, [0.0] * 2000).estimate == pytest.approx(0.185)


def test_a_judge_that_says_nothing_leaves_the_labels_by_wilson() -> None:
    y = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0] * 5
    found = ppi_mean(y, [0.3] * 40, [0.3] * 100)
    # The variance over n - 1, not n, makes 39 labels of 40, and t(39) is 2.023, not 1.96.
    assert found.estimate == pytest.approx(0.375)
    assert (found.low, found.high) == pytest.approx(wilson_at(0.375, 39, 2.0227), abs=1e-4)


def test_no_error_among_the_labels_still_has_an_interval() -> None:
    # Fewer than 3 errors: the labels alone; none of 50 is worth 50 labels, up to 7.5 %.
    found = ppi_mean([0.0] * 50, [0.0] * 45 + [1.0] * 5, [0.0, 1.0] * 100)
    assert (found.estimate, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(wilson_at(0.0, 50, t_quantile(49))[1], abs=1e-3)


def test_labels_that_all_agree_with_the_judge_do_not_make_it_perfect() -> None:
    y = [1.0] * 5 + [0.0] * 95
    found = ppi_mean(y, y, [1.0] * 50 + [0.0] * 950)
    assert found.estimate == pytest.approx(0.05)
    # Half a missed error and half a false alarm may be unseen: a standard error of .01 or more.
    assert found.high - found.low > 2 * Z * 0.0095


def test_equal_weights_are_no_weights() -> None:
    rng = np.random.default_rng(2)
    y, f = (rng.random(300) < 0.3).astype(float), rng.random(300)
    known = np.where(np.arange(300) < 60, y, np.nan)
    plain = ppi_mean(y[:60].tolist(), f[:60].tolist(), f[60:].tolist())
    weighted = weighted_mean_estimate(known, f, np.full(300, 0.2), np.arange(300))
    assert weighted.estimate == pytest.approx(plain.estimate)
    assert weighted.high == pytest.approx(plain.high)


def test_a_rare_label_counts_for_those_that_were_not_drawn() -> None:
    # Chances 1/2 and 1/8, a judge that says nothing: (2 x 1 + 2 x 0 + 8 x 0 + 8 x 1) / 20 = .5.
    truth = np.array([1, 0, 0, 1, np.nan, np.nan])
    chance = np.array([0.5, 0.5, 0.125, 0.125, np.nan, np.nan])
    found = weighted_mean_estimate(truth, np.zeros(6), chance, np.arange(6))
    assert found.estimate == pytest.approx(0.5)


@pytest.mark.parametrize("n_sessions", [1, 2])
@pytest.mark.parametrize("errors", [0, 1, 9, 10])
def test_labels_that_are_worth_less_than_one_say_nothing(n_sessions: int, errors: int) -> None:
    # (9 + 20)^2 / (9 + 400) is 2.06 labels, of which a session of ten makes .21, two .41.
    truth = np.array([0.0] * (10 - errors) + [1.0] * errors)
    weight = np.array([1.0] * 9 + [20.0])
    sessions = np.arange(10) % n_sessions
    found = corrected_rate(truth, np.zeros(10), weight, sessions).interval
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.high - found.low > 0.9


def test_a_session_labelled_twice_is_one_witness() -> None:
    rng = np.random.default_rng(1)
    y, f = (rng.random(60) < 0.4).astype(float), rng.random(200)
    once = corrected_rate(
        np.concatenate([y, np.full(140, np.nan)]), f, np.ones(200), np.arange(200)
    )
    twice = corrected_rate(
        np.repeat(np.concatenate([y, np.full(140, np.nan)]), 2),
        np.repeat(f, 2),
        np.ones(400),
        np.repeat(np.arange(200), 2),
    )
    assert twice.interval.estimate == pytest.approx(once.interval.estimate)
    assert twice.interval.high == pytest.approx(once.interval.high, abs=1e-3)


def test_rogan_gladen_of_a_worked_example() -> None:
    # 30 of 100 are flagged; 16 of 20 errors were, and 4 of 40 others: q1 = .8, q0 = .9, so
    # (.3 + .9 - 1) / (.9 + .8 - 1) = 2/7.
    judge = np.array([1.0] * 30 + [0.0] * 70 + [1.0] * 16 + [0.0] * 4 + [1.0] * 4 + [0.0] * 36)
    truth = np.array([np.nan] * 100 + [1.0] * 20 + [0.0] * 40)
    counted = np.arange(160) < 100
    found = rogan_gladen(truth, judge, counted, np.arange(160))
    assert found is not None
    assert found.estimate == pytest.approx(2 / 7)
    theta = 2 / 7
    variance = 0.21 / 100 + theta**2 * 0.16 / 20 + (1 - theta) ** 2 * 0.09 / 40
    half = t_quantile(59) * np.sqrt(60 / 59 * variance) / 0.7
    assert found.high - found.estimate == pytest.approx(half)


def test_rogan_gladen_needs_a_judge_that_tells_the_classes_apart() -> None:
    judge, truth = np.array([1.0, 0.0] * 20), np.array([1.0, 1.0, 0.0, 0.0] * 10)
    assert rogan_gladen(truth, judge, np.ones(40, bool), np.arange(40)) is None
    assert rogan_gladen(np.ones(40), judge, np.ones(40, bool), np.arange(40)) is None


def test_a_difference_of_labels_alone_is_newcombes() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:873), table II, method 10: 56/70 - 48/80 = .2 in
    # [.0524, .3339]. Ours has t for 1.96 and n - 1 for n, so it is a little wider.
    def share(errors: int, n: int, start: int) -> statistics.Estimated:
        truth = np.array([1.0] * errors + [0.0] * (n - errors))
        return corrected_rate(truth, np.zeros(n), np.ones(n), np.arange(start, start + n))

    found = rate_difference(share(48, 80, 0), share(56, 70, 100))
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=4e-3)


def test_the_same_sessions_twice_do_not_differ() -> None:
    rng = np.random.default_rng(4)
    truth, judge = (rng.random(80) < 0.3).astype(float), rng.random(80)
    one = corrected_rate(truth, judge, np.ones(80), np.arange(80))
    same = rate_difference(one, one)
    assert same.estimate == 0.0
    assert same.high - same.low < 0.5 * (one.interval.high - one.interval.low)


def drawn(
    rng: np.random.Generator, n: int, rate: float, found: float = 0.85, false: float = 0.05
) -> tuple[NDArray[np.bool_], Floats]:
    """What people would say of n traces, and what a judge of this sensitivity says."""
    truth = rng.random(n) < rate
    return truth, np.where(rng.random(n) < np.where(truth, found, false), 1.0, 0.0)


def test_ppi_covers_the_truth_where_the_judges_raw_rate_does_not() -> None:
    # The reference simulation: rate .20, specificity .95, sensitivity .85, 200 labels of 10,000
    # traces. Published: the raw rate's interval covers 31 %, PPI++ 94 % at 63 % of the width of
    # the labels alone.
    rng, n, total, theta = np.random.default_rng(7), 200, 10_000, 0.20
    covered, naive, widths = 0, 0, []
    for _ in range(400):
        truth, judge = drawn(rng, total, theta)
        y, f = truth[:n].astype(float), judge[:n]
        found = ppi_mean(y.tolist(), f.tolist(), judge[n:].tolist())
        covered += found.low <= theta <= found.high
        raw = statistics.wilson(judge.sum(), total)
        naive += raw.low <= theta <= raw.high
        labels = statistics.wilson(float(y.sum()), n)
        widths.append((found.high - found.low) / (labels.high - labels.low))
    assert 0.92 <= covered / 400 <= 0.98
    assert 0.24 <= naive / 400 <= 0.38
    assert np.mean(widths) == pytest.approx(0.65, abs=0.03)


@pytest.mark.parametrize(("found", "false"), [(0.85, 0.05), (0.95, 0.01), (0.4, 0.02)])
def test_ppi_covers_a_rare_error_with_a_hundred_labels(found: float, false: float) -> None:
    # 5 errors among them, whatever the judge; its plain interval would cover 85 to 90 %.
    rng, covered, naive = np.random.default_rng(11), 0, 0
    for _ in range(400):
        truth, judge = drawn(rng, 2000, 0.05, found, false)
        y, f = truth[:100].astype(float), judge[:100]
        interval = ppi_mean(y.tolist(), f.tolist(), judge[100:].tolist())
        covered += interval.low <= 0.05 <= interval.high
        raw = statistics.wilson(judge.sum(), 2000)
        naive += raw.low <= 0.05 <= raw.high
    assert 0.92 <= covered / 400 <= 0.99
    assert naive / 400 < 0.85


def test_sessions_of_like_traces_are_covered_too() -> None:
    # Four traces a session that are all fine or mostly wrong; whole sessions are labelled. As rows
    # of their own they would cover some 70 %.
    rng, covered, as_rows = np.random.default_rng(5), 0, 0
    sessions = np.repeat(np.arange(250), 4)
    for _ in range(300):
        bad = np.repeat(rng.random(250) < 0.25, 4)
        truth = bad & (rng.random(1000) < 0.8)
        judge = np.where(rng.random(1000) < np.where(truth, 0.8, 0.1), 1.0, 0.0)
        known = np.where(sessions < 40, truth, np.nan)
        found = corrected_rate(known, judge, np.ones(1000), sessions).interval
        alone = corrected_rate(known, judge, np.ones(1000), np.arange(1000)).interval
        covered += found.low <= 0.2 <= found.high
        as_rows += alone.low <= 0.2 <= alone.high
    assert 0.92 <= covered / 300 <= 0.98
    assert as_rows / 300 < 0.9


def test_weights_undo_a_draw_that_prefers_doubt() -> None:
    # Labels by the square root of p (1 - p) with a floor: alone they would overstate the rate.
    rng, covered, unweighted = np.random.default_rng(3), 0, 0
    for _ in range(300):
        p = rng.beta(0.6, 3.0, 1500)
        truth = rng.random(1500) < p
        doubt = np.sqrt(p * (1 - p))
        chance = 150 * (0.5 / 1500 + 0.5 * doubt / doubt.sum())
        known = np.where(rng.random(1500) < chance, truth, np.nan)
        found = weighted_mean_estimate(known, p, chance, np.arange(1500))
        covered += found.low <= 1 / 6 <= found.high
        labels = statistics.wilson(float(np.nansum(known)), float((~np.isnan(known)).sum()))
        unweighted += labels.low <= 1 / 6 <= labels.high
    assert 0.91 <= covered / 300 <= 0.98
    assert unweighted / 300 < 0.8


NAMES = [f"t{number:03}" for number in range(400)]


def is_error(name: str) -> bool:
    """What a person would say: an error in about a fifth of the traces."""
    return unit_hash(name, "truth") < 0.2


def probability(name: str) -> float:
    """A judge that is right in about nine of ten."""
    is_right = unit_hash(name, "judge") < 0.9
    return (0.7 if is_error(name) == is_right else 0.1) + 0.2 * unit_hash(name, "noise")


def judged(stores: Stores, names: Sequence[str], day: date = DAY, **fields: object) -> None:
    add_traces(stores, [trace(name, "hi", "hello", "no", **fields) for name in names], day)
    add_scores(stores, {name: probability(name) for name in names}, day)


def decided(stores: Stores, names: Iterable[str], **more: object) -> None:
    for name in names:
        decide(stores.ledger, said(name, is_error(name), **more))
    derive_labels(stores)


def drawn_items(stores: Stores) -> list[str]:
    with stores.ledger.read() as ledger:
        found = sa.select(queue_items.c.trace_id).order_by(queue_items.c.item_id)
        return list(ledger.scalars(found))


def of_method(estimates: Iterable[RateEstimate], method: str) -> RateEstimate:
    return next(estimate for estimate in estimates if estimate.method == method)


TRUE_RATE = sum(map(is_error, NAMES)) / len(NAMES)


def test_targeted_labels_count_by_their_chance(project: Project) -> None:
    stores = project.stores
    judged(stores, NAMES)
    fill_queue(stores, QueueSettings(daily_items=100, audit_share=0.4), DAY)
    decided(stores, drawn_items(stores))
    rates = estimate_rates(stores)
    ppi, weighted = of_method(rates, "ppi++"), of_method(rates, "weighted")
    assert rates[0] == ppi
    assert weighted.n_labels == len(drawn_items(stores)) > ppi.n_labels
    assert weighted.response_rate == 1.0
    assert weighted.low is not None
    assert weighted.high is not None
    assert weighted.low <= TRUE_RATE <= weighted.high


def test_a_day_with_open_items_is_not_yet_in_the_weighted_estimate(project: Project) -> None:
    stores = project.stores
    for day, names in ((DAY, NAMES[:200]), (DAY + timedelta(1), NAMES[200:])):
        judged(stores, names, day)
        fill_queue(stores, QueueSettings(daily_items=60, audit_share=0.3), day)
    first_day = [name for name in drawn_items(stores) if name < "t200"]
    decided(stores, first_day)
    weighted = of_method(estimate_rates(stores), "weighted")
    assert (weighted.n_traces, weighted.n_labels) == (200, len(first_day))


def test_drawn_items_that_were_declined_count_as_no_answer(project: Project) -> None:
    stores = project.stores
    judged(stores, NAMES)
    fill_queue(stores, QueueSettings(daily_items=100, audit_share=0.05), DAY)
    drawn = drawn_items(stores)
    decided(stores, drawn[::2])
    for name in drawn[1::2]:
        decline(stores.ledger, name, f"v1-{name}", "ann", "no")
    refused = of_method(estimate_rates(stores), "weighted")
    assert refused.estimate is None
    more = math.ceil(0.8 * len(drawn)) - len(drawn[::2])
    assert f"of the drawn items are decided, and an estimate needs 80%, {more} more" in refused.why


def test_labels_of_unknown_chance_correct_the_judge_by_its_errors(project: Project) -> None:
    # As many labels of errors as of others, picked by what they say: alone they would say a half.
    stores = project.stores
    judged(stores, NAMES)
    errors = [name for name in NAMES if is_error(name)][:40]
    decided(stores, [*errors, *[name for name in NAMES if not is_error(name)][:40]])
    rates = estimate_rates(stores)
    found = of_method(rates, "rogan-gladen")
    assert rates[0] == found
    assert (found.n_labels, found.n_traces) == (80, 400)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= TRUE_RATE <= found.high < 0.4


def test_labels_of_another_day_teach_how_the_judge_errs(project: Project) -> None:
    stores = project.stores
    judged(stores, NAMES[:200])
    judged(stores, NAMES[200:], DAY + timedelta(1))
    decided(stores, NAMES[:100])
    found = of_method(estimate_rates(stores, first=DAY + timedelta(1)), "rogan-gladen")
    assert (found.n_traces, found.n_labels) == (200, 100)
    assert found.estimate == pytest.approx(sum(map(is_error, NAMES[200:])) / 200, abs=0.1)


def test_labels_that_a_panel_asked_for_do_not_tell_how_the_judge_errs(project: Project) -> None:
    stores = project.stores
    judged(stores, NAMES)
    fill_queue(stores, QueueSettings(daily_items=60), DAY)
    of_panel = drawn_items(stores)
    with stores.ledger.begin() as ledger:
        ledger.execute(queue_items.update().values(queue=PANEL_QUEUE, reason="disputed"))
    by_hand = [name for name in NAMES if name not in of_panel][:100]
    decided(stores, [*of_panel, *by_hand])
    for first in (DAY, DAY + timedelta(1)):
        if first > DAY:
            judged(stores, [f"u{n}" for n in range(50)], first)
        found = of_method(estimate_rates(stores, first=first), "rogan-gladen")
        assert found.n_labels == 100


def test_few_labels_of_one_kind_do_not_tell_how_the_judge_errs(project: Project) -> None:
    stores = project.stores
    judged(stores, NAMES)
    fine = [name for name in NAMES if not is_error(name)][:20]
    decided(stores, fine)
    refused = of_method(estimate_rates(stores), "rogan-gladen")
    assert refused.estimate is None
    assert refused.why == (
        "0 labels of unknown chance are of an error and 20 are not, and 5 of either kind are needed"
    )


def released(stores: Stores) -> None:
    """200 traces of each of two releases with 60 audit labels each; the second is much worse."""
    for release, names in (("1.0", NAMES[:200]), ("2.0", NAMES[200:])):
        judged(stores, names, DAY if release == "1.0" else DAY + timedelta(1), release=release)
        for name in names[:60]:
            bad = is_error(name) or (release == "2.0" and unit_hash(name, "worse") < 0.4)
            decide(stores.ledger, said(name, bad, is_audit=True))
    derive_labels(stores)


def test_the_rate_of_each_release_and_day_is_estimated_and_stored(project: Project) -> None:
    stores = project.stores
    released(stores)
    by_release = [r for r in estimate_rates(stores, by="release") if r.method == "ppi++"]
    assert [(r.app, r.release, r.n_labels) for r in by_release] == [
        ("*", "1.0", 60),
        ("*", "2.0", 60),
    ]
    by_day = [r for r in estimate_rates(stores, "shop", by="day") if r.method == "ppi++"]
    assert [(r.app, r.first_day) for r in by_day] == [("shop", DAY), ("shop", DAY + timedelta(1))]
    assert [r.estimate for r in by_day] == [r.estimate for r in by_release]
    write_quality_report(stores)
    with stores.warehouse.open() as connection:
        stored = connection.raw.sql(
            "select release, estimate from estimates "
            "where method = 'ppi++' and app = '*' order by release"
        ).fetchall()
    assert [release for release, _ in stored] == ["*", "1.0", "2.0"]
    assert [estimate for _, estimate in stored[1:]] == [r.estimate for r in by_release]


def test_other_metrics_have_their_share_and_no_correction(project: Project) -> None:
    # 3 of 10 refusals; a session of five is five traces, of which two refuse.
    stores = project.stores
    judged(stores, NAMES[:5], session_id="one")
    judged(stores, NAMES[5:10], DAY + timedelta(1))
    key = {"metric": "refusal", "metric_version": "7", "judge_version": ""}
    with stores.warehouse.open() as connection, connection.transaction():
        for number, name in enumerate(NAMES[:10]):
            day = DAY + timedelta(number // 5)
            score = {"day": day, "trace_id": name, "content_hash": f"v1-{name}", "kind": "code"}
            says = {"label": "true" if number in (0, 1, 7) else "false", "value": 0.0}
            with connection.given(rows=pa.Table.from_pylist([key | score | says])):
                connection.raw.execute("insert into scores by name select * from rows")
        for day in (DAY, DAY + timedelta(1)):
            connection.raw.execute("insert into current_runs values (?, 'refusal', '7', '')", [day])
    found = [r for r in estimate_rates(stores, by="metric") if r.metric == "refusal"]
    assert [(r.method, r.n_traces, r.judge_version) for r in found] == [
        ("share, unadjusted", 10, "7")
    ]
    assert found[0].estimate == pytest.approx(0.3)
    assert (found[0].first_day, found[0].last_day) == (DAY, DAY + timedelta(1))
    assert found[0].interval is not None


def test_two_releases_are_told_apart_by_their_labels(project: Project) -> None:
    stores = project.stores
    released(stores)
    found = compare_releases(stores, "1.0", "2.0")
    assert (found.first.n_labels, found.second.n_labels) == (60, 60)
    assert found.difference.estimate == pytest.approx(
        found.second.rate.estimate - found.first.rate.estimate
    )
    assert found.difference.low > 0
    assert found.meaning.startswith("Users of 2.0 see an error more often than those of 1.0, by +")
    back = compare_releases(stores, "2.0", "1.0")
    assert back.difference.high == pytest.approx(-found.difference.low)


def test_sessions_in_both_releases_are_drawn_together(project: Project) -> None:
    # Each session has a trace of either release, and people say the same of both: what is hard
    # about a session is hard in both, and leaves the difference.
    stores = project.stores
    for release, names in (("1.0", NAMES[:100]), ("2.0", NAMES[100:200])):
        turns = ("hi", "hello", "no")
        rows = [
            trace(name, *turns, session_id=f"s{i}", release=release) for i, name in enumerate(names)
        ]
        day = DAY if release == "1.0" else DAY + timedelta(1)
        add_traces(stores, rows, day)
        add_scores(stores, dict.fromkeys(names, 0.3), day)
        for i, name in enumerate(names):
            decide(stores.ledger, said(name, i % 4 == 0 or name == "t101", is_audit=True))
    derive_labels(stores)
    found = compare_releases(stores, "1.0", "2.0")
    assert found.n_shared_sessions == 100
    assert found.difference.estimate == pytest.approx(0.01)
    apart = np.hypot(
        found.first.rate.high - found.first.rate.low, found.second.rate.high - found.second.rate.low
    )
    assert found.difference.high - found.difference.low < 0.4 * apart


def test_a_release_without_labels_is_not_compared(project: Project) -> None:
    stores = project.stores
    released(stores)
    judged(stores, [f"x{n}" for n in range(20)], DAY + timedelta(2), release="3.0")
    with pytest.raises(Refused, match=r"release '3.0' has no estimate.*0 audit labels"):
        compare_releases(stores, "1.0", "3.0")
    with pytest.raises(NotFound, match=r"did you mean '2\.0'"):
        compare_releases(stores, "1.0", "2.O")


def two_judges(stores: Stores) -> None:
    """A judge that finds 9 of 10, and one that says no to everything, on the same 400 traces."""
    judged(stores, NAMES)
    add_scores(stores, dict.fromkeys(NAMES, 0.05), judge="never-1/lexical")


def test_two_judges_are_compared_by_mcnemar_on_an_audit(project: Project) -> None:
    stores = project.stores
    two_judges(stores)
    decided(stores, NAMES[:100], is_audit=True)
    found = compare_judges(stores, "never-1", JUDGE)
    flagged = {name for name in NAMES if probability(name) >= 0.5}
    labelled = NAMES[:100]
    gained = sum(is_error(name) and name in flagged for name in labelled)
    lost = sum(not is_error(name) and name in flagged for name in labelled)
    assert (found.n_traces, found.n_labels) == (400, 100)
    assert (found.only_second, found.only_first) == (gained, lost)
    assert found.test == "exact McNemar"
    assert found.p_value == pytest.approx(statistics.mcnemar_exact(gained, lost))
    assert found.flagged.estimate == pytest.approx(len(flagged) / 400)
    assert found.accuracy.estimate == pytest.approx((gained - lost) / 100)
    assert found.mcc.low > 0


def test_two_judges_are_compared_by_weight_on_a_draw_that_prefers_doubt(project: Project) -> None:
    stores = project.stores
    two_judges(stores)
    chances = {name: 0.2 if is_error(name) else 0.05 for name in NAMES}
    for name in NAMES[:80]:
        decide(stores.ledger, said(name, is_error(name), draw_probability=chances[name]))
    derive_labels(stores)
    found = compare_judges(stores, "never-1/lexical", JUDGE)
    assert found.test == "weighted paired bootstrap by session"
    # An error weighs 5 and another trace 20.
    flagged = [name for name in NAMES[:80] if probability(name) >= 0.5]
    gained = sum(5 if is_error(name) else -20 for name in flagged)
    total = sum(5 if is_error(name) else 20 for name in NAMES[:80])
    assert found.accuracy.estimate == pytest.approx(gained / total)
    assert 0 < found.p_value <= 1


def test_labels_of_a_day_still_open_compare_no_judges(project: Project) -> None:
    stores = project.stores
    for day, names in ((DAY, NAMES[:200]), (DAY + timedelta(1), NAMES[200:])):
        judged(stores, names, day)
        add_scores(stores, dict.fromkeys(names, 0.05), day, judge="never-1/lexical")
        fill_queue(stores, QueueSettings(daily_items=60, audit_share=0.05), day)
    drawn = drawn_items(stores)
    first_day = [name for name in drawn if name < "t200"]
    # Of the second day nearly all are decided, which is not yet all.
    decided(stores, drawn[:-1])
    assert compare_judges(stores, "never-1", JUDGE).n_labels == len(first_day)


def test_drawn_items_that_were_declined_refuse_a_comparison(project: Project) -> None:
    stores = project.stores
    two_judges(stores)
    fill_queue(stores, QueueSettings(daily_items=100, audit_share=0.05), DAY)
    drawn = drawn_items(stores)
    decided(stores, drawn[::2])
    for name in drawn[1::2]:
        decline(stores.ledger, name, f"v1-{name}", "ann", "no")
    with pytest.raises(Refused, match="read are decided, and a comparison needs 80%"):
        compare_judges(stores, "never-1", JUDGE)


def test_judges_without_labels_of_a_known_chance_are_not_compared(project: Project) -> None:
    stores = project.stores
    two_judges(stores)
    decided(stores, NAMES[:50])
    with pytest.raises(NotEnough, match="0 labels of known chance"):
        compare_judges(stores, "never-1", JUDGE)
    with pytest.raises(NotFound, match="did you mean 'never-1'"):
        compare_judges(stores, "nevr-1", JUDGE)


def test_the_commands_say_what_the_library_says(project: Project) -> None:
    released(project.stores)
    run = CliRunner().invoke

    def output(*arguments: str) -> str:
        result = run(cli, ["--project", str(project.folder), "quality", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    rows = json.loads(output("estimate", "--by", "release", "--json"))
    assert {row["release"] for row in rows} == {"1.0", "2.0"}
    found = json.loads(output("compare", "--release", "1.0", "--release", "2.0", "--json"))
    assert found["meaning"].startswith("Users of 2.0 see an error more often")
    misused = run(cli, ["--project", str(project.folder), "quality", "compare", "--release", "1.0"])
    assert misused.exit_code == 2
