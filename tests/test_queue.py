"""The review queue: a day's traces, drawn by hash with a known probability."""

import json
from datetime import date
from math import sqrt

import pyarrow as pa
import pytest
import sqlalchemy as sa

from flywheel.metrics import Metric
from flywheel.metrics.metric import Direction
from flywheel.queue import (
    QUEUE,
    ItemFilter,
    ItemMetric,
    Queue,
    claim,
    fill_queue,
    list_items,
    move_items,
    queued_traces,
    release,
    set_queue,
)
from flywheel.records import unit_hash
from flywheel.settings import QueueSettings
from flywheel.store import Project, Stores
from flywheel.store.snapshots import current_run, replace_rows
from flywheel.store.tables import audit_log, queue_items
from flywheel.traces.documents import open_document
from tests.conftest import trace
from tests.judged import DAY, JUDGE, add_scores, add_traces

ANY = ItemFilter(status=None)
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


def doubt(p: float) -> float:
    return sqrt(p * (1 - p))


def likely(p: float) -> float:
    return p * p


def targeted(p: float) -> float:
    """The audit takes 10 of 200; of the others the targeted draw takes 30, so 30 / .95 of all.

    Half of them uniformly, and of the rest three quarters by doubt, one by likely errors.
    """
    all_p = PROBABILITIES.values()
    aimed = 0.75 * doubt(p) / sum(map(doubt, all_p)) + 0.25 * likely(p) / sum(map(likely, all_p))
    return 30 / 0.95 * (0.5 / 200 + 0.5 * aimed)


def either(p: float) -> float:
    return 1 - (1 - 10 / 200) * (1 - targeted(p))


def chances(
    stores: Stores, items: float, audit_items: float = 0.0, floor: float = 0.5, likely: float = 0.25
) -> list[dict[str, float]]:
    """The chances of the day's traces, by trace id."""
    with stores.warehouse.open() as connection:
        return connection.table(
            "queue/chances_of_day",
            day=DAY,
            items=items,
            audit_items=audit_items,
            uniform_floor=floor,
            likely_share=likely,
        ).to_pylist()


def test_the_chances_of_a_day_add_up_to_its_budget(stores: Stores) -> None:
    assert max(map(targeted, PROBABILITIES.values())) < 1
    assert sum(map(either, PROBABILITIES.values())) == pytest.approx(40)
    for budget in (0.5, 1, 40, 150, 199.5):
        found = [one["draw_probability"] for one in chances(stores, budget, budget / 4)]
        assert sum(found) == pytest.approx(budget)
        assert all(0 < chance <= 1 for chance in found)
    assert sum(one["draw_probability"] for one in chances(stores, 400, 100)) == 200
    assert fill_queue(stores, SETTINGS, DAY).expected_items == pytest.approx(40)


def test_what_a_certain_trace_does_not_need_goes_to_the_others(project: Project) -> None:
    add_traces(project.stores, [trace(f"t{i}", "hi", "hello", "no") for i in range(5)])
    # Doubts of .5 and four times sqrt(.01 * .99) = .0995: .5, .0995 and so on of .898 in all.
    add_scores(project.stores, {"t0": 0.5} | {f"t{i}": 0.01 for i in range(1, 5)})
    found = [one["draw_probability"] for one in chances(project.stores, 3, floor=1e-9, likely=0.0)]
    # 3 * .5 / .898 = 1.67 is cut at 1; the other two are shared by four that are alike.
    assert found == pytest.approx([1, 0.5, 0.5, 0.5, 0.5])


def test_a_draw_by_doubt_is_worth_more_than_a_uniform_one_of_as_many(stores: Stores) -> None:
    report = fill_queue(stores, SETTINGS, DAY)
    terms = [(1 / either(p) - 1) * p * (1 - p) for p in PROBABILITIES.values()]
    assert report.expected_se == pytest.approx(sqrt(sum(terms)) / 200)
    uniform = sum((1 / (40 / 200) - 1) * p * (1 - p) for p in PROBABILITIES.values())
    assert report.uniform_se == pytest.approx(sqrt(uniform) / 200)
    assert report.expected_se < report.uniform_se
    assert fill_queue(stores, SETTINGS, date(2026, 3, 3)).expected_se is None


def add_tiers(stores: Stores, tiers: dict[str, dict[str, tuple[float, bool | None]]]) -> None:
    """Verdicts of the tiers of one run: the probability, and whether it is the last word."""
    for tier, verdicts in tiers.items():
        key = {"day": DAY, "metric": "perceived_error", "metric_version": "1"}
        key |= {"judge_version": f"judge-1/{tier}"}
        rows = [
            key
            | {"trace_id": name, "content_hash": f"v1-{name}", "kind": "llm", "tier": tier}
            | {"probability": p, "label": str(p >= 0.5).lower(), "is_decided": is_decided}
            for name, (p, is_decided) in verdicts.items()
        ]
        with stores.warehouse.open() as connection:
            replace_rows(connection, "scores", key, pa.Table.from_pylist(rows))
            in_force = current_run(DAY, "perceived_error", "1", "judge-1")
            replace_rows(connection, "current_runs", *in_force)


