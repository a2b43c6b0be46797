"""Drift: a change is found, no change is not, and the price of a false alarm is the stated one."""

from datetime import date, timedelta

import numpy as np
import pytest

from flywheel.models.embedder import Embedder, load_embedder
from flywheel.quality.day_vectors import vectors_of_day
from flywheel.quality.drift import DriftReport, DriftTest, measure_drift
from flywheel.quality.two_samples import distance, in_bins, permutation_test, stability
from flywheel.quality.watched import watched_figures
from flywheel.records import unit_hash
from flywheel.settings import QualitySettings
from flywheel.store import Project, Stores
from flywheel.store.publications import published
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces

SETTINGS = QualitySettings(drift_alpha=0.05, reference_days=3)
BEFORE = [DAY - timedelta(days=back) for back in (3, 2, 1)]


def fill(stores: Stores, days: list[date], lift: float = 0.0, asks: str = "my train") -> None:
    """Forty sessions of two traces a day, alike within a session; `lift` moves the scores."""
    for day in days:
        names = [f"{day}-{i}" for i in range(80)]
        rows = [
            trace(name, f"{asks} {i}", "yes", "no", session_id=f"{day}-{i // 2}", app="desk")
            for i, name in enumerate(names)
        ]
        add_traces(stores, rows, day)
        scores = {
            name: min(0.99, 0.6 * unit_hash(f"{day}-{i // 2}", "p") + lift)
            for i, name in enumerate(names)
        }
        add_scores(stores, scores, day)


def by_subject(report: DriftReport) -> dict[str, DriftTest]:
    return {test.subject: test for test in report.tests}


@pytest.fixture
def stores(project: Project) -> Stores:
    return project.stores


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


def test_scores_that_moved_have_drifted_and_requests_that_did_not_have_not(
    stores: Stores, embedder: Embedder
) -> None:
    fill(stores, BEFORE)
    fill(stores, [DAY], lift=0.3)
    found = by_subject(measure_drift(stores, embedder, SETTINGS, DAY))
    assert found["scores"].has_drifted
    assert found["scores"].psi is not None
    assert found["scores"].psi > 0.25
    assert not found["embeddings"].has_drifted
    # Two tests share the level; the days before are all there.
    assert found["scores"].alpha == SETTINGS.drift_alpha / 2
    assert (found["scores"].n, found["scores"].n_reference) == (80, 240)
    assert found["scores"].first_reference_day == BEFORE[0]


def test_requests_about_something_else_have_drifted(stores: Stores, embedder: Embedder) -> None:
    fill(stores, BEFORE)
    fill(stores, [DAY], asks="write a poem on the sea and its whales for")
    found = by_subject(measure_drift(stores, embedder, SETTINGS, DAY))
    assert found["embeddings"].has_drifted
    assert not found["scores"].has_drifted


def test_too_few_sessions_give_no_test_but_the_reason(stores: Stores, embedder: Embedder) -> None:
    fill(stores, [DAY])
    report = measure_drift(stores, embedder, SETTINGS, DAY)
    assert report.tests == []
    assert report.why["scores"].startswith("40 sessions of the day and 0 of the days before it")


def test_scores_of_another_judge_are_no_reference(stores: Stores, embedder: Embedder) -> None:
    fill(stores, BEFORE)
    fill(stores, [DAY], lift=0.3)
    names = [f"{DAY}-{i}" for i in range(80)]
    add_scores(stores, dict.fromkeys(names, 0.9), DAY, judge="judge-new/frozen")
    report = measure_drift(stores, embedder, SETTINGS, DAY)
    assert "scores" not in by_subject(report)
    assert "0 of the days before it" in report.why["scores"]


