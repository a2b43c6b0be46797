"""Experiments: who is given which arm, and intervals that hold however often somebody looks."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from flywheel.corrections import derive_labels
from flywheel.errors import BadInput, NotFound, Refused
from flywheel.experiments.assigning import ArmService, Whom
from flywheel.experiments.experiment import (
    Experiment,
    ExperimentArm,
    ExperimentKind,
    Plan,
    check_experiment,
    equal_shares,
    unit_key,
)
from flywheel.experiments.looks import Reading, read_outcomes
from flywheel.experiments.outcomes import ArmOutcome, Difference, Outcomes, measure_outcomes
from flywheel.experiments.publishing import conclude, look_at_experiments, published_experiments
from flywheel.experiments.running import (
    get_experiment,
    list_experiments,
    start_experiment,
    stop_experiment,
)
from flywheel.forgetting.ledger_rows import remove_rows
from flywheel.forgetting.selection import Selection, select_gone
from flywheel.records import unit_hash
from flywheel.review import decide
from flywheel.statistics import (
    Z95,
    clustered_mean,
    confidence_sequence,
    fixed_information,
    information_to_decide,
    margins,
    mismatch_p_value,
)
from flywheel.store import Project
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import audit_log, experiment_looks, exposures
from tests.conftest import trace
from tests.judged import add_scores, add_traces, said

AT = now()
TODAY = AT.date()


def arms(*names: str, shares: list[float] | None = None) -> tuple[ExperimentArm, ...]:
    return tuple(
        ExperimentArm(name, share)
        for name, share in zip(names, shares or equal_shares(len(names)), strict=True)
    )


def an_experiment(
    name: str = "tone", kind: ExperimentKind = "prompt", **more: object
) -> Experiment:
    known = {
        "app": "shop",
        "arms": arms("plain", "warm"),
        "plan": Plan("verdict", 0.1),
        "actor": "ann",
        "started_at": AT - timedelta(days=2),
    }
    return Experiment(name, kind, **(known | more))  # type: ignore[arg-type]


def begin(project: Project, name: str = "tone", outcome: str = "verdict", **more: object) -> None:
    known = {"kind": "prompt", "arms": arms("plain", "warm"), "plan": Plan(outcome, 0.1)}
    start_experiment(
        project.stores.ledger, name, **(known | {"actor": "ann", "app": "shop"} | more)
    )  # type: ignore[arg-type]


def serve(
    project: Project, n: int, has_error: Callable[[int, str], bool], name: str = "tone"
) -> dict[str, str]:
    """Sessions that ask for their arm and then talk; what the judge says; arm by trace."""
    service = ArmService(project.stores)
    given = {f"t{i}": service.give(name, Whom("shop", f"s{i}", f"u{i}")).arm.name for i in range(n)}
    service.close()
    traces = [
        trace(f"t{i}", "a table", "for Thursday", "no, Friday", session_id=f"s{i}", app="shop")
        for i in range(n)
    ]
    add_traces(project.stores, traces, day=TODAY)
    scores = {f"t{i}": 0.9 if has_error(i, given[f"t{i}"]) else 0.1 for i in range(n)}
    add_scores(project.stores, scores, day=TODAY)
    return given


# Who is given which arm


def test_an_arm_depends_on_nothing_but_the_session_and_the_experiment() -> None:
    one, again = an_experiment(), an_experiment(started_at=AT, actor="bob")
    given = [one.arm_of(f"s{i}").name for i in range(200)]
    assert given == [again.arm_of(f"s{i}", f"u{i}").name for i in range(200)]
    assert set(given) == {"plain", "warm"}
    # Worked by hand: the first arm has the hashes below its share.
    place = unit_hash("session:s0", "experiment:tone")
    assert one.arm_of("s0").name == ("plain" if place < 0.5 else "warm")


def test_the_user_stands_in_for_a_session_that_is_not_known() -> None:
    one = an_experiment()
    assert {one.arm_of(None, f"u{i}").name for i in range(50)} == {"plain", "warm"}
    with pytest.raises(BadInput, match="session_id or user_id"):
        one.arm_of(None, "")
    assert unit_key("a", "b") == unit_key("a", None) != unit_key(None, "a")


def test_arms_are_given_by_their_shares_and_independently_between_experiments() -> None:
    from scipy import stats

    n, shares = 20_000, [0.2, 0.3, 0.5]
    first = an_experiment("first", arms=arms("a", "b", "c", shares=shares))
    second = an_experiment("second", arms=arms("a", "b", "c", shares=shares))
    pairs = Counter((first.arm_of(f"s{i}").name, second.arm_of(f"s{i}").name) for i in range(n))
    expected = {
        (x, y): n * p * q
        for x, p in zip("abc", shares, strict=True)
        for y, q in zip("abc", shares, strict=True)
    }
    # One test of both: nine cells, of which eight are free.
    p_value = stats.chisquare([pairs[cell] for cell in expected], list(expected.values())).pvalue
    assert p_value > 1e-3


def test_an_exposure_is_noted_once_a_session(project: Project) -> None:
    begin(project)
    for _ in range(2):
        service = ArmService(project.stores)
        first = service.give("tone", Whom("shop", "s1", "u1"))
        again = service.give("tone", Whom("shop", "s1"))
        service.give("tone", Whom("shop", None, "u1"))
        service.close()
        assert first.arm == again.arm
        assert first.is_counted
        assert again.is_counted
    with project.stores.ledger.read() as connection:
        rows = connection.execute(sa.select(exposures).order_by(exposures.c.session_id)).all()
    assert sorted((row.session_id or "", row.user_id) for row in rows) == [("", "u1"), ("s1", "u1")]


def test_another_application_and_a_stopped_experiment_are_given_the_first_arm(
    project: Project,
) -> None:
    begin(project)
    service = ArmService(project.stores)
    names = [f"s{i}" for i in range(20)]
    others = [service.give("tone", Whom("travel", name)) for name in names]
    assert {one.arm.name for one in others} == {"plain"}
    assert not any(one.is_counted for one in others)
    stop_experiment(project.stores.ledger, "tone", "ann", "enough")
    later = ArmService(project.stores)
    over = [later.give("tone", Whom("shop", name)) for name in names]
    assert {(one.arm.name, one.is_counted) for one in over} == {("plain", False)}
    with pytest.raises(NotFound, match="no experiment 'tome'; did you mean 'tone'"):
        later.give("tome", Whom("shop", "s1"))
    service.close()
    later.close()
    with project.stores.ledger.read() as connection:
        assert connection.execute(sa.select(exposures)).all() == []


def test_who_is_forgotten_was_in_no_experiment(project: Project) -> None:
    begin(project)
    serve(project, 3, lambda i, arm: False)
    gone = remove_rows(
        project.stores.ledger, Selection(sessions={"s0"}, users={"u1"}), lambda name: "x"
    )
    assert gone["exposures"] == 2


def test_who_was_given_an_arm_and_sent_no_trace_is_forgotten_too(project: Project) -> None:
    class Forgotten:
        def is_gone(self, kind: str, name: str, apps: frozenset[str]) -> bool:
            return (kind, name, apps) == ("user", "u9", {"shop"})

    begin(project)
    service = ArmService(project.stores)
    service.give("tone", Whom("shop", "s9", "u9"))
    service.close()
    found = select_gone(project, Forgotten())
    assert (found.users, found.traces) == ({"u9"}, set())


# What can be run


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "a b"}, "no name of an experiment"),
        ({"arms": arms("a")}, "2 to 6 arms"),
        ({"arms": arms("a", "a")}, "same name"),
        ({"arms": arms("a", "b", shares=[0.5, 0.4])}, "add up to 0.9"),
        ({"arms": arms("a", "b", shares=[1.0, 0.0])}, "above 0"),
        ({"plan": Plan("wrong", 0.1)}, "no outcome; known: perceived_error"),
        ({"plan": Plan("verdict", 5.0)}, "0.05 is five points"),
        ({"plan": Plan("verdict", 0.1, 0.9)}, "alpha"),
        ({"plan": Plan("verdict", 0.1, 0.05, 3)}, "at least 50"),
        ({"kind": "judge"}, "names no version"),
        ({"kind": "few-shots", "arms": (*arms("a"), ExperimentArm("b", 1, {"q": 1}))}, "no policy"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_a_sentence(change: dict[str, object], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        check_experiment(an_experiment(**change))  # type: ignore[arg-type]


def test_what_begins_and_ends_stands_in_the_audit_log(ledger: Ledger) -> None:
    start_experiment(ledger, "tone", "prompt", arms("a", "b"), Plan("verdict", 0.1), "ann")
    with pytest.raises(Refused, match="take another name"):
        start_experiment(ledger, "tone", "prompt", arms("a", "b"), Plan("verdict", 0.1), "ann")
    stopped = stop_experiment(ledger, "tone", "bob", "b is better")
    assert not stopped.is_running
    assert get_experiment(ledger, "tone").conclusion == "b is better"
    assert [one.name for one in list_experiments(ledger)] == ["tone"]
    assert list_experiments(ledger, is_running=True) == []
    with pytest.raises(Refused, match="stopped already"):
        stop_experiment(ledger, "tone", "bob", "again")
    with ledger.read() as connection:
        rows = connection.execute(sa.select(audit_log).order_by(audit_log.c.entry_id)).all()
    assert [(row.actor, row.action) for row in rows] == [
        ("ann", "start_experiment"),
        ("bob", "stop_experiment"),
    ]
    assert json.loads(rows[1].detail)["conclusion"] == "b is better"


def test_an_applications_examples_are_in_one_experiment_at_a_time(ledger: Ledger) -> None:
    none = (ExperimentArm("five", 0.5), ExperimentArm("none", 0.5, {"k": 0}))
    plan = Plan("verdict", 0.1)
    start_experiment(ledger, "one", "few-shots", none, plan, "ann", "shop")
    start_experiment(ledger, "two", "few-shots", none, plan, "ann", "travel")
    for app in ("shop", ""):
        with pytest.raises(Refused, match="stop it first"):
            start_experiment(ledger, "three", "few-shots", none, plan, "ann", app)


# Intervals that may be looked at every day


def daily_looks(
    rates: tuple[float, float], sessions: int, days: int, draws: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference and variance at each day's look, of shape (draws, days); and sessions an arm."""
    rng, n = np.random.default_rng(7), sessions * np.arange(1, days + 1)
    shares = [rng.binomial(sessions, rate, (draws, days)).cumsum(axis=1) / n for rate in rates]
    # As clustered_mean has it, of one trace a session.
    variance = sum(np.maximum(s * (1 - s) / (n - 1), 0.5 / n**2) for s in shares)
    return shares[1] - shares[0], np.asarray(variance), n


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_the_sequence_holds_at_all_looks_together_where_a_plain_interval_does_not(
    rate: float,
) -> None:
    difference, variance, n = daily_looks((rate, rate), 20, 100, 3_000)
    is_said = n >= 50
    wrong = is_said & (np.abs(difference) > margins(1 / variance, 0.1, 0.05))
    naive = is_said & (np.abs(difference) > Z95 * np.sqrt(variance))
    # 5 % of 3,000 experiments is 150, with a standard error of 12.
    assert wrong.any(axis=1).mean() < 0.05
    # The same of one look, of which that interval is for.
    assert naive[:, -1].mean() < 0.07
    assert naive.any(axis=1).mean() > 0.25


