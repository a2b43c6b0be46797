"""Rates with intervals, refusals with reasons, and how well the judge agrees with people."""

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from flywheel.corrections import derive_labels
from flywheel.errors import NotEnough, NotFound
from flywheel.quality import (
    RateEstimate,
    estimate_rates,
    judge_agreement,
    measure_calibration,
    write_quality_report,
)
from flywheel.queue import fill_queue
from flywheel.records import split_of, unit_hash
from flywheel.review import decide
from flywheel.settings import QueueSettings
from flywheel.statistics import ece, ppi_mean, weighted_mean_estimate, wilson
from flywheel.store import Project, Stores
from flywheel.store.tables import queue_items
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces, said

NAMES = [f"t{number:03}" for number in range(200)]
AUDIT_OF_40 = QueueSettings(daily_items=40, audit_share=1.0)


def is_error(name: str) -> bool:
    """What a person would say: an error in about a fifth of the traces."""
    return unit_hash(name, "truth") < 0.2


def probability(name: str) -> float:
    """A judge that is right in about nine of ten."""
    is_right = unit_hash(name, "judge") < 0.9
    return (0.7 if is_error(name) == is_right else 0.1) + 0.2 * unit_hash(name, "noise")


def judged_day(stores: Stores, names: Iterable[str], day: date = DAY, **fields: object) -> None:
    own = list(names)
    add_traces(stores, [trace(name, "hi", "hello", "no", **fields) for name in own], day)
    add_scores(stores, {name: probability(name) for name in own}, day)


def answer(stores: Stores, share: float = 1.0) -> list[str]:
    """Decide on this share of the audit items, as they were drawn; the traces decided on."""
    with stores.ledger.begin() as ledger:
        drawn = ledger.scalars(
            sa.select(queue_items.c.trace_id)
            .where(queue_items.c.reason == "random_audit")
            .order_by(queue_items.c.item_id)
        ).all()
    answered = list(drawn[: round(len(drawn) * share)])
    for name in answered:
        decide(stores.ledger, said(name, is_error(name)))
    derive_labels(stores)
    return answered


def by_method(estimates: list[RateEstimate], app: str = "*") -> dict[str, RateEstimate]:
    return {estimate.method: estimate for estimate in estimates if estimate.app == app}


def test_the_weighted_estimate_is_the_judges_mean_corrected_by_weight() -> None:
    # parts: .5 + (1 - .5) / .5 = 1.5, .5, 0 + 0 / .25 = 0, 0; their mean is .5.
    # variance: 4 / 3 * (1 + 0 + .25 + .25) / 16 = .125, half width 1.96 * .3536 = .693.
    truth, chance = np.array([1, np.nan, 0, np.nan]), np.array([0.5, np.nan, 0.25, np.nan])
    judge, sessions = np.array([0.5, 0.5, 0, 0]), np.arange(4)
    interval = weighted_mean_estimate(truth, judge, chance, sessions)
    assert interval.estimate == pytest.approx(0.5)
    assert interval.high - interval.estimate == pytest.approx(0.693, abs=1e-3)
    # Both errors in one session: 2 / 1 * (1 + 1) / 16 = .25, half width .98.
    grouped = weighted_mean_estimate(truth, judge, chance, np.array([0, 0, 1, 1]))
    assert grouped.high - grouped.estimate == pytest.approx(0.98, abs=1e-3)


def test_the_weighted_interval_covers_the_truth_where_the_judge_alone_does_not() -> None:
    # A judge of sensitivity .85 and specificity .9; 5 % of the traces of one half are labelled and
    # 20 % of the other, where errors are twice as common: unweighted labels would overstate.
    rng = np.random.default_rng(0)
    n, draws = 2000, 400
    chance = np.where(np.arange(n) < n / 2, 0.05, 0.2)
    rate = np.where(np.arange(n) < n / 2, 0.15, 0.3)
    covered, plain = 0, 0
    for _ in range(draws):
        truth = (rng.random(n) < rate).astype(float)
        judge = np.where(rng.random(n) < np.where(truth == 1, 0.85, 0.1), 0.9, 0.1)
        drawn = rng.random(n) < chance
        known = np.where(drawn, truth, np.nan)
        interval = weighted_mean_estimate(known, judge, chance, np.arange(n))
        covered += interval.low <= 0.225 <= interval.high
        labels = wilson(truth[drawn].sum(), drawn.sum())
        plain += labels.low <= 0.225 <= labels.high
    assert 0.92 <= covered / draws <= 0.98
    assert plain / draws < 0.8