def test_each_busy_application_is_tested_and_all_share_the_level(
    stores: Stores, embedder: Embedder
) -> None:
    fill(stores, BEFORE)
    fill(stores, [DAY])
    for day in [*BEFORE, DAY]:
        names = [f"other-{day}-{i}" for i in range(40)]
        add_traces(stores, [trace(n, "a bus", "yes", "no", app="bus") for n in names], day)
        add_scores(
            stores,
            {name: unit_hash(name, "p") for name in names}
            | {f"{day}-{i}": 0.6 * unit_hash(f"{day}-{i // 2}", "p") for i in range(80)},
            day,
        )
    report = measure_drift(stores, embedder, SETTINGS, DAY)
    tested = {(test.app, test.subject) for test in report.tests}
    assert {("*", "scores"), ("desk", "scores"), ("bus", "scores")} <= tested
    assert {test.alpha for test in report.tests} == {SETTINGS.drift_alpha / len(report.tests)}


def test_what_was_embedded_once_is_not_embedded_again(stores: Stores, embedder: Embedder) -> None:
    fill(stores, [DAY])
    first = vectors_of_day(stores, embedder, DAY)
    artifact = published(stores, f"vectors-{DAY}")
    again = vectors_of_day(stores, embedder, DAY)
    assert published(stores, f"vectors-{DAY}") == artifact
    # Kept in half precision.
    np.testing.assert_array_equal(first.vectors, again.vectors)


def test_stability_of_a_shift_by_hand() -> None:
    # (.6 - .4) ln(.6 / .4) + (.4 - .6) ln(.4 / .6) = .4 ln 1.5 = .162; the floor moves it a little.
    assert stability(np.array([[0.6, 0.4]]), np.array([[0.4, 0.6]]))[0] == pytest.approx(
        0.162, abs=0.002
    )


def test_false_alarms_come_as_often_as_stated_when_sessions_are_alike_inside() -> None:
    rng = np.random.default_rng(1)
    p_values, as_rows = [], []
    for seed in range(200):
        centre = np.repeat(rng.normal(size=60), 4)
        rows = in_bins(centre + 0.1 * rng.normal(size=240))
        sessions = [f"s{i // 4}" for i in range(240)]
        is_first = np.arange(240) < 80
        p_values.append(permutation_test(rows, sessions, is_first, stability, 199, seed)[1])
        alone = [f"r{i}" for i in range(240)]
        as_rows.append(permutation_test(rows, alone, is_first, stability, 199, seed)[1])
    # 200 tests at .05: a true rate of .05 gives .09 or more once in a hundred.
    assert np.mean(np.array(p_values) <= 0.05) < 0.09
    # Dealing rows instead of sessions would raise the alarm every other day.
    assert np.mean(np.array(as_rows) <= 0.05) > 0.25


def test_a_shift_of_the_mean_vector_is_found() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(200, 8))
    rows[:50, 0] += 1.0
    statistic, p = permutation_test(
        rows, [str(i) for i in range(200)], np.arange(200) < 50, distance, 499
    )
    assert statistic > 0.5
    assert p == 1 / 500


def test_the_quality_page_is_given_what_drifted_and_what_judging_cost(
    stores: Stores, embedder: Embedder
) -> None:
    fill(stores, BEFORE)
    fill(stores, [DAY], lift=0.3)
    with stores.warehouse.open() as connection:
        connection.raw.execute("update score_runs set cost_usd = 0.08")
        connection.raw.execute("update scores set is_decided = true where probability < 0.2")
    measure_drift(stores, embedder, SETTINGS, DAY)
    tiers, drift = watched_figures(stores)
    # Four days of eighty traces, at .08 USD a day.
    assert "320 conversations of the last 28 days were judged for 0.32 USD" in tiers.sentence
    assert "1.0 a thousand" in tiers.sentence
    assert tiers.rows[0].cells[:2] == ["lexical", "320"]
    assert "has the last word" in tiers.sentence
    assert drift.sentence == (
        f"Scores of all applications on {DAY} are unlike those of the days before."
    )
    assert [row.cells[:4] for row in drift.rows] == [
        [str(DAY), "all applications", "embeddings", "no"],
        [str(DAY), "all applications", "scores", "yes"],
    ]