def test_a_real_difference_stops_an_experiment_at_about_the_size_of_a_fixed_test() -> None:
    difference, variance, n = daily_looks((0.5, 0.4), 20, 150, 1_000)
    is_over = (n >= 50) & (np.abs(difference) > margins(1 / variance, 0.1, 0.05))
    assert is_over.any(axis=1).mean() > 0.99
    stopped = n[is_over.argmax(axis=1)]
    # .25 + .24 is the variance of a pair of sessions.
    fixed = 0.49 * fixed_information(0.1, 0.05)
    assert stopped.mean() < 1.5 * fixed
    # And four of five stop in the time that is told beforehand.
    told = 0.49 * information_to_decide(0.1, 0.05)
    assert (stopped <= told).mean() >= 0.8
    assert told < 2.5 * fixed


def test_a_sequence_is_worked_out_as_the_formula_says() -> None:
    found = confidence_sequence(0.1, 0.0004, 0.05)
    # I = 2,500 and I r = 6.25: sqrt(2 * 7.25 / (2500 * 6.25) * log(sqrt(7.25) / .05)) = .06079
    assert found.low == pytest.approx(0.1 - 0.06083, abs=1e-4)
    assert found.high == pytest.approx(0.1 + 0.06083, abs=1e-4)
    assert found.high - found.estimate > Z95 * 0.02


