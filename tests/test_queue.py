"""The review queue: a day's traces, drawn by hash with a known probability."""

from datetime import date, timedelta
from math import sqrt

import pytest
import sqlalchemy as sa

from flywheel.queue import fill_queue, queued_traces
from flywheel.records import unit_hash
from flywheel.settings import QueueSettings
from flywheel.store import Project, Stores
from flywheel.store.ledger import now
from flywheel.store.tables import claims, queue_items
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces

SETTINGS = QueueSettings(daily_items=40, audit_share=0.25, uniform_floor=0.5)
# 200 traces whose probability runs from 0 to .99.
PROBABILITIES = {f"t{number:03}": number / 201 for number in range(200)}


@pytest.fixture
def stores(project: Project) -> Stores:
    """The stores of a project with 200 judged traces of one day."""
    add_traces(project.stores, [trace(name, "hi", "hello", "no") for name in PROBABILITIES])
    add_scores(project.stores, PROBABILITIES)
    return project.stores


def items_of(stores: Stores) -> dict[str, sa.RowMapping]:
    with stores.ledger.begin() as ledger:
        rows = ledger.execute(sa.select(queue_items).order_by(queue_items.c.item_id)).mappings()
        return {row["trace_id"]: row for row in rows.all()}


def weight(p: float) -> float:
    return sqrt(p * (1 - p)) + 2 * p * p


def targeted(p: float) -> float:
    """30 of the 40 items are targeted: 30 * (.5 / 200 + .5 * weight / all weights)."""
    return 30 * (0.5 / 200 + 0.5 * weight(p) / sum(map(weight, PROBABILITIES.values())))


def test_the_chances_of_a_day_add_up_to_its_budget() -> None:
    # The audit: 40 * .25 of 200 traces, 10 in all. None of the chances is cut at 1.
    assert max(map(targeted, PROBABILITIES.values())) < 1
    assert sum(map(targeted, PROBABILITIES.values())) + 200 * (10 / 200) == pytest.approx(40)


def test_exactly_the_traces_whose_hash_is_below_their_chance_are_drawn(stores: Stores) -> None:
    report = fill_queue(stores, SETTINGS, DAY)
    audited = {name for name in PROBABILITIES if unit_hash(name, "audit") < 10 / 200}
    aimed = {name for name, p in PROBABILITIES.items() if unit_hash(name, "targeted") < targeted(p)}
    items = items_of(stores)
    assert set(items) == audited | aimed == queued_traces(stores.ledger)
    assert {name for name, item in items.items() if item["reason"] == "random_audit"} == audited
    assert (report.pool, report.drawn, report.already_open) == (200, len(items), 0)
    assert sum(report.by_reason.values()) == len(items)


def test_an_item_keeps_the_chance_that_either_draw_took_it(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY)
    for name, item in items_of(stores).items():
        either = 1 - (1 - 10 / 200) * (1 - targeted(PROBABILITIES[name]))
        assert item["draw_probability"] == pytest.approx(either)
        assert item["audit_probability"] == pytest.approx(10 / 200)


def test_a_targeted_item_has_the_reason_that_weighs_more(stores: Stores) -> None:
    fill_queue(stores, QueueSettings(daily_items=150), DAY)
    reasons = {name: item["reason"] for name, item in items_of(stores).items()}
    # 2 p^2 outweighs sqrt(p (1 - p)) above p = .5; one at p near 0 is there by the uniform share.
    for name, reason in reasons.items():
        if reason != "random_audit":
            assert reason == ("low_score" if PROBABILITIES[name] > 0.5 else "uncertain")
    assert set(reasons.values()) == {"random_audit", "low_score", "uncertain"}