def test_tiers_that_disagree_are_a_dispute_unless_one_has_the_last_word(project: Project) -> None:
    names = ("agreed", "disputed", "settled", "cheap")
    add_traces(project.stores, [trace(name, "hi", "hello", "no") for name in names])
    add_tiers(
        project.stores,
        {
            "lexical": {
                "agreed": (0.6, None),
                "disputed": (0.1, None),
                "settled": (0.4, False),
                "cheap": (0.02, True),
            },
            "frozen": {"agreed": (0.8, None), "disputed": (0.7, None), "settled": (0.9, True)},
        },
    )
    found = {one["trace_id"]: one for one in chances(project.stores, 4)}
    # The dispute is doubted at the mean of .1 and .7; elsewhere the higher tier counts.
    means = {"agreed": 0.8, "disputed": 0.4, "settled": 0.9, "cheap": 0.02}
    assert {name: one["p"] for name, one in found.items()} == pytest.approx(means)
    assert [name for name, one in found.items() if one["is_disputed"]] == ["disputed"]
    no_audit = SETTINGS.model_copy(update={"audit_share": 1e-9})
    fill_queue(project.stores, no_audit, DAY)
    items = items_of(project.stores)
    assert items["disputed"]["reason"] == "disputed"
    assert items["disputed"]["probability"] == 0.7
    # What a tier has decided comes behind all that none has.
    by_urgency = sorted(items, key=lambda name: -items[name]["priority"])
    assert set(by_urgency[:2]) == {"agreed", "disputed"}


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
        assert item["draw_probability"] == pytest.approx(either(PROBABILITIES[name]))
        assert item["audit_probability"] == pytest.approx(10 / 200)


def test_a_targeted_item_is_a_likely_error_or_in_doubt(stores: Stores) -> None:
    fill_queue(stores, QueueSettings(daily_items=150), DAY)
    reasons = {name: item["reason"] for name, item in items_of(stores).items()}
    # One at p near 0 is there by the uniform share.
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
    claim(stores.ledger, items_of(stores)[claimed]["item_id"], "ann", 600)
    with stores.ledger.begin() as ledger:
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


def test_an_item_keeps_what_the_judge_said(project: Project) -> None:
    add_traces(project.stores, [trace("t1", "hi", "hello", "no")])
    add_scores(project.stores, {"t1": 0.9})
    fill_queue(project.stores, SETTINGS, DAY)
    (item,) = list_items(project.stores.ledger, ItemFilter()).items
    assert (item.probability, item.judge_version) == (0.9, JUDGE)
    assert item.judge_reason == "because of t1"
    add_scores(project.stores, {"t1": 0.8}, judge="judge-2")
    fill_queue(project.stores, SETTINGS, DAY)
    (item,) = list_items(project.stores.ledger, ItemFilter()).items
    assert (item.probability, item.judge_version) == (0.8, "judge-2")


def test_an_item_keeps_the_examples_that_retrieval_gave_best_first(project: Project) -> None:
    stores = project.stores
    add_traces(stores, [trace("t1", "hi", "hello", "no"), trace("t2", "hi", "hello", "no")])
    add_scores(stores, {"t1": 0.9, "t2": 0.9})
    given = [("t1", "7", 2, 0.5), ("t1", "12", 1, 0.75), ("t1", "3", 3, 0.25)]
    with stores.warehouse.open() as connection:
        for trace_id, correction_id, rank, similarity in given:
            connection.raw.execute(
                "insert into few_shot_corrections values (?, ?, ?, ?, ?, ?, 1, 1, true, 'i')",
                [DAY, trace_id, f"v1-{trace_id}", correction_id, rank, similarity],
            )
    fill_queue(stores, SETTINGS, DAY)
    similar = {item.trace_id: item.similar for item in list_items(stores.ledger, ANY).items}
    assert similar == {"t1": (("12", 0.75), ("7", 0.5), ("3", 0.25)), "t2": ()}


def metric(name: str, direction: Direction) -> Metric:
    return Metric(name, "trace", "trace", direction, "me", DAY, "", "1", "")