def test_a_session_counts_once_however_many_traces_it_has() -> None:
    values, sessions = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0, 1, 2, 3])
    mean, variance = clustered_mean(values, sessions, 1.0)
    assert (mean, variance) == (0.5, pytest.approx(4 / 3 * 4 * (0.125) ** 2))
    ten, of_ten = clustered_mean(np.repeat(values, 10), np.repeat(sessions, 10), 1.0)
    assert (ten, of_ten) == (0.5, pytest.approx(variance))
    # Four sessions that are all alike may have missed half a one that is not: .5 / 4^2.
    assert clustered_mean(np.zeros(4), sessions, 1.0)[1] == pytest.approx(0.5 / 16)


def test_lots_that_are_drawn_as_planned_are_hardly_ever_taken_for_others() -> None:
    rng, p_values = np.random.default_rng(3), []
    for _ in range(300):
        counts = rng.binomial(40, 0.3, 60).cumsum()
        totals = 40 * np.arange(1, 61)
        looks = zip(counts.tolist(), totals.tolist(), strict=True)
        p_values.append(min(mismatch_p_value([n, m - n], [0.3, 0.7]) for n, m in looks))
    assert np.mean(np.array(p_values) <= 0.1) <= 0.1
    assert min(p_values) > 0.001
    assert mismatch_p_value([5_300, 4_700], [0.5, 0.5]) < 0.001
    assert mismatch_p_value([0, 0], [0.5, 0.5]) == 1.0


