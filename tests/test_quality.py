"""Rates with intervals, refusals with reasons, how judge and people agree, and how it moves."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from flywheel.corrections import derive_labels
from flywheel.errors import BadArtifact, NotEnough, NotFound
from flywheel.quality import (
    RateEstimate,
    estimate_rates,
    judge_agreement,
    measure_calibration,
    write_quality_report,
)
from flywheel.quality.answers import shared_answers
from flywheel.quality.audit import judged_traces
from flywheel.quality.publishing import published_quality
from flywheel.quality.rates import daily_rates
from flywheel.quality.throughput import Progress, Tally, measure_throughput
from flywheel.quality.trends import (
    AgeDay,
    age_at_decision,
    agreement_by_week,
    judge_by_week,
    waiting_by_age,
)
from flywheel.queue import fill_queue
from flywheel.records import split_of, unit_hash
from flywheel.review import decide, decline, skip, undo
from flywheel.settings import QueueSettings
from flywheel.statistics import ece, wilson
from flywheel.store import Project, Stores
from flywheel.store.ledger import Ledger
from flywheel.store.publications import publish, published, read_published
from flywheel.store.tables import queue_items
from tests.conftest import trace
from tests.estimating import ppi_mean, weighted_mean_estimate
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
        [probability(name) for name in NAMES if name not in answered],
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
    interval = by_method(estimate_rates(stores))["ppi++"].interval
    assert interval is not None
    assert interval.high - interval.low > 0.9


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


def test_labels_nearly_all_of_one_kind_speak_without_the_judge(project: Project) -> None:
    # Two errors say nothing of how the judge leans on them: 2 of 20, a little wider than Wilson's.
    stores = project.stores
    judged_day(stores, NAMES)
    for number, name in enumerate(NAMES[:20]):
        decide(stores.ledger, said(name, number < 2, is_audit=True))
    derive_labels(stores)
    found = by_method(estimate_rates(stores))
    labels = wilson(2, 20)
    assert found["labels only"].interval == labels
    corrected = found["ppi++"].interval
    assert corrected is not None
    assert corrected.estimate == pytest.approx(0.1)
    assert corrected.low < labels.low < labels.high < corrected.high < 0.35


def test_an_interval_from_few_labels_covers_the_truth() -> None:
    # 12 labels of 200 traces, an error in one of ten: three in four of such draws have no or one
    # error among them, or two.
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        truth = rng.random(200) < 0.1
        judge = np.where(rng.random(200) < np.where(truth, 0.85, 0.1), 0.9, 0.1)
        found = ppi_mean(
            truth[:12].astype(float).tolist(), judge[:12].tolist(), judge[12:].tolist()
        )
        covered += found.low <= 0.1 <= found.high
    assert covered / 400 >= 0.93


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


def test_each_day_has_the_best_estimate_that_its_labels_allow(project: Project) -> None:
    # 40 audit labels, 6 and 2, of a fifth of which the first are errors.
    stores = project.stores
    for number, n_labels in enumerate((40, 6, 2)):
        day, names = DAY + timedelta(number), NAMES[60 * number : 60 * number + 60]
        judged_day(stores, names, day)
        for place, name in enumerate(names[:n_labels]):
            decide(stores.ledger, said(name, place % 5 == 0, is_audit=True))
    derive_labels(stores)
    rates = daily_rates(judged_traces(stores), n_days=7, n_apps=3)
    assert [(rate.app, rate.method, rate.n_labels) for rate in rates] == [
        ("shop", "ppi++", 40),
        ("shop", "labels only", 6),
        ("shop", "judge only, unadjusted", 0),
    ]
    assert [rate.first_day for rate in rates] == [DAY + timedelta(n) for n in range(3)]
    assert rates[1].interval == wilson(2, 6)
    flagged = sum(probability(name) >= 0.5 for name in NAMES[120:180])
    assert rates[2].interval == wilson(flagged, 60)
    newest = daily_rates(judged_traces(stores), n_days=1, n_apps=3)
    assert newest == rates[2:]


def test_the_busiest_apps_stand_below_all_of_them(project: Project) -> None:
    stores = project.stores
    many = [trace(n, "hi", "hello", "no", app="shop") for n in NAMES[:30]]
    add_traces(stores, [*many, *(trace(n, "hi", "ho", "no", app="bank") for n in NAMES[30:50])])
    add_traces(stores, [trace(n, "hi", "ho", "no", app="desk") for n in NAMES[50:55]])
    add_scores(stores, {name: probability(name) for name in NAMES[:55]})
    rates = daily_rates(judged_traces(stores), n_days=7, n_apps=2)
    assert [(rate.app, rate.n_traces) for rate in rates] == [("*", 55), ("shop", 30), ("bank", 20)]


def test_the_judge_is_held_against_each_weeks_audit(project: Project) -> None:
    # Monday 2 March and Sunday 8 March are one week, the 9th is the next. The judge finds 4 of 5
    # errors in the first, and lets 10 of 10 others pass; the second has too few labels.
    stores = project.stores
    days = {DAY: NAMES[:10], DAY + timedelta(6): NAMES[10:15], DAY + timedelta(7): NAMES[15:18]}
    for day, names in days.items():
        add_traces(stores, [trace(name, "hi", "hello", "no") for name in names], day)
        add_scores(stores, {name: 0.9 if NAMES.index(name) < 4 else 0.1 for name in names}, day)
    for number, name in enumerate(NAMES[:18]):
        decide(stores.ledger, said(name, number < 5, is_audit=True))
    derive_labels(stores)
    first, second = judge_by_week(judged_traces(stores))
    assert (first.week, first.n_errors, first.n_fine) == (DAY, 5, 10)
    assert first.sensitivity == wilson(4, 5)
    assert first.specificity == wilson(10, 10)
    assert (second.week, second.n_fine, second.specificity) == (DAY + timedelta(7), 3, None)


def test_a_weeks_share_counts_sessions_and_not_traces(project: Project) -> None:
    # Two sessions of ten traces each, all right in the one and all wrong in the other: .5 of two
    # witnesses can be anything from 0 to 1.
    stores = project.stores
    traces = [
        trace(name, "hi", "hello", "no", session_id=f"s{number // 10}")
        for number, name in enumerate(NAMES[:20])
    ]
    add_traces(stores, traces)
    add_scores(stores, {name: 0.9 if n < 10 else 0.1 for n, name in enumerate(NAMES[:20])})
    for name in NAMES[:20]:
        decide(stores.ledger, said(name, True, is_audit=True))
    derive_labels(stores)
    (week,) = judge_by_week(judged_traces(stores))
    assert week.sensitivity is not None
    assert (week.sensitivity.low, week.sensitivity.estimate, week.sensitivity.high) == (0, 0.5, 1)


def test_reviewers_are_compared_in_the_week_that_finished_the_item(ledger: Ledger) -> None:
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    for number in range(12):
        late = monday + timedelta(days=7 if number < 10 else 0, seconds=-1)
        decide(ledger, said(f"t{number}", number % 2 == 0, "ann", decided_at=monday - timedelta(9)))
        decide(ledger, said(f"t{number}", number % 2 == 0, "bob", decided_at=late))
    before, after = agreement_by_week(shared_answers(ledger))
    assert (before.week, before.agreement.n_items) == (DAY - timedelta(7), 2)
    assert before.agreement.why.startswith("2 items with two opinions")
    assert (after.week, after.agreement.n_items) == (DAY, 10)
    assert after.agreement.beyond_chance is not None


def queued(ledger: Ledger, ages: Iterable[float], at: datetime, status: str = "pending") -> None:
    """Items that were queued so many days before a moment."""
    rows = [
        {
            "queue": "review",
            "trace_id": f"{status}-{place}",
            "content_hash": f"v1-{status}-{place}",
            "app": "shop",
            "day": DAY,
            "reason": "uncertain",
            "priority": 0.5,
            "draw_probability": 1.0,
            "audit_probability": 0.0,
            "status": status,
            "reviewers_needed": 1,
            "queued_at": at - timedelta(days=age),
        }
        for place, age in enumerate(ages)
    ]
    with ledger.begin() as connection:
        connection.execute(queue_items.insert(), rows)


AT = datetime(2026, 3, 20, 12, tzinfo=UTC)


def test_open_items_stand_by_how_long_they_wait(ledger: Ledger) -> None:
    queued(ledger, (0.2, 0.9, 1, 2.9, 3, 400), AT)
    queued(ledger, (8,), AT, "disputed")
    queued(ledger, (50,), AT, "complete")
    groups = waiting_by_age(ledger, AT)
    assert [(g.low_days, g.high_days, g.waiting, g.disputed) for g in groups] == [
        (0, 1, 2, 0),
        (1, 3, 2, 0),
        (3, 7, 1, 0),
        (7, 14, 0, 1),
        (14, 30, 0, 0),
        (30, None, 1, 0),
    ]


def test_the_age_of_an_item_is_taken_when_it_is_finished(ledger: Ledger) -> None:
    queued(ledger, (1, 2, 6, 300), AT)
    for place, after_days in enumerate((0, 0, -1, -100)):
        decided_at = AT + timedelta(days=after_days)
        decide(ledger, said(f"pending-{place}", False, decided_at=decided_at))
    assert age_at_decision(ledger, AT) == [
        AgeDay(date(2026, 3, 19), 1, 5.0, 5.0, 5.0),
        AgeDay(date(2026, 3, 20), 2, 1.25, 1.5, 1.75),
    ]


def test_work_is_counted_today_this_week_and_ever(ledger: Ledger) -> None:
    queued(ledger, (5.0,) * 8, AT)
    better = {"corrected_turn": 1, "corrected_text": "better"}
    for place, (age, more) in enumerate(
        [(0.1, better), (0.6, {}), (3, {}), (30, {}), (0.2, {"seconds": 500.0})]
    ):
        seconds = {"seconds": 10.0 * place} | more
        decided_at = AT - timedelta(days=age)
        decide(ledger, said(f"pending-{place}", True, decided_at=decided_at, **seconds))
    undo(ledger, "ann")
    decide(ledger, said("pending-5", True, "bob", decided_at=AT))
    decide(ledger, said("pending-5", False, "cem", decided_at=AT))
    decline(ledger, "pending-6", "v1-pending-6", "bob", "no")
    found = measure_throughput(ledger, AT)
    ann, bob, cem = found.by_reviewer
    assert (ann.reviewer, bob.reviewer, cem.reviewer) == ("ann", "bob", "cem")
    # 7.2 hours before noon is today, 14.4 are not.
    assert ann.by_period["today"] == Tally(1, 1)
    assert ann.by_period["week"] == Tally(3, 1)
    assert ann.by_period["ever"] == Tally(4, 1)
    # Of 0, 10, 20 and 30 s; the 500 were taken back.
    assert ann.median_seconds == 15.0
    assert bob.by_period["ever"] == Tally(decided=1, declined=1)
    assert found.total("ever") == Tally(6, 1, 0, 1)
    # Four decided and one declined; on one two people differ, and one was taken back.
    assert found.by_queue == [Progress("review", 5, 8)]
    assert found.by_day == [Progress("2026-03-02", 5, 8)]
    assert (found.open_items, found.disputed) == (3, 1)
    assert found.oldest_open == AT - timedelta(days=5)


def test_skips_are_counted_and_disputes_wait(ledger: Ledger) -> None:
    queued(ledger, (1.0, 2.0), AT)
    queued(ledger, (9.0,), AT, "disputed")
    with ledger.begin() as connection:
        item_id = connection.scalar(sa.select(sa.func.min(queue_items.c.item_id)))
    skip(ledger, item_id, "ann")
    found = measure_throughput(ledger, datetime.now(UTC))
    assert found.by_reviewer[0].by_period["today"] == Tally(skipped=1)
    assert (found.open_items, found.disputed) == (3, 1)
    assert found.oldest_open == AT - timedelta(days=9)


def test_without_work_there_is_nothing_to_count(ledger: Ledger) -> None:
    found = measure_throughput(ledger, AT)
    assert (found.by_reviewer, found.by_queue, found.by_day) == ([], [], [])
    assert (found.total("ever"), found.open_items, found.oldest_open) == (Tally(), 0, None)


def test_what_the_page_shows_is_published_with_the_report(project: Project) -> None:
    stores = project.stores
    assert published_quality(stores) is None
    judged_day(stores, NAMES[:60])
    for number, name in enumerate(NAMES[:30]):
        decide(stores.ledger, said(name, number % 5 == 0, is_audit=True))
    derive_labels(stores)
    report = write_quality_report(stores, AT)
    shown = published_quality(stores)
    assert shown is not None
    assert (shown.measured_at, shown.estimates) == (AT, report.estimates)
    assert (shown.n_labels, shown.n_errors) == (30, 6)
    assert report.agreement is not None
    assert shown.judge == report.agreement.rates
    names = ["rates", "judge", "agreement", "waiting", "decided", "tiers", "drift"]
    assert [figure.name for figure in shown.figures] == names
    rates, judge, agreement, waiting, decided = shown.figures[:5]
    assert rates.wide.startswith("<svg")
    assert rates.rows[0].href == "/queue?app=shop&day=2026-03-02&status=complete"
    assert rates.sentence.startswith("On 2026-03-02, the last day with enough labels, users saw")
    assert judge.wide
    for empty in (agreement, waiting, decided):
        assert (empty.wide, empty.narrow) == ("", "")
    assert agreement.sentence.startswith("No item has been decided by two people.")
    assert waiting.sentence.startswith("Nothing waits")
    assert decided.sentence.startswith("Nobody has finished an item")


def test_nothing_is_drawn_of_an_empty_project(project: Project) -> None:
    write_quality_report(project.stores, AT)
    shown = published_quality(project.stores)
    assert shown is not None
    assert {figure.wide for figure in shown.figures} == {""}
    assert shown.figures[0].sentence.startswith("No trace has a verdict yet.")


def test_a_report_takes_the_place_of_the_one_before(project: Project) -> None:
    stores = project.stores
    first = publish(stores, "quality", b"{}")
    # What an earlier version wrote is as good as nothing.
    assert published_quality(stores) is None
    write_quality_report(stores, AT)
    second = published(stores, "quality")
    assert second != first
    folder = stores.artifacts.root / "quality"
    assert [path.name for path in folder.iterdir()] == [second]
    write_quality_report(stores, AT)
    assert published(stores, "quality") == second
    (folder / str(second)).unlink()
    with pytest.raises(NotFound, match="quality artifact"):
        read_published(stores, "quality")


def test_a_damaged_report_is_made_again(project: Project) -> None:
    stores = project.stores
    judged_day(stores, NAMES[:5])
    write_quality_report(stores, AT)
    (path,) = (stores.artifacts.root / "quality").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadArtifact, match="what made it makes it again"):
        published_quality(stores)
    write_quality_report(stores, AT)
    shown = published_quality(stores)
    assert shown is not None
    assert shown.measured_at == AT