def test_audits_stand_between_the_others_and_never_last(stores: Stores) -> None:
    fill_queue(stores, QueueSettings(daily_items=120), DAY)
    items = sorted(items_of(stores).values(), key=lambda item: -item["priority"])
    reasons = [item["reason"] for item in items]
    assert all(0 <= item["priority"] <= 1 for item in items)
    assert reasons[-1] != "random_audit"
    assert "random_audit" in reasons[: len(reasons) // 2]
    assert "random_audit" in reasons[len(reasons) // 2 :]


def test_the_same_day_twice_gives_the_same_items(stores: Stores) -> None:
    first = fill_queue(stores, SETTINGS, DAY)
    before = items_of(stores)
    second = fill_queue(stores, SETTINGS, DAY)
    assert items_of(stores) == before
    assert (second.drawn, second.already_open) == (first.drawn, first.drawn)


def test_a_claimed_or_finished_item_is_never_touched(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY)
    claimed, finished, waiting = list(items_of(stores))[:3]
    before = items_of(stores)
    desk = {"item_id": before[claimed]["item_id"], "reviewer": "ann", "claimed_at": now()}
    with stores.ledger.begin() as ledger:
        ledger.execute(claims.insert().values(**desk, claimed_until=now() + timedelta(minutes=1)))
        is_finished = queue_items.c.trace_id == finished
        ledger.execute(queue_items.update().where(is_finished).values(status="complete"))
    before = items_of(stores)
    add_scores(stores, dict.fromkeys(PROBABILITIES, 0.5), judge="judge-2")
    fill_queue(stores, SETTINGS, DAY)
    after = items_of(stores)
    assert after[claimed] == before[claimed]
    assert after[finished] == before[finished]
    assert after[waiting]["judge_version"] == "judge-2"


def test_a_waiting_item_keeps_the_larger_of_its_chances(stores: Stores) -> None:
    fill_queue(stores, QueueSettings(daily_items=100), DAY)
    before = items_of(stores)
    fill_queue(stores, QueueSettings(daily_items=20), DAY)
    after = items_of(stores)
    assert after.keys() == before.keys()
    for name, item in before.items():
        assert after[name]["draw_probability"] == item["draw_probability"]
        assert after[name]["reason"] == item["reason"] or item["reason"] != "random_audit"


def test_a_day_smaller_than_its_budget_is_drawn_whole(project: Project) -> None:
    add_traces(project.stores, [trace(f"t{i}", "hi", "hello", "no") for i in range(5)])
    add_scores(project.stores, {f"t{i}": 0.0 for i in range(5)})
    report = fill_queue(project.stores, SETTINGS, DAY)
    assert report.by_reason == {"random_audit": 5}
    assert {item["draw_probability"] for item in items_of(project.stores).values()} == {1.0}


def test_what_has_no_verdict_or_no_reaction_is_not_in_the_pool(project: Project) -> None:
    add_traces(
        project.stores,
        [
            trace("judged", "hi", "hello", "no"),
            trace("unparsed", "hi", "hello", "no"),
            trace("unjudged", "hi", "hello", "no"),
            trace("short", "hi", "hello"),
        ],
    )
    add_scores(project.stores, {"judged": 0.1, "unparsed": None, "short": 0.9})
    assert fill_queue(project.stores, SETTINGS, DAY).pool == 2
    items = items_of(project.stores)
    # A verdict that could not be read is as uncertain as can be.
    assert items.keys() == {"judged", "unparsed"}
    assert items["unparsed"]["probability"] is None


def test_an_empty_day_draws_nothing(stores: Stores) -> None:
    report = fill_queue(stores, SETTINGS, date(2026, 3, 3))
    assert (report.pool, report.drawn, report.by_reason) == (0, 0, {})


def test_a_changed_trace_is_a_new_item(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY)
    name = next(iter(items_of(stores)))
    add_traces(stores, [trace(name, "hi", "hello", "no", "sorry", "ok")], version="v2")
    add_scores(stores, {name: 0.9}, judge="judge-2", version="v2")
    fill_queue(stores, QueueSettings(daily_items=10_000), DAY)
    with stores.ledger.begin() as ledger:
        hashes = ledger.scalars(
            sa.select(queue_items.c.content_hash)
            .where(queue_items.c.trace_id == name)
            .order_by(queue_items.c.item_id)
        ).all()
    assert hashes == [f"v1-{name}", f"v2-{name}"]
