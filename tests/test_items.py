"""Items: what a list shows, why each is there, and what those who manage a queue do to many."""

import json
from dataclasses import replace
from datetime import date

import pytest
import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound
from flywheel.queue import (
    Item,
    ItemFilter,
    Queue,
    assign_items,
    claim_next,
    decline_items,
    filter_choices,
    get_item,
    item_of_trace,
    list_items,
    list_queues,
    move_items,
    requeue_items,
    set_queue,
    why_here,
)
from flywheel.records import unit_hash
from flywheel.review import decide, decline
from flywheel.store.ledger import Ledger
from flywheel.store.tables import audit_log, item_metrics, queue_items, trace_documents
from tests.judged import DAY, said
from tests.queued import add_items, add_people, note, rows_of

ANY = ItemFilter(status=None)
WAITING = ItemFilter()


def numbers(ledger: Ledger, wanted: ItemFilter) -> list[int]:
    return [item.item_id for item in list_items(ledger, wanted).items]


def statuses(ledger: Ledger) -> list[str]:
    return [row["status"] for row in rows_of(ledger, queue_items)]


def put_metric(ledger: Ledger, item_id: int, metric: str) -> None:
    row = {"item_id": item_id, "metric": metric, "value": 1.0, "label": "true"}
    with ledger.begin() as connection:
        connection.execute(item_metrics.insert(), row)


def only_entry(ledger: Ledger) -> tuple[str, str, str, dict[str, object]]:
    (entry,) = rows_of(ledger, audit_log)
    return entry["actor"], entry["action"], entry["subject"], json.loads(entry["detail"])


# Lists


def test_a_list_is_the_most_urgent_first_and_says_how_many_match_of_how_many(
    ledger: Ledger,
) -> None:
    waiting = add_items(ledger, "a", "b", "c")
    add_items(ledger, "d", status="complete")
    page = list_items(ledger, WAITING, limit=2)
    assert [item.item_id for item in page.items] == waiting[:2]
    assert (page.n_matching, page.n_all) == (3, 4)
    assert [item.item_id for item in list_items(ledger, WAITING, 2, offset=2).items] == waiting[2:]
    assert list_items(ledger, WAITING, 2, offset=9).items == []


def test_an_item_has_all_that_a_page_shows(ledger: Ledger) -> None:
    (item_id,) = add_items(
        ledger,
        "a",
        reviewers_needed=2,
        judge_reason="because",
        judge_reason_code="correction",
        evidence_turn=2,
        similar='[["17", 0.81], ["4", 0.5]]',
    )
    put_metric(ledger, item_id, "refusal")
    decide(ledger, said("a", True, "ann"), item_id)
    claim_next(ledger, "bob", WAITING, 600)
    document = {"trace_id": "a", "content_hash": "v1-a", "app": "shop", "day": DAY}
    document |= {"session_id": "s", "split": "train", "n_messages": 4, "opening": "hello"}
    document |= {"artifact": "x", "byte_offset": 0, "byte_length": 1}
    with ledger.begin() as connection:
        connection.execute(trace_documents.insert(), document)
    item = get_item(ledger, item_id)
    assert (item.trace_id, item.content_hash, item.app, item.day) == ("a", "v1-a", "shop", DAY)
    assert (item.judge_reason, item.judge_reason_code, item.evidence_turn) == (
        "because",
        "correction",
        2,
    )
    assert item.similar == (("17", 0.81), ("4", 0.5))
    assert (item.opening, item.n_messages, item.is_blind) == ("hello", 4, True)
    assert (item.n_decided, item.reviewers_needed) == (1, 2)
    assert [claim.reviewer for claim in item.claims] == ["bob"]
    assert [metric.metric for metric in item.metrics] == ["refusal"]
    assert item.queued_at.utcoffset() is not None
    assert list_items(ledger, WAITING).items == [item]