def test_a_uniform_audit_gives_the_ppi_estimate(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    fill_queue(stores, AUDIT_OF_40, DAY)
    answered = sorted(answer(stores))
    found = by_method(estimate_rates(stores))
    expected = ppi_mean(
        [float(is_error(name)) for name in answered],
        [probability(name) for name in answered],
        [probability(name) for name in NAMES],
    )
    estimate = found["ppi++"]
    assert (estimate.estimate, estimate.low, estimate.high) == pytest.approx(
        (expected.estimate, expected.low, expected.high)
    )
    assert (estimate.n_traces, estimate.n_labels) == (200, len(answered))
    assert (estimate.response_rate, estimate.why) == (1.0, "")
    true_rate = sum(map(is_error, NAMES)) / 200
    assert expected.low <= true_rate <= expected.high


def test_what_labels_and_judge_say_alone_stands_beside_it(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    fill_queue(stores, AUDIT_OF_40, DAY)
    answered = answer(stores)
    found = by_method(estimate_rates(stores))
    labels = wilson(sum(map(is_error, answered)), len(answered))
    assert found["labels only"].estimate == pytest.approx(labels.estimate)
    assert found["labels only"].high == pytest.approx(labels.high)
    judge = wilson(sum(probability(name) >= 0.5 for name in NAMES), 200)
    assert found["judge only, unadjusted"].estimate == pytest.approx(judge.estimate)
    assert found["judge only, unadjusted"].n_labels == 0


def test_audits_of_unlike_days_are_weighted(project: Project) -> None:
    # 20 items of 150 traces on one day, 20 of 50 on the next.
    stores = project.stores
    for day, names in ((DAY, NAMES[:150]), (DAY + timedelta(1), NAMES[150:])):
        judged_day(stores, names, day)
        fill_queue(stores, QueueSettings(daily_items=20, audit_share=1.0), day)
    answer(stores)
    found = by_method(estimate_rates(stores))
    assert "ppi++" not in found
    true_rate = sum(map(is_error, NAMES)) / 200
    estimate = found["weighted"]
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= true_rate <= estimate.high
    one_day = by_method(estimate_rates(stores, first=DAY + timedelta(1)))
    assert one_day["ppi++"].n_traces == 50
    assert one_day["ppi++"].first_day == DAY + timedelta(1)


def test_a_session_that_was_drawn_twice_is_one_witness(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES, session_id="the same for all")
    fill_queue(stores, AUDIT_OF_40, DAY)
    answer(stores)
    assert "weighted" in by_method(estimate_rates(stores))


def test_a_day_that_the_queue_never_drew_from_is_not_spoken_for(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES[:150])
    judged_day(stores, NAMES[150:], DAY + timedelta(1))
    fill_queue(stores, AUDIT_OF_40, DAY)
    answer(stores)
    found = by_method(estimate_rates(stores))
    assert found["ppi++"].n_traces == 150
    assert found["judge only, unadjusted"].n_traces == 200


def test_too_few_answers_refuse_an_estimate(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    fill_queue(stores, AUDIT_OF_40, DAY)
    answer(stores, share=0.6)
    refused = by_method(estimate_rates(stores))["ppi++"]
    assert refused.estimate is None
    assert refused.response_rate == pytest.approx(0.6, abs=0.02)
    assert "60% of the audit items are decided" in refused.why


def test_too_few_labels_refuse_an_estimate(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    fill_queue(stores, QueueSettings(daily_items=5, audit_share=1.0), DAY)
    n = len(answer(stores))
    refused = by_method(estimate_rates(stores))["ppi++"]
    assert (refused.estimate, refused.low, refused.high) == (None, None, None)
    assert refused.why == f"{n} audit labels, and at least 10 are needed"


def test_audits_from_a_file_count_where_the_queue_drew_fewer(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    for name in NAMES[::5]:
        decide(stores.ledger, said(name, is_error(name), is_audit=True))
    for name in NAMES[1::5]:
        decide(stores.ledger, said(name, is_error(name)))
    derive_labels(stores)
    estimate = by_method(estimate_rates(stores))["ppi++"]
    assert (estimate.n_labels, estimate.response_rate) == (40, None)
    assert estimate.estimate is not None


def test_each_app_has_its_own_rate(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES[:100], app="shop")
    add_traces(stores, [trace(n, "hi", "hello", "no", app="bank") for n in NAMES[100:]])
    add_scores(stores, {name: probability(name) for name in NAMES})
    fill_queue(stores, AUDIT_OF_40, DAY)
    answer(stores)
    estimates = estimate_rates(stores)
    assert list(dict.fromkeys(e.app for e in estimates)) == ["*", "bank", "shop"]
    assert by_method(estimates, "bank")["ppi++"].n_traces == 100
    assert estimate_rates(stores, "bank") == [e for e in estimates if e.app == "bank"]
    with pytest.raises(NotFound, match="did you mean 'bank'"):
        estimate_rates(stores, "bnak")


def test_without_verdicts_there_is_nothing_to_estimate(project: Project) -> None:
    assert estimate_rates(project.stores) == []
    report = write_quality_report(project.stores)
    assert (report.estimates, report.agreement, report.written) == ([], None, 0)


def test_what_was_estimated_is_stored_once(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    fill_queue(stores, AUDIT_OF_40, DAY)
    answer(stores)
    for _ in range(2):
        report = write_quality_report(stores)
    with stores.warehouse.open() as connection:
        stored = connection.raw.sql("from estimates order by all").to_arrow_table().to_pylist()
    known = [e for e in report.estimates if e.estimate is not None]
    assert len(stored) == report.written == len(known)
    assert {(row["app"], row["method"]): row["high"] for row in stored} == {
        (e.app, e.method): e.high for e in known
    }
    assert report.agreement is not None


def test_agreement_is_measured_on_the_audit_alone(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    fill_queue(stores, AUDIT_OF_40, DAY)
    answered = answer(stores)
    for name in NAMES[:20]:
        decide(stores.ledger, said(name, is_error(name)))
    derive_labels(stores)
    card = judge_agreement(stores)
    right = sum((probability(name) >= 0.5) == is_error(name) for name in answered)
    assert (card.n, card.positives) == (len(answered), sum(map(is_error, answered)))
    assert card.rates["accuracy"] == wilson(right, len(answered))


def test_agreement_on_too_few_audits_is_refused(project: Project) -> None:
    judged_day(project.stores, NAMES)
    with pytest.raises(NotEnough, match="0 audit labels"):
        judge_agreement(project.stores)


def test_calibration_is_measured_on_its_own_split_and_weighted(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES)
    own = [name for name in NAMES if split_of(f"session-{name}") == "calibration"]
    chances = {name: [None, 0.5, 0.01][i % 3] for i, name in enumerate(own)}
    for name in [*NAMES[:20], *own]:
        draw = chances.get(name)
        decide(stores.ledger, said(name, is_error(name), draw_probability=draw))
    derive_labels(stores)
    report = measure_calibration(stores)
    truth = np.array([is_error(name) for name in own])
    p = np.array([probability(name) for name in own])
    # 1 where nothing is known, 1 / .5, and 1 / .01 = 100 cut at 20.
    w = np.array([[1.0, 2.0, 20.0][i % 3] for i in range(len(own))])
    assert (report.n, report.positives, report.why) == (len(own), int(truth.sum()), "")
    assert report.ece is not None
    assert report.brier is not None
    assert report.ece.estimate == pytest.approx(ece(truth, p, weight=w))
    assert report.brier.estimate == pytest.approx(np.average((truth - p) ** 2, weights=w))
    assert report.ece.low <= report.ece.estimate <= report.ece.high + 1e-9
    assert sum(part.n for part in report.bins) == len(own)


def test_bins_say_what_the_judge_said_and_how_often_it_was_so(project: Project) -> None:
    stores = project.stores
    names = [f"c{i}" for i in range(400) if split_of(f"session-c{i}") == "calibration"][:20]
    add_traces(stores, [trace(name, "hi", "hello", "no") for name in names])
    add_scores(stores, {name: i / 20 for i, name in enumerate(names)})
    for i, name in enumerate(names):
        decide(stores.ledger, said(name, i >= 10))
    derive_labels(stores)
    report = measure_calibration(stores)
    # Twenty labels in ten bins of two: the first says (0 + .05) / 2 and none is an error.
    assert [part.n for part in report.bins] == [2] * 10
    assert report.bins[0].probability == pytest.approx(0.025)
    assert report.bins[0].observed == wilson(0, 2)
    gaps = [abs(part.probability - part.observed.estimate) for part in report.bins]
    assert report.ece is not None
    assert report.ece.estimate == pytest.approx(sum(gaps) / 10)


def test_too_few_labels_leave_calibration_unmeasured(project: Project) -> None:
    judged_day(project.stores, NAMES)
    report = measure_calibration(project.stores)
    assert (report.ece, report.brier, report.bins) == (None, None, [])
    assert report.why == "0 labels in the calibration split, and at least 20 needed"