def test_metrics_speak_against_a_trace_by_their_direction(project: Project) -> None:
    stores = project.stores
    add_traces(stores, [trace("t1", "hi", "hello", "no")])
    add_scores(stores, {"t1": 0.9})
    labels = {"refusal": "true", "greeting": "false", "length": "true", "helpful": "true"}
    labels |= {"not loaded": "true"}
    for name, label in labels.items():
        add_code_score(stores, "t1", name, label)
    # Of a metric of turns, the first turn that speaks against it.
    add_code_score(stores, "t1", "rude", "true", turn=3)
    add_code_score(stores, "t1", "rude", "true", turn=1)
    add_code_score(stores, "t1", "rude", "false", turn=0)
    metrics = [
        metric("refusal", "lower_is_better"),
        metric("greeting", "higher_is_better"),
        metric("length", "neutral"),
        metric("helpful", "higher_is_better"),
        metric("rude", "lower_is_better"),
    ]
    fill_queue(stores, SETTINGS, DAY, metrics)
    (item,) = list_items(stores.ledger, ANY).items
    assert item.metrics == (
        ItemMetric("greeting", 0.0, "false"),
        ItemMetric("refusal", 0.0, "true"),
        ItemMetric("rude", 1.0, "true"),
    )
    fill_queue(stores, SETTINGS, DAY, metrics[1:2])
    (item,) = list_items(stores.ledger, ANY).items
    assert [one.metric for one in item.metrics] == ["greeting"]


def add_code_score(
    stores: Stores, trace_id: str, name: str, label: str, turn: int | None = None
) -> None:
    """What a metric by code said of a trace, or of one of its turns, whose number is the value."""
    score = {"day": DAY, "trace_id": trace_id, "content_hash": f"v1-{trace_id}", "metric": name}
    score |= {"metric_version": "1", "judge_version": "", "kind": "code", "label": label}
    score |= {"value": float(turn or 0), "evidence_turn": turn}
    score |= {"span_id": None if turn is None else f"turn:{turn}"}
    with stores.warehouse.open() as connection:
        with connection.given(new_rows=pa.Table.from_pylist([score])):
            connection.raw.execute("insert into scores by name select * from new_rows")
        replace_rows(connection, "current_runs", *current_run(DAY, name, "1", judge=""))


def test_a_drawn_trace_can_be_shown_without_the_warehouse(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY)
    for item in list_items(stores.ledger, ANY, limit=3).items:
        document = open_document(stores, item.trace_id, item.content_hash)
        assert [message.content for message in document.messages(0, 9)] == ["hi", "hello", "no"]
        assert (item.opening, item.n_messages) == ("hi", 3)


def test_the_queue_says_how_many_people_decide_on_what_is_drawn(stores: Stores) -> None:
    set_queue(stores.ledger, Queue(QUEUE, reviewers=2, double_share=0.5), "eve")
    fill_queue(stores, SETTINGS, DAY)
    needed = {name: item["reviewers_needed"] for name, item in items_of(stores).items()}
    assert needed == {name: 2 + (unit_hash(name, "double") < 0.5) for name in needed}
    assert set(needed.values()) == {2, 3}


def test_an_item_that_was_moved_is_not_drawn_a_second_time(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY)
    set_queue(stores.ledger, Queue("hard"), "eve")
    n_items = len(items_of(stores))
    assert move_items(stores.ledger, ANY, None, "eve", "hard") == n_items
    report = fill_queue(stores, SETTINGS, DAY)
    assert report.already_open == n_items
    assert {item["queue"] for item in items_of(stores).values()} == {"hard"}
    assert list_items(stores.ledger, ANY).n_all == n_items


def test_a_waiting_item_of_an_earlier_version_is_declined(stores: Stores) -> None:
    fill_queue(stores, SETTINGS, DAY)
    waiting, claimed, disputed, finished = items = list(items_of(stores))[:4]
    claim(stores.ledger, items_of(stores)[claimed]["item_id"], "ann", 600)
    with stores.ledger.begin() as ledger:
        for name, status in ((disputed, "disputed"), (finished, "complete")):
            is_it = queue_items.c.trace_id == name
            ledger.execute(queue_items.update().where(is_it).values(status=status))
    before = items_of(stores)
    add_traces(
        stores, [trace(name, "hi", "hello", "no", "sorry", "ok") for name in items], version="v2"
    )
    report = fill_queue(stores, SETTINGS, DAY)
    after = items_of(stores)
    assert report.superseded == 1
    assert after[waiting]["status"] == "declined"
    for name in (claimed, disputed, finished):
        assert after[name] == before[name]
    with stores.ledger.read() as ledger:
        (entry,) = ledger.execute(sa.select(audit_log)).mappings()
    assert (entry["actor"], entry["action"], entry["subject"]) == (
        "pipeline",
        "supersede",
        DAY.isoformat(),
    )
    assert json.loads(entry["detail"]) == {"item_ids": [before[waiting]["item_id"]]}
    # When the claim has ended, so has the item.
    release(stores.ledger, before[claimed]["item_id"], "ann")
    assert fill_queue(stores, SETTINGS, DAY).superseded == 1
    assert fill_queue(stores, SETTINGS, DAY).superseded == 0