# What an experiment says


def outcomes(
    shares: tuple[float, float], n: int, exposed: tuple[int, int] | None = None
) -> Outcomes:
    """Two arms of `n` sessions each, with these rates."""
    known = [
        ArmOutcome(name, given, given, n, n, 0, share, share * (1 - share) / n)
        for name, share, given in zip(("plain", "warm"), shares, exposed or (n, n), strict=True)
    ]
    variance = known[0].variance + known[1].variance
    return Outcomes(known, [Difference("warm", 2 * n, shares[1] - shares[0], variance)])


def read(found: Outcomes, **decided: object) -> Reading:
    return read_outcomes(an_experiment(), found, AT, decided)  # type: ignore[arg-type]


def test_nothing_is_said_before_the_least_number_of_sessions() -> None:
    (contrast,) = read(outcomes((0.9, 0.1), 49)).contrasts
    assert contrast.state == "waiting"
    assert contrast.difference is None
    assert "before 50 sessions an arm have an outcome: 49 have" in contrast.sentence
    assert read(outcomes((0.9, 0.1), 50)).contrasts[0].state == "different"


def test_an_open_experiment_says_how_long_it_may_take() -> None:
    (contrast,) = read(outcomes((0.30, 0.25), 100)).contrasts
    assert contrast.state == "open"
    # Two days for 200 sessions so far.
    assert contrast.sessions_left is not None
    assert contrast.days_left == pytest.approx(contrast.sessions_left / 100, rel=0.01)
    assert "A difference of 10 points would show within" in contrast.sentence
    assert contrast.difference is not None
    needed = information_to_decide(0.1, 0.05)
    now_known = 100 / (0.3 * 0.7 + 0.25 * 0.75)
    assert contrast.sessions_left == pytest.approx(200 * (needed / now_known - 1), rel=0.01)


def test_arms_that_do_not_differ_by_what_matters_are_alike() -> None:
    (contrast,) = read(outcomes((0.30, 0.30), 4_000)).contrasts
    assert contrast.state == "alike"
    assert "differ by less than 10 points" in contrast.sentence