def test_an_item_is_found_by_its_number_or_by_its_version_of_a_trace(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a")
    assert item_of_trace(ledger, "a", "v1-a") == item_id
    assert item_of_trace(ledger, "a", "v2-a") is None
    for unknown in (item_id + 1, 0, -1, 10**30):
        with pytest.raises(NotFound):
            get_item(ledger, unknown)


def test_each_filter_keeps_what_it_says(ledger: Ledger) -> None:
    add_items(ledger, "other")
    (of_bank,) = add_items(ledger, "a", app="bank")
    (audited,) = add_items(ledger, "b", reason="random_audit")
    (later,) = add_items(ledger, "c", day=date(2026, 3, 9))
    (done,) = add_items(ledger, "d", status="complete")
    (elsewhere,) = add_items(ledger, "e", queue="hard")
    (kept,) = add_items(ledger, "f", assigned_to="ann")
    (flagged,) = add_items(ledger, "g")
    put_metric(ledger, flagged, "refusal")
    set_queue(ledger, Queue("hard"), "eve")
    assert numbers(ledger, ItemFilter(app="bank")) == [of_bank]
    assert numbers(ledger, ItemFilter(reason="random_audit")) == [audited]
    assert numbers(ledger, ItemFilter(day=date(2026, 3, 9))) == [later]
    assert numbers(ledger, ItemFilter(status="complete")) == [done]
    assert numbers(ledger, ItemFilter(queue="hard")) == [elsewhere]
    assert numbers(ledger, ItemFilter(assigned_to="ann")) == [kept]
    assert numbers(ledger, ItemFilter(metric="refusal")) == [flagged]
    assert numbers(ledger, ItemFilter(metric="refusal", app="bank")) == []
    assert len(numbers(ledger, ANY)) == 8


def test_mine_is_what_is_kept_for_me_on_my_desk_or_decided_by_me(ledger: Ledger) -> None:
    (on_desk,) = add_items(ledger, "a")
    claim_next(ledger, "ann", WAITING, 600)
    (kept,) = add_items(ledger, "b", assigned_to="ann")
    (decided,) = add_items(ledger, "c")
    decide(ledger, said("c", True, "ann"), decided)
    add_items(ledger, "of nobody")
    (of_bob,) = add_items(ledger, "d")
    decide(ledger, said("d", True, "bob"), of_bob)
    note(ledger, "of nobody", "ann", "skip")
    assert sorted(numbers(ledger, ItemFilter(status=None, mine="ann"))) == [on_desk, kept, decided]
    assert sorted(numbers(ledger, ItemFilter(mine="ann"))) == [on_desk, kept]


def test_the_choices_of_a_filter_are_what_items_have(ledger: Ledger) -> None:
    (item_id, _) = add_items(ledger, "a", "b")
    add_items(ledger, "c", app="bank", day=date(2026, 3, 9), status="complete")
    put_metric(ledger, item_id, "refusal")
    choices = filter_choices(ledger)
    assert (choices.queues, choices.apps) == (["review"], ["bank", "shop"])
    assert (choices.reasons, choices.metrics) == (["low_score"], ["refusal"])
    assert choices.days == [date(2026, 3, 9), DAY]


# Why an item is there


@pytest.fixture
def item(ledger: Ledger) -> Item:
    """An item with a verdict of 93 %, in a queue that hides nothing."""
    set_queue(ledger, Queue("review", is_blind=False), "eve")
    (item_id,) = add_items(ledger, "a")
    return get_item(ledger, item_id)


def test_an_item_says_why_it_is_there_with_its_numbers(item: Item) -> None:
    metrics = list(item.metrics)
    assert why_here(item) == ["The judge puts the chance of a perceived error at 93 %."]
    unsure = replace(item, reason="uncertain", probability=0.48)
    assert why_here(unsure) == [
        "The judge is unsure: it puts the chance of a perceived error at 48 %."
    ]
    # Drawn by the uniform share.
    assert why_here(replace(unsure, probability=0.003)) == [
        "The judge puts the chance of a perceived error at less than 1 %, and may be wrong."
    ]
    assert why_here(replace(unsure, probability=None)) == ["The judge's verdict could not be read."]
    audited = replace(item, reason="random_audit", audit_probability=1 / 12)
    assert why_here(audited)[0] == (
        "Drawn at random, to measure the judge: 1 in 12 of that day's traces."
    )
    assert "70 % of that day's" in why_here(replace(audited, audit_probability=0.7))[0]
    assert "all of that day's" in why_here(replace(audited, audit_probability=1.0))[0]
    assert why_here(replace(item, status="disputed"))[0] == "Reviewers disagree."
    of_tiers = replace(item, reason="disputed")
    assert why_here(of_tiers)[0] == "Tiers of the judge disagree."
    assert why_here(replace(item, reason="complaint"))[0] == "A user complained."
    assert metrics == []


def test_metrics_that_speak_against_a_trace_are_named(ledger: Ledger, item: Item) -> None:
    put_metric(ledger, item.item_id, "refusal")
    assert why_here(get_item(ledger, item.item_id))[-1] == "The metric refusal speaks against it."
    put_metric(ledger, item.item_id, "too_long")
    assert why_here(get_item(ledger, item.item_id))[-1] == (
        "The metrics refusal and too_long speak against it."
    )


def test_a_blind_queue_gives_nothing_away(ledger: Ledger, item: Item) -> None:
    put_metric(ledger, item.item_id, "refusal")
    set_queue(ledger, Queue("review", is_blind=True), "eve")
    blind = get_item(ledger, item.item_id)
    variants = [
        replace(blind, reason=reason, status=status, probability=probability)
        for reason in ("low_score", "uncertain", "disputed", "random_audit", "complaint")
        for status in ("pending", "disputed")
        for probability in (0.01, 0.99, None)
    ]
    assert {tuple(why_here(variant)) for variant in variants} == {("Drawn for review.",)}


# Many at once


def test_only_open_items_are_declined_and_the_log_says_which(ledger: Ledger) -> None:
    items = add_items(ledger, "a", "b")
    items += add_items(ledger, "c", status="disputed")
    items += add_items(ledger, "d", status="complete")
    assert decline_items(ledger, WAITING, items, "eve", "a test run") == 3
    assert statuses(ledger) == ["declined", "declined", "declined", "complete"]
    assert only_entry(ledger) == (
        "eve",
        "decline_items",
        "3 items",
        {"items": 3, "item_ids": items[:3], "reason": "a test run"},
    )
    assert decline_items(ledger, WAITING, items, "eve") == 0
    assert len(rows_of(ledger, audit_log)) == 1


def test_all_that_match_are_declined_where_no_items_are_named(ledger: Ledger) -> None:
    add_items(ledger, "a", "b")
    add_items(ledger, "c", app="bank")
    assert decline_items(ledger, ItemFilter(app="shop"), None, "eve") == 2
    assert statuses(ledger) == ["declined", "declined", "pending"]
    *_, detail = only_entry(ledger)
    assert detail == {"items": 2, "filter": {"app": "shop", "status": "pending"}, "reason": ""}


def test_more_items_than_one_statement_binds_are_changed_together(ledger: Ledger) -> None:
    names = [f"t{number}" for number in range(10_001)]
    items = add_items(ledger, *names)
    assert decline_items(ledger, WAITING, [*items, 0, 10**30], "eve") == 10_001
    assert requeue_items(ledger, ANY, None, "eve") == 10_001


def test_what_is_put_back_needs_one_more_where_it_had_all_decisions(ledger: Ledger) -> None:
    decided, declined, waiting = add_items(ledger, "a", "b", "c")
    decide(ledger, said("a", True, "ann"), decided)
    decline(ledger, "b", "v1-b", "ann", "not mine")
    assert statuses(ledger) == ["complete", "declined", "pending"]
    assert requeue_items(ledger, WAITING, [decided, declined, waiting], "eve") == 2
    assert statuses(ledger) == ["pending", "pending", "pending"]
    needed = [row["reviewers_needed"] for row in rows_of(ledger, queue_items)]
    assert needed == [2, 1, 1]
    assert get_item(ledger, decided).n_decided == 1


def test_a_decline_that_was_put_back_does_not_decline_the_item_again(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a", reviewers_needed=2)
    decline(ledger, "a", "v1-a", "ann", "not mine")
    requeue_items(ledger, ANY, None, "eve")
    decide(ledger, said("a", True, "bob"), item_id)
    assert statuses(ledger) == ["pending"]


def test_open_items_are_assigned_to_somebody_who_reviews(ledger: Ledger) -> None:
    items = add_items(ledger, "a", "b")
    add_people(ledger, "ann")
    add_people(ledger, "gone", is_active=False)
    add_people(ledger, "robot", role="service")
    assert assign_items(ledger, WAITING, items, "eve", "ann") == 2
    assert assign_items(ledger, WAITING, items, "eve", "ann") == 0
    assert assign_items(ledger, ItemFilter(mine="ann"), None, "eve", None) == 2
    for nobody in ("anne", "gone", "robot"):
        with pytest.raises(NotFound, match="no reviewer"):
            assign_items(ledger, WAITING, items, "eve", nobody)
    assert {row["assigned_to"] for row in rows_of(ledger, queue_items)} == {None}


def test_an_item_that_is_moved_is_reviewed_as_its_new_queue_says(ledger: Ledger) -> None:
    set_queue(ledger, Queue("hard", reviewers=3, is_blind=False), "eve")
    fresh, begun, on_desk = add_items(ledger, "a", "b", "c", reviewers_needed=2)
    decide(ledger, said("b", True, "ann"), begun)
    claim_next(ledger, "bob", WAITING, 600, excluding=[fresh, begun])
    assert move_items(ledger, WAITING, [fresh, begun, on_desk], "eve", "hard") == 3
    assert move_items(ledger, WAITING, None, "eve", "hard") == 0
    moved = [get_item(ledger, item_id) for item_id in (fresh, begun, on_desk)]
    assert [item.reviewers_needed for item in moved] == [3, 2, 2]
    assert {(item.queue, item.is_blind) for item in moved} == {("hard", False)}
    with pytest.raises(NotFound, match="did you mean 'hard'"):
        move_items(ledger, WAITING, None, "eve", "hart")


# Queues


def test_one_more_reviewer_is_needed_on_a_share_of_traces_by_their_hash() -> None:
    queue = Queue("review", reviewers=2, double_share=0.3)
    names = [f"t{number}" for number in range(500)]
    doubled = {name for name in names if queue.needs(name) == 3}
    assert doubled == {name for name in names if unit_hash(name, "double") < 0.3}
    assert {queue.needs(name) for name in names} == {2, 3}
    # 500 * .3 = 150, give or take three standard deviations of sqrt(500 * .3 * .7) = 10.2.
    assert abs(len(doubled) - 150) < 31


def test_untouched_items_follow_when_a_queue_changes(ledger: Ledger) -> None:
    fresh, begun, done = add_items(ledger, "a", "b", "c")
    with ledger.begin() as connection:
        needs_two = queue_items.update().where(queue_items.c.item_id == begun)
        connection.execute(needs_two.values(reviewers_needed=2))
    decide(ledger, said("b", True, "ann"), begun)
    decide(ledger, said("c", True, "ann"), done)
    set_queue(ledger, Queue("review", reviewers=4, is_blind=False), "eve")
    needed = [get_item(ledger, item_id).reviewers_needed for item_id in (fresh, begun, done)]
    assert needed == [4, 2, 1]
    assert list_queues(ledger) == [Queue("review", 4, 0.0, is_blind=False)]
    with ledger.read() as connection:
        logged = sa.select(sa.func.count()).where(audit_log.c.action == "set_queue")
        assert connection.scalar(logged) == 1


@pytest.mark.parametrize(
    ("queue", "why"),
    [
        (Queue("No Name"), "a queue's name is made of"),
        (Queue("review", reviewers=0), "1 to 9 reviewers, not 0"),
        (Queue("review", reviewers=10), "1 to 9 reviewers, not 10"),
        (Queue("review", double_share=1.5), "from 0 to 1, not 1.5"),
        (Queue("review", double_share=float("nan")), "from 0 to 1, not nan"),
    ],
)
def test_a_queue_that_cannot_be_is_refused(ledger: Ledger, queue: Queue, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        set_queue(ledger, queue, "eve")
