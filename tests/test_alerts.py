"""Alerts: told when an interval says so, told once, and told again only until somebody took it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pyarrow as pa
import pytest
import sqlalchemy as sa

from flywheel.quality.alerts import check_alerts
from flywheel.quality.announcing import _addressed, announce
from flywheel.quality.moves_told import champion_changes
from flywheel.queue import fill_queue
from flywheel.records import unit_hash
from flywheel.registry import promote, register, rollback
from flywheel.settings import AlertRule, QueueSettings
from flywheel.store import Project, Stores
from flywheel.store.snapshots import current_run, write_partition
from flywheel.store.tables import alerts_fired, gate_verdicts, judge_calls
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces

AT = datetime(2026, 3, 3, 12, tzinfo=UTC)
NAMES = [f"t{i:03}" for i in range(100)]


@pytest.fixture
def stores(project: Project) -> Stores:
    """A day of a hundred traces, of which the judge flags about a third."""
    add_traces(project.stores, [trace(n, "hi", "hello", "no", app="desk") for n in NAMES], DAY)
    add_scores(project.stores, {n: 0.9 * unit_hash(n, "p") for n in NAMES}, DAY)
    return project.stores


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A server on the loopback address that keeps what is posted to it."""
    posted: list[dict[str, object]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing to stderr."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_rate_alerts_when_its_lower_bound_is_over_the_limit(stores: Stores) -> None:
    found = check_alerts(stores, {"many": AlertRule(when="rate", limit=0.2, app="desk")}, AT)
    assert len(found) == 1
    assert found[0].why.startswith("users of desk saw an error in ")
    assert "by the judge alone and unadjusted" in found[0].why
    assert "the lower bound is over 20.0%" in found[0].why


def test_a_rate_whose_interval_holds_the_limit_alerts_nobody(stores: Stores) -> None:
    (told,) = check_alerts(stores, {"many": AlertRule(when="rate", limit=0.2, app="desk")}, AT)
    just_below = told.value - 0.02
    rule = AlertRule(when="rate", limit=just_below, app="desk")
    assert not check_alerts(stores, {"many": rule}, AT)


def test_drift_that_was_found_alerts_above_its_size(stores: Stores) -> None:
    row = {
        "day": DAY,
        "app": "*",
        "subject": "scores",
        "statistic": 0.3,
        "psi": 0.3,
        "p_value": 0.001,
        "alpha": 0.005,
        "has_drifted": True,
        "n": 100,
        "n_reference": 900,
        "first_reference_day": DAY - timedelta(days=28),
        "last_reference_day": DAY - timedelta(days=1),
    }
    write_partition(stores, {"drift": ({"day": DAY}, pa.Table.from_pylist([row]))})
    assert not check_alerts(stores, {"moved": AlertRule(when="drift", limit=0.4)}, AT)
    (alert,) = check_alerts(stores, {"moved": AlertRule(when="drift", limit=0.2)}, AT)
    assert "scores of all applications on 2026-03-02 are unlike those from" in alert.why


def test_failed_verdicts_alert_by_their_share(stores: Stores) -> None:
    with stores.warehouse.open() as connection:
        connection.raw.execute("""update score_runs set failed = '{"timeout": 25}'""")
    assert not check_alerts(stores, {"lost": AlertRule(when="unscored", limit=0.2)}, AT)
    (alert,) = check_alerts(stores, {"lost": AlertRule(when="unscored", limit=0.1)}, AT)
    assert alert.value == 0.2
    assert alert.why.startswith(
        "25 of 125 lexical verdicts on perceived_error of 2026-03-02 failed"
    )


def add_run(stores: Stores, metric: str, judge_version: str, **counts: object) -> None:
    key = {"day": DAY, "metric": metric, "metric_version": "1", "judge_version": judge_version}
    run = {"tier": "generative", "attempted": 200, "scored": 0, "skipped": "{}", "failed": "{}"}
    at = {"scored_at": AT.replace(tzinfo=None)}
    table = pa.Table.from_pylist([key | run | counts | at])
    write_partition(stores, {"score_runs": (key, table)})


def test_a_tier_that_failed_alerts_beside_one_that_read_everything(stores: Stores) -> None:
    with stores.warehouse.open() as connection:
        connection.raw.execute("update score_runs set scored = 100_000")
        connection.raw.execute("update current_runs set judge = 'judge-1'")
    add_run(stores, "perceived_error", "judge-1/generative", failed='{"timeout": 200}')
    (alert,) = check_alerts(stores, {"lost": AlertRule(when="unscored", limit=0.5)}, AT)
    assert alert.subject == "2026-03-02/perceived_error/generative"
    assert alert.why.startswith("200 of 200 generative verdicts on perceived_error of 2026-03-02 f")


@pytest.mark.parametrize("counts", [{"failed": '{"no": 200}'}, {"skipped": '{"no": 200}'}])
def test_a_rubric_without_a_judge_alerts(stores: Stores, counts: dict[str, object]) -> None:
    add_run(stores, "polite", "", **counts)
    (alert,) = check_alerts(stores, {"lost": AlertRule(when="unscored", limit=0.5)}, AT)
    assert "200 of 200 generative verdicts on polite of 2026-03-02 have no judge" in alert.why
    # What a judge said before it was taken away stays in force.
    add_run(stores, "polite", "generative-1", scored=200)
    write_partition(stores, {"current_runs": current_run(DAY, "polite", "1", "generative-1")})
    assert not check_alerts(stores, {"lost": AlertRule(when="unscored", limit=0.5)}, AT)


def test_money_spent_today_alerts_and_that_of_yesterday_does_not(stores: Stores) -> None:
    call = {"judge": "big", "judge_version": "g", "input_hash": "h", "outcome": "ok"}
    call |= {"prompt_tokens": 1, "completion_tokens": 1, "cost_usd": 2.0}
    with stores.ledger.begin() as ledger:
        ledger.execute(judge_calls.insert(), [call | {"called_at": AT}] * 2)
        ledger.execute(judge_calls.insert(), call | {"called_at": AT - timedelta(days=1)})
    assert not check_alerts(stores, {"bill": AlertRule(when="spend", limit=4.5)}, AT)
    (alert,) = check_alerts(stores, {"bill": AlertRule(when="spend", limit=3)}, AT)
    assert alert.why == "judges have spent 4.00 USD on 2026-03-03, more than 3.00"


def test_an_old_queue_alerts(stores: Stores) -> None:
    fill_queue(stores, QueueSettings(daily_items=10), DAY)
    late = datetime.now(UTC) + timedelta(days=9)
    (alert,) = check_alerts(stores, {"old": AlertRule(when="queue_age", limit=7)}, late)
    assert "has waited for 9.0 days, more than 7" in alert.why
    assert not check_alerts(stores, {"old": AlertRule(when="queue_age", limit=10)}, late)


def test_what_was_taken_is_not_told_again(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"many": AlertRule(when="rate", limit=0.2, app="desk", url_env="HOOK")}
    with webhook() as (address, posted):
        monkeypatch.setenv("HOOK", address)
        first = announce(stores, rules, AT)
        again = announce(stores, rules, AT)
    assert (len(first.fired), first.delivered) == (1, 1)
    assert (again.fired, again.delivered) == ([], 0)
    assert len(posted) == 1
    assert posted[0]["title"] == "Flywheel: many"
    assert str(posted[0]["message"]).startswith("users of desk saw an error in ")


def test_what_nobody_took_is_told_at_the_next_look(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {"many": AlertRule(when="rate", limit=0.2, app="desk", url_env="HOOK")}
    with webhook(status=500) as (address, _):
        monkeypatch.setenv("HOOK", address)
        refused = announce(stores, rules, AT)
    assert (len(refused.fired), refused.delivered) == (1, 0)
    assert refused.undelivered == {"many": "it did not answer with yes"}
    with webhook() as (address, posted):
        monkeypatch.setenv("HOOK", address)
        assert announce(stores, rules, AT).delivered == 1
    assert len(posted) == 1


def test_a_rule_without_an_address_is_kept_and_not_sent(stores: Stores) -> None:
    rules = {"many": AlertRule(when="rate", limit=0.2, app="desk")}
    report = announce(stores, rules, AT)
    assert (len(report.fired), report.delivered, report.undelivered) == (1, 0, {})
    with stores.ledger.begin() as ledger:
        assert ledger.scalar(sa.select(alerts_fired.c.delivered_at)) is None


def test_an_address_that_is_missing_is_named(stores: Stores) -> None:
    rules = {"many": AlertRule(when="rate", limit=0.2, app="desk", url_env="NO_SUCH_HOOK")}
    report = announce(stores, rules, AT)
    assert report.undelivered == {"many": "the environment variable NO_SUCH_HOOK is not set"}


def test_slacks_own_addresses_are_known() -> None:
    url = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert [type(service).__name__ for service in _addressed(url)] == ["NotifySlack"]


def test_a_new_champion_is_told_once_each_time(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, at = project.stores.ledger, datetime.now(UTC)
    for version in ("judge-1", "judge-2"):
        register(ledger, "judge", version, {}, None, None, "ada")
    promote(ledger, "judge", "judge-1", "ada", "the first")
    promote(ledger, "judge", "judge-2", "ada", "an emergency", force=True)
    rules = {"crown": AlertRule(when="champion", url_env="HOOK")}
    with webhook() as (address, posted):
        monkeypatch.setenv("HOOK", address)
        assert announce(project.stores, rules, at).delivered == 2
        rollback(ledger, "judge", "bob", "it errs")
        assert announce(project.stores, rules, at).delivered == 1
        assert announce(project.stores, rules, at).delivered == 0
    said = [str(message["message"]) for message in posted]
    assert said[0].startswith("judge-1 is the champion of judge as the first one, promoted by ada")
    assert "in place of judge-1, promoted without asking the gate by ada" in said[1]
    assert said[2].startswith("judge-1 is the champion of judge in place of judge-2, rolled back t")
    assert said[2].endswith("back from judge-2: it errs")
    register(ledger, "shop", "shop-1", {}, None, None, "ada")
    promote(ledger, "shop", "shop-1", "ada", "the first")
    rollback(ledger, "shop", "bob", "too early")
    *_, (_, _, told) = champion_changes(ledger, at + timedelta(minutes=1))
    assert told.startswith("shop-1 is the champion of shop no more, and what was in use before it")
    assert told.endswith("back from shop-1: too early")
    # What a rule finds that is written a month later is history.
    assert not check_alerts(project.stores, rules, at + timedelta(days=30))


def test_a_refusal_of_the_gate_is_told_once(project: Project) -> None:
    at, rules = datetime.now(UTC), {"gate": AlertRule(when="gate")}
    versions = {"target": "app", "challenger": "app-2", "champion": "app-1"}
    rest = {"evidence": "{}", "alpha_spent": 0.0, "look_key": "1", "decided_at": at}
    why = "The holdout has 9 labels.\nRefused: the champion stays."
    with project.stores.ledger.begin() as ledger:
        ledger.execute(gate_verdicts.insert().values(**versions, passed=False, why=why, **rest))
    (alert,) = announce(project.stores, rules, at).fired
    assert alert.why == (
        "the gate refused app-2 as champion of app in place of app-1: The holdout has 9 labels. "
        "Refused: the champion stays."
    )
    assert announce(project.stores, rules, at).fired == []