def test_what_was_decided_stays_so() -> None:
    day = TODAY - timedelta(days=1)
    (contrast,) = read(outcomes((0.30, 0.22), 200), warm=day).contrasts
    assert (contrast.state, contrast.decided_on) == ("open", day)
    assert f"decided on {day}" in contrast.sentence


def test_sessions_that_come_in_other_shares_than_planned_make_it_worthless() -> None:
    reading = read(outcomes((0.9, 0.1), 1_000, exposed=(1_300, 1_000)))
    assert reading.contrasts[0].state == "invalid"
    assert "plain 1,300 where 1,150 were planned" in reading.conclusion
    assert "start anew" in reading.conclusion


def test_an_arm_of_which_traces_are_lost_makes_it_worthless(project: Project) -> None:
    begin(project)
    experiment = get_experiment(project.stores.ledger, "tone")
    found = measure_outcomes(project.stores, experiment)
    lost = [
        ArmOutcome(name, 1_000, arrived, arrived, arrived, 0, 0.2, 0.001)
        for name, arrived in (("plain", 990), ("warm", 700))
    ]
    assert found.arms[0].n_exposed == 0
    reading = read(Outcomes(lost, [Difference("warm", 1_690, 0.0, 0.002)]))
    assert "sent traces are not shared out as planned" in reading.mismatch


# From the session to the conclusion


def test_a_worse_arm_is_found_by_the_judges_verdicts(project: Project) -> None:
    begin(project)
    serve(project, 240, lambda i, arm: i % 10 < (7 if arm == "warm" else 2))
    # Sessions that were never given an arm count for nothing.
    add_traces(project.stores, [trace("x", "a", "b", "no", session_id="x")], day=TODAY)
    (reading,) = look_at_experiments(project.stores)
    (contrast,) = reading.contrasts
    assert contrast.state == "different"
    assert contrast.difference is not None
    assert contrast.difference.low > 0
    assert sum(arm.n_sessions for arm in reading.arms) == 240
    assert "warm against plain" in contrast.sentence
    (published,) = published_experiments(project.stores)
    assert published.reading == reading
    assert "<svg" in published.figure.wide
    stopped = conclude(project.stores, "tone", "ann", "We keep plain.")
    assert stopped.conclusion == f"{contrast.sentence} We keep plain."
    assert look_at_experiments(project.stores) == []
    assert published_experiments(project.stores) == [published]


def test_a_day_has_one_look_and_the_first_that_decides_is_kept(project: Project) -> None:
    begin(project)
    serve(project, 240, lambda i, arm: i % 10 < (7 if arm == "warm" else 2))
    later = AT + timedelta(days=1)
    for moment in (AT, AT + timedelta(minutes=1), later):
        look_at_experiments(project.stores, moment)
    with project.stores.ledger.read() as connection:
        looks = connection.execute(sa.select(experiment_looks.c["day", "state"])).all()
    assert sorted(map(tuple, looks)) == [(TODAY, "different"), (later.date(), "different")]
    (published,) = published_experiments(project.stores)
    assert published.reading.contrasts[0].decided_on == TODAY
    assert len(published.figure.rows) == 2


def test_labels_correct_a_judge_that_errs_on_one_arm_alone(project: Project) -> None:
    """The judge sees errors in the warm arm that people do not: by its word alone warm is worse."""
    begin(project, "by_people", "perceived_error")
    begin(project, "by_judge", "verdict")
    service = ArmService(project.stores)
    for i in range(400):
        service.give("by_people", Whom("shop", f"s{i}"))
    service.close()
    by_people = get_experiment(project.stores.ledger, "by_people")
    warm = {f"t{i}" for i in range(400) if by_people.arm_of(f"s{i}").name == "warm"}
    given = serve(project, 400, lambda i, arm: i % 10 < (6 if f"t{i}" in warm else 2), "by_judge")
    for i in range(400):
        # Every third is read by a person, whatever the judge says of it.
        if unit_hash(f"t{i}", "audit") < 0.35:
            label = said(f"t{i}", i % 10 < 2, is_audit=True)
            decide(project.stores.ledger, label)
    derive_labels(project.stores)
    looked = {one.experiment: one for one in look_at_experiments(project.stores)}
    (contrast,) = looked["by_people"].contrasts
    assert [arm.n_labels >= 30 for arm in looked["by_people"].arms] == [True, True]
    assert contrast.difference is not None
    assert contrast.difference.low < 0 < contrast.difference.high
    rates = [arm.estimate for arm in looked["by_people"].arms]
    assert rates == pytest.approx([0.2, 0.2], abs=0.08)
    assert len(given) == 400


def test_without_labels_of_an_arm_the_judge_alone_concludes_nothing(project: Project) -> None:
    begin(project, outcome="perceived_error")
    serve(project, 200, lambda i, arm: arm == "warm")
    (reading,) = look_at_experiments(project.stores)
    assert reading.contrasts[0].state == "waiting"
    assert "label" in reading.contrasts[0].sentence


def test_feedback_of_exposed_sessions_is_an_outcome(project: Project) -> None:
    begin(project, outcome="feedback:stars", plan=Plan("feedback:stars", 0.5))
    given = serve(project, 160, lambda i, arm: False)
    rows = [
        {"day": TODAY, "trace_id": trace_id, "content_hash": f"v1-{trace_id}"}
        | {"metric": "feedback:stars", "metric_version": "1", "judge_version": "", "kind": "human"}
        | {"value": (4.0 if arm == "warm" else 3.0) + (int(trace_id[1:]) % 3 - 1) / 2}
        for trace_id, arm in given.items()
    ]
    with project.stores.warehouse.open() as connection:
        with connection.given(new_rows=pa.Table.from_pylist(rows)):
            connection.raw.execute("insert into scores by name select * from new_rows")
        connection.raw.execute(
            "insert into current_runs values ($day, 'feedback:stars', '1', '')", {"day": TODAY}
        )
    (reading,) = look_at_experiments(project.stores)
    (contrast,) = reading.contrasts
    assert contrast.state == "different"
    assert "the mean of feedback stars is higher, by +1." in contrast.sentence


def test_two_judges_are_compared_on_the_same_traces(project: Project) -> None:
    versions = (ExperimentArm("old", 0.5, "judge-1"), ExperimentArm("new", 0.5, "judge-2"))
    begin(project, "judges", kind="judge", arms=versions, plan=Plan("right", 0.1))
    with pytest.raises(Refused, match="nobody is given either"):
        ArmService(project.stores).give("judges", Whom("shop", "s1"))
    traces = [
        trace(f"t{i}", "a table", "for Thursday", "no, Friday", session_id=f"s{i}", app="shop")
        for i in range(120)
    ]
    add_traces(project.stores, traces, day=TODAY)
    # Of ten traces four are errors; the old judge misses two of them, the new one none.
    add_scores(project.stores, {f"t{i}": 0.9 if i % 10 < 2 else 0.1 for i in range(120)}, day=TODAY)
    shadow = "insert into shadow_scores select day, trace_id, content_hash, app, 'judge',"
    with project.stores.warehouse.open() as connection:
        connection.raw.execute(
            f"{shadow} 'judge-2', 'lexical', true, if(line_no % 10 between 1 and 4, .9, .1), "
            "now()::timestamp from traces"
        )
    for i in range(120):
        decide(project.stores.ledger, said(f"t{i}", i % 10 < 4, is_audit=True))
    derive_labels(project.stores)
    (reading,) = look_at_experiments(project.stores)
    (contrast,) = reading.contrasts
    assert [arm.estimate for arm in reading.arms] == pytest.approx([0.8, 1.0])
    assert contrast.state == "different"
    # On the same traces: 24 of 120 differ, all for the new one.
    assert contrast.difference is not None
    assert contrast.difference.estimate == pytest.approx(0.2)
    paired = 120 / 119 * (24 * 0.8**2 + 96 * 0.2**2) / 120**2
    sequence = confidence_sequence(0.2, paired, 0.1)
    assert contrast.difference.low == pytest.approx(sequence.low)
