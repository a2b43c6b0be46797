"""Decisions of people: appended, settled, taken back, declined, and brought from a file."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.cli import main
from flywheel.errors import BadInput, NotFound, Refused
from flywheel.judge.rubric import Rubric, load_rubric
from flywheel.queue import ItemFilter, decline_items, fill_queue, requeue_items
from flywheel.records import REASON_CODES
from flywheel.review import (
    Undone,
    adjudicate,
    adjudication_of,
    clear_sensitive,
    comment,
    comments_on,
    count_decisions,
    count_reviews,
    decide,
    decision_of,
    decline,
    flag_sensitive,
    import_decisions,
    is_sensitive,
    keep_rubric,
    rubric_of,
    sensitive_traces,
    skip,
    standing_adjudications,
    standing_decisions,
    undo,
    unskip,
    votes_on,
)
from flywheel.settings import QueueSettings
from flywheel.store import Project, Stores
from flywheel.store.ledger import now
from flywheel.store.tables import audit_log, claims, decisions, queue_items
from tests.conftest import trace, write_lines
from tests.judged import DAY, add_scores, add_traces, said

NAMES = [f"t{number}" for number in range(6)]


@pytest.fixture
def stores(project: Project) -> Stores:
    """The stores of a project with six judged traces, all of them in the queue."""
    add_traces(project.stores, [trace(name, "hi", "hello", "no", "sorry") for name in NAMES])
    add_scores(project.stores, dict.fromkeys(NAMES, 0.9))
    fill_queue(project.stores, QueueSettings(daily_items=10, audit_share=0.3), DAY)
    return project.stores


def status_of(stores: Stores, trace_id: str) -> str:
    with stores.ledger.begin() as ledger:
        return str(
            ledger.scalar(sa.select(queue_items.c.status).where(queue_items.c.trace_id == trace_id))
        )


def item_of(stores: Stores, trace_id: str, queue: str = "review") -> int:
    with stores.ledger.read() as ledger:
        same = (queue_items.c.trace_id == trace_id, queue_items.c.queue == queue)
        return int(ledger.scalars(sa.select(queue_items.c.item_id).where(*same)).one())


def need(stores: Stores, reviewers: int) -> None:
    """Every item needs as many reviewers."""
    with stores.ledger.begin() as ledger:
        ledger.execute(queue_items.update().values(reviewers_needed=reviewers))


def hold(stores: Stores, item_id: int, reviewer: str, minutes: float = 5) -> None:
    """A claim as the queue would make it; it has run out where `minutes` is negative."""
    until = now() + timedelta(minutes=minutes)
    row = {"item_id": item_id, "reviewer": reviewer, "claimed_at": now(), "claimed_until": until}
    with stores.ledger.begin() as ledger:
        ledger.execute(claims.insert().values(row))


def holders(stores: Stores, item_id: int) -> list[str]:
    with stores.ledger.read() as ledger:
        of_item = sa.select(claims.c.reviewer).where(claims.c.item_id == item_id)
        return list(ledger.scalars(of_item.order_by(claims.c.reviewer)))


def second_queue(stores: Stores, trace_id: str) -> int:
    """The trace stands in a queue of lawyers as well, where two are needed; that item's number."""
    with stores.ledger.begin() as ledger:
        of_trace = queue_items.c.trace_id == trace_id
        row = dict(ledger.execute(sa.select(queue_items).where(of_trace)).mappings().one())
        del row["item_id"]
        new = queue_items.insert().values(row | {"queue": "legal", "reviewers_needed": 2})
        return int(ledger.execute(new.returning(queue_items.c.item_id)).scalar_one())


def rows_of(stores: Stores, table: sa.Table) -> list[sa.RowMapping]:
    with stores.ledger.begin() as ledger:
        key = next(iter(table.primary_key))
        return list(ledger.execute(sa.select(table).order_by(key)).mappings())


def standing_of(stores: Stores) -> list[tuple[str, str, bool]]:
    return [
        (row.decision.trace_id, row.decision.reviewer, row.decision.perceived_error)
        for row in standing_decisions(stores.ledger)
    ]


def test_a_decision_finishes_its_item_and_is_logged(stores: Stores) -> None:
    decision_id = decide(stores.ledger, said("t0", True))
    assert status_of(stores, "t0") == "complete"
    assert status_of(stores, "t1") == "pending"
    (entry,) = rows_of(stores, audit_log)
    assert (entry["actor"], entry["action"], entry["subject"]) == ("ann", "decide", "t0")
    assert [row["decision_id"] for row in rows_of(stores, decisions)] == [decision_id]


def test_a_decision_takes_over_how_its_item_was_drawn(stores: Stores) -> None:
    for name in NAMES:
        decide(stores.ledger, said(name, True))
    items = {row["trace_id"]: row for row in rows_of(stores, queue_items)}
    for row in rows_of(stores, decisions):
        item = items[row["trace_id"]]
        assert row["draw_probability"] == item["draw_probability"]
        assert row["is_audit"] == (item["reason"] == "random_audit")
    assert {row["is_audit"] for row in rows_of(stores, decisions)} == {True, False}


def test_a_decision_that_says_how_it_was_drawn_keeps_it(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True, draw_probability=0.25))
    (row,) = rows_of(stores, decisions)
    assert row["draw_probability"] == 0.25


def test_a_trace_without_an_item_can_be_decided_on(stores: Stores) -> None:
    decide(stores.ledger, said("elsewhere", False))
    assert standing_of(stores) == [("elsewhere", "ann", False)]


def test_an_item_that_needs_two_people_waits_for_the_second(stores: Stores) -> None:
    need(stores, 2)
    decide(stores.ledger, said("t0", True, "ann"))
    decide(stores.ledger, said("t0", True, "ann"))
    assert status_of(stores, "t0") == "pending"
    decide(stores.ledger, said("t0", True, "bob"))
    assert status_of(stores, "t0") == "complete"


# Many reviewers.


def test_reviewers_who_disagree_leave_a_dispute_and_one_who_comes_round_ends_it(
    stores: Stores,
) -> None:
    need(stores, 2)
    decide(stores.ledger, said("t0", True, "ann"))
    decide(stores.ledger, said("t0", False, "bob"))
    assert status_of(stores, "t0") == "disputed"
    decide(stores.ledger, said("t0", True, "bob"))
    assert status_of(stores, "t0") == "complete"
    undo(stores.ledger, "bob")
    assert status_of(stores, "t0") == "disputed"
    undo(stores.ledger, "bob")
    assert status_of(stores, "t0") == "pending"


def test_an_adjudicator_settles_a_dispute_and_can_take_it_back(stores: Stores) -> None:
    need(stores, 2)
    decide(stores.ledger, said("t0", True, "ann"))
    decide(stores.ledger, said("t0", False, "bob"))
    settled = adjudicate(stores.ledger, said("t0", False, "eve", reason="read it again"))
    assert status_of(stores, "t0") == "complete"
    (word,) = standing_adjudications(stores.ledger)
    assert word == adjudication_of(stores.ledger, "t0", "v1-t0")
    assert (word.decision_id, word.kind, word.decision.reviewer) == (settled, "adjudicate", "eve")
    # An adjudication is no vote.
    assert [row.decision.reviewer for row in votes_on(stores.ledger, "t0", "v1-t0")] == [
        "ann",
        "bob",
    ]
    # A vote after it is kept, and settles nothing anew.
    decide(stores.ledger, said("t0", True, "ann"))
    assert status_of(stores, "t0") == "complete"
    undone = undo(stores.ledger, "eve")
    assert undone == Undone(settled, "adjudicate", "t0", "v1-t0", item_of(stores, "t0"))
    assert status_of(stores, "t0") == "disputed"
    assert adjudication_of(stores.ledger, "t0", "v1-t0") is None


def test_the_earlier_word_of_two_adjudicators_stands_again(stores: Stores) -> None:
    adjudicate(stores.ledger, said("t0", True, "eve"))
    adjudicate(stores.ledger, said("t0", False, "joe"))
    undo(stores.ledger, "joe")
    word = adjudication_of(stores.ledger, "t0", "v1-t0")
    assert word is not None
    assert word.decision.perceived_error
    assert status_of(stores, "t0") == "complete"


def test_a_decision_counts_in_every_queue_of_its_version(stores: Stores) -> None:
    legal = second_queue(stores, "t0")
    hold(stores, item_of(stores, "t0"), "ann")
    hold(stores, legal, "ann")
    hold(stores, legal, "bob")
    decide(stores.ledger, said("t0", True, "ann"), item_of(stores, "t0"))
    by_queue = {
        row["queue"]: row for row in rows_of(stores, queue_items) if row["trace_id"] == "t0"
    }
    assert (by_queue["review"]["status"], by_queue["legal"]["status"]) == ("complete", "pending")
    assert holders(stores, legal) == ["bob"]
    decide(stores.ledger, said("t0", False, "bob"), legal)
    by_queue = {
        row["queue"]: row for row in rows_of(stores, queue_items) if row["trace_id"] == "t0"
    }
    assert {row["status"] for row in by_queue.values()} == {"disputed"}


def test_a_decision_on_a_version_leaves_the_items_of_others_alone(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True, version="v0"))
    assert status_of(stores, "t0") == "pending"


def test_who_has_decided_holds_the_item_no_longer_and_a_finished_one_nobody(stores: Stores) -> None:
    need(stores, 2)
    item_id = item_of(stores, "t0")
    for reviewer in ("ann", "bob"):
        hold(stores, item_id, reviewer)
    hold(stores, item_of(stores, "t1"), "ann")
    decide(stores.ledger, said("t0", True, "ann"), item_id)
    assert holders(stores, item_id) == ["bob"]
    # Somebody else's decision, from a file, ends it.
    decide(stores.ledger, said("t0", True, "eve"))
    assert holders(stores, item_id) == []
    assert holders(stores, item_of(stores, "t1")) == ["ann"]


def test_who_holds_an_item_may_decide_and_nobody_beside(stores: Stores) -> None:
    item_id = item_of(stores, "t0")
    hold(stores, item_id, "ann")
    with pytest.raises(Refused, match=f"^item {item_id} needs one reviewer and has ann; take the"):
        decide(stores.ledger, said("t0", True, "bob"), item_id)
    assert rows_of(stores, decisions) == rows_of(stores, audit_log) == []
    decide(stores.ledger, said("t0", True, "ann"), item_id)
    assert status_of(stores, "t0") == "complete"


def test_where_there_is_room_nobody_needs_a_claim(stores: Stores) -> None:
    need(stores, 2)
    item_id = item_of(stores, "t0")
    hold(stores, item_id, "ann")
    hold(stores, item_id, "joe", minutes=-1)
    decide(stores.ledger, said("t0", True, "bob"), item_id)
    # Ann holds it still, and bob has decided.
    with pytest.raises(Refused, match="needs 2 reviewers and has ann, bob"):
        decide(stores.ledger, said("t0", True, "eve"), item_id)


def test_what_is_assigned_is_decided_by_its_reviewer_or_who_has_it_on_the_desk(
    stores: Stores,
) -> None:
    need(stores, 2)
    item_id = item_of(stores, "t0")
    hold(stores, item_id, "joe")
    with stores.ledger.begin() as ledger:
        ledger.execute(queue_items.update().values(assigned_to="ann"))
    with pytest.raises(Refused, match=f"^item {item_id} is assigned to ann; take the next one$"):
        decide(stores.ledger, said("t0", True, "bob"), item_id)
    decide(stores.ledger, said("t0", True, "joe"), item_id)
    decide(stores.ledger, said("t0", True, "ann"), item_id)
    assert status_of(stores, "t0") == "complete"


def test_a_finished_item_takes_no_further_reviewer_but_those_it_has(stores: Stores) -> None:
    item_id = item_of(stores, "t0")
    decide(stores.ledger, said("t0", True, "ann"), item_id)
    with pytest.raises(Refused, match=f"^item {item_id} is complete; take the next one$"):
        decide(stores.ledger, said("t0", True, "bob"), item_id)
    decide(stores.ledger, said("t0", False, "ann"), item_id)
    assert standing_of(stores) == [("t0", "ann", False)]


def test_a_dispute_takes_no_further_vote(stores: Stores) -> None:
    need(stores, 2)
    for reviewer, perceived_error in (("ann", True), ("bob", False)):
        decide(stores.ledger, said("t0", perceived_error, reviewer), item_of(stores, "t0"))
    with pytest.raises(Refused, match="needs 2 reviewers and has ann, bob"):
        decide(stores.ledger, said("t0", True, "eve"), item_of(stores, "t0"))


def test_an_item_that_is_not_there_or_of_another_version_is_said_so(stores: Stores) -> None:
    for number in (99, -1, 2**70):
        with pytest.raises(NotFound, match=f"item '{number}'"):
            decide(stores.ledger, said("t0", True), number)
    with pytest.raises(BadInput, match="is of another version of the trace; open it again"):
        decide(stores.ledger, said("t0", True, version="v0"), item_of(stores, "t0"))
    assert rows_of(stores, decisions) == []


def test_of_many_who_decide_on_one_item_at_once_only_one_may(stores: Stores) -> None:
    item_id = item_of(stores, "t0")

    def one(number: int) -> bool:
        try:
            decide(stores.ledger, said("t0", True, f"r{number}"), item_id)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(8))) == 1
    assert len(rows_of(stores, decisions)) == 1


def test_what_was_said_is_read_again_by_its_id_while_it_stands(stores: Stores) -> None:
    decision_id = decide(stores.ledger, said("t0", True, reason="no"))
    read = decision_of(stores.ledger, decision_id)
    assert (read.decision_id, read.kind, read.decision.reason) == (decision_id, "decide", "no")
    undo(stores.ledger, "ann")
    for number in (decision_id, 99):
        with pytest.raises(NotFound, match=f"decision '{number}'"):
            decision_of(stores.ledger, number)


def test_times_are_kept_in_utc(stores: Stores) -> None:
    decide(
        stores.ledger,
        said("t0", True, decided_at=datetime.fromisoformat("2026-03-02T12:00:00+02:00")),
    )
    (row,) = standing_decisions(stores.ledger)
    assert row.decision.decided_at == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_undo_goes_further_back_each_time(stores: Stores) -> None:
    first = decide(stores.ledger, said("t0", True))
    second = decide(stores.ledger, said("t1", False))
    other = decide(stores.ledger, said("t2", False, "bob"))
    undone = undo(stores.ledger, "ann")
    assert undone == Undone(second, "decide", "t1", "v1-t1", item_of(stores, "t1"))
    assert (status_of(stores, "t1"), status_of(stores, "t0")) == ("pending", "complete")
    undone = undo(stores.ledger, "ann")
    assert undone is not None
    assert undone.decision_id == first
    assert status_of(stores, "t0") == "pending"
    assert undo(stores.ledger, "ann") is None
    assert [row.decision_id for row in standing_decisions(stores.ledger)] == [other]
    assert [row["action"] for row in rows_of(stores, audit_log)] == ["decide"] * 3 + ["undo"] * 2


def test_undo_brings_back_what_the_reviewer_said_before(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True))
    decide(stores.ledger, said("t0", False))
    assert standing_of(stores) == [("t0", "ann", False)]
    undo(stores.ledger, "ann")
    assert standing_of(stores) == [("t0", "ann", True)]
    assert status_of(stores, "t0") == "complete"


def test_nothing_is_ever_deleted(stores: Stores) -> None:
    decision_id = decide(stores.ledger, said("t0", True))
    undo(stores.ledger, "ann")
    kinds = [(row["kind"], row["undoes"]) for row in rows_of(stores, decisions)]
    assert kinds == [("decide", None), ("undo", decision_id)]


def test_a_declined_item_is_closed_and_can_be_opened_again(stores: Stores) -> None:
    declined = decline(stores.ledger, "t0", "v1-t0", "ann", "not my language")
    assert status_of(stores, "t0") == "declined"
    assert standing_of(stores) == []
    assert undo(stores.ledger, "ann") == Undone(
        declined, "decline", "t0", "v1-t0", item_of(stores, "t0")
    )
    assert status_of(stores, "t0") == "pending"


def test_to_decline_a_finished_item_leaves_it_finished(stores: Stores) -> None:
    decide(stores.ledger, said("t0", True))
    decline(stores.ledger, "t0", "v1-t0", "bob")
    assert status_of(stores, "t0") == "complete"


def test_a_declined_item_is_held_by_nobody_and_a_decision_opens_it_or_ends_it(
    stores: Stores,
) -> None:
    need(stores, 2)
    hold(stores, item_of(stores, "t0"), "bob")
    decline(stores.ledger, "t0", "v1-t0", "ann")
    assert holders(stores, item_of(stores, "t0")) == []
    decide(stores.ledger, said("t0", True, "bob"))
    assert status_of(stores, "t0") == "declined"
    decide(stores.ledger, said("t0", True, "eve"))
    assert status_of(stores, "t0") == "complete"


def test_what_managers_decline_or_requeue_stays_so_until_somebody_decides(stores: Stores) -> None:
    need(stores, 2)
    decide(stores.ledger, said("t0", True, "ann"))
    decline_items(stores.ledger, ItemFilter(), [item_of(stores, "t0")], "max")
    undo(stores.ledger, "ann")
    assert status_of(stores, "t0") == "declined"
    decline(stores.ledger, "t1", "v1-t1", "ann")
    requeue_items(stores.ledger, ItemFilter(), [item_of(stores, "t1")], "max")
    decide(stores.ledger, said("t1", True, "bob"))
    assert status_of(stores, "t1") == "pending"
    decide(stores.ledger, said("t1", True, "eve"))
    assert status_of(stores, "t1") == "complete"
    requeue_items(stores.ledger, ItemFilter(status=None), [item_of(stores, "t1")], "max")
    decide(stores.ledger, said("t1", False, "joe"), item_of(stores, "t1"))
    assert status_of(stores, "t1") == "disputed"


def test_to_undo_a_decision_on_a_declined_item_leaves_it_declined(stores: Stores) -> None:
    decline(stores.ledger, "t0", "v1-t0", "ann")
    decide(stores.ledger, said("t0", True, "ann"))
    assert status_of(stores, "t0") == "complete"
    undo(stores.ledger, "ann")
    assert status_of(stores, "t0") == "declined"
    undo(stores.ledger, "ann")
    assert status_of(stores, "t0") == "pending"


# What reviewers do beside deciding.


def test_a_skipped_item_is_held_no_longer_and_waits_for_others(stores: Stores) -> None:
    item_id = item_of(stores, "t0")
    for reviewer in ("ann", "bob"):
        hold(stores, item_id, reviewer)
    skipped = skip(stores.ledger, item_id, "ann")
    assert skip(stores.ledger, item_id, "ann") == skipped
    assert holders(stores, item_id) == ["bob"]
    assert status_of(stores, "t0") == "pending"
    (row,) = rows_of(stores, decisions)
    assert (row["kind"], row["trace_id"], row["content_hash"]) == ("skip", "t0", "v1-t0")
    with pytest.raises(NotFound, match="item '99'"):
        skip(stores.ledger, 99, "ann")


def test_skips_are_taken_back_together_and_stay_those_of_others(stores: Stores) -> None:
    for name in ("t0", "t1"):
        skip(stores.ledger, item_of(stores, name), "ann")
    other = skip(stores.ledger, item_of(stores, "t0"), "bob")
    assert unskip(stores.ledger, "ann") == 2
    assert unskip(stores.ledger, "ann") == 0
    assert undo(stores.ledger, "ann") is None
    assert skip(stores.ledger, item_of(stores, "t0"), "bob") == other


def test_undo_goes_back_through_everything_that_a_reviewer_did(stores: Stores) -> None:
    need(stores, 2)
    item_id = item_of(stores, "t0")
    decide(stores.ledger, said("t0", True))
    adjudicate(stores.ledger, said("t1", True))
    decline(stores.ledger, "t2", "v1-t2", "ann")
    skip(stores.ledger, item_of(stores, "t3"), "ann")
    flag_sensitive(stores.ledger, "t4", "v1-t4", "ann")
    flag_sensitive(stores.ledger, "elsewhere", "unknown", "ann")
    undone = [undo(stores.ledger, "ann") for _ in range(6)]
    assert [one and (one.kind, one.trace_id) for one in undone] == [
        ("sensitive", "elsewhere"),
        ("sensitive", "t4"),
        ("skip", "t3"),
        ("decline", "t2"),
        ("adjudicate", "t1"),
        ("decide", "t0"),
    ]
    assert [one and one.item_id for one in (undone[0], undone[-1])] == [None, item_id]
    assert undo(stores.ledger, "ann") is None
    assert {status_of(stores, name) for name in NAMES} == {"pending"}
    assert standing_of(stores) == []
    assert sensitive_traces(stores.ledger) == set()


def test_a_sensitive_trace_is_marked_whatever_its_version_until_somebody_clears_it(
    stores: Stores,
) -> None:
    marked = flag_sensitive(stores.ledger, "t0", "v1-t0", "ann", "a name and an address")
    assert flag_sensitive(stores.ledger, "t0", "v1-t0", "ann") == marked
    flag_sensitive(stores.ledger, "t0", "v2-t0", "bob")
    assert is_sensitive(stores.ledger, "t0")
    assert not is_sensitive(stores.ledger, "t1")
    assert sensitive_traces(stores.ledger) == {"t0"}
    # It can still be decided on.
    assert status_of(stores, "t0") == "pending"
    assert clear_sensitive(stores.ledger, "t0", "eve") == 2
    assert not is_sensitive(stores.ledger, "t0")
    assert clear_sensitive(stores.ledger, "t0", "eve") == 0
    # What eve took back, ann need not.
    assert undo(stores.ledger, "ann") is None


def test_everything_that_people_do_stands_in_the_audit_log_with_what_it_was(
    stores: Stores,
) -> None:
    item_id = item_of(stores, "t0")
    decision_id = decide(stores.ledger, said("t0", True, rubric_version="0123456789ab"), item_id)
    adjudicate(stores.ledger, said("t0", False, "eve"))
    decline(stores.ledger, "t1", "v1-t1", "ann")
    skip(stores.ledger, item_of(stores, "t2"), "ann")
    flag_sensitive(stores.ledger, "t3", "v1-t3", "ann")
    comment(stores.ledger, "t3", "v1-t3", "ann", "there is an address in it")
    undo(stores.ledger, "eve")
    unskip(stores.ledger, "ann")
    clear_sensitive(stores.ledger, "t3", "eve")
    entries = rows_of(stores, audit_log)
    assert [(row["actor"], row["action"], row["subject"]) for row in entries] == [
        ("ann", "decide", "t0"),
        ("eve", "adjudicate", "t0"),
        ("ann", "decline", "t1"),
        ("ann", "skip", "t2"),
        ("ann", "sensitive", "t3"),
        ("ann", "comment", "t3"),
        ("eve", "undo", "t0"),
        ("ann", "unskip", "ann"),
        ("eve", "clear_sensitive", "t3"),
    ]
    assert json.loads(entries[0]["detail"]) == {
        "decision_id": decision_id,
        "item_id": item_id,
        "perceived_error": True,
        "reason_code": "correction",
        "rubric_version": "0123456789ab",
    }


def test_remarks_are_read_oldest_first_and_belong_to_a_version(stores: Stores) -> None:
    for author, text in (("ann", " Which order? "), ("bob", "The second\0one.")):
        comment(stores.ledger, "t0", "v1-t0", author, text)
    comment(stores.ledger, "t0", "v2-t0", "ann", "changed since")
    remarks = comments_on(stores.ledger, "t0", "v1-t0")
    assert [(one.author, one.text) for one in remarks] == [
        ("ann", "Which order?"),
        ("bob", "The second\ufffdone."),
    ]
    assert remarks[0].written_at.tzinfo == UTC


@pytest.mark.parametrize(
    ("text", "why"), [(" \n", "needs a text"), ("x" * 10_001, "10,001 characters")]
)
def test_a_remark_is_neither_empty_nor_endless(stores: Stores, text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        comment(stores.ledger, "t0", "v1-t0", "ann", text)
    assert comment(stores.ledger, "t0", "v1-t0", "ann", "x" * 10_000)


def test_what_is_learnt_from_is_counted_and_only_grows(stores: Stores) -> None:
    """Votes, adjudications, flags and what takes them back; never skips and declines."""
    counts = []
    for act in (
        lambda: decide(stores.ledger, said("t0", True, corrected_turn=1, corrected_text="Yes.")),
        lambda: skip(stores.ledger, item_of(stores, "t1"), "ann"),
        lambda: undo(stores.ledger, "ann"),
        lambda: decline(stores.ledger, "t1", "v1-t1", "ann"),
        lambda: adjudicate(stores.ledger, said("t0", False, "eve")),
        lambda: flag_sensitive(stores.ledger, "t0", "v1-t0", "ann"),
        lambda: clear_sensitive(stores.ledger, "t0", "eve"),
        lambda: undo(stores.ledger, "eve"),
        lambda: decide(stores.ledger, said("t1", False, "bob")),
    ):
        act()
        counts.append(count_decisions(stores.ledger))
    assert counts == [1, 1, 1, 1, 2, 3, 4, 5, 6]
    counted = count_reviews(stores.ledger)
    assert (counted.rows, counted.decisions, counted.adjudications) == (6, 2, 0)
    assert (counted.corrections, counted.sensitive, counted.reviewers) == (1, 0, 2)


# The rubric.


def test_the_bundled_rubric_explains_every_reason_code(project: Project) -> None:
    rubric = load_rubric(project.metrics_dir)
    assert rubric.text.startswith("# ")
    assert [code for code in REASON_CODES if f"| `{code}` |" not in rubric.text] == []
    assert len(rubric.version) == 12


def test_a_project_may_have_a_rubric_of_its_own(project: Project) -> None:
    bundled = load_rubric(project.metrics_dir)
    project.metrics_dir.mkdir(parents=True)
    own = project.metrics_dir / "perceived_error.md"
    own.write_text("# Ours\n", encoding="utf-8")
    # printf '# Ours\n' | sha256sum
    assert load_rubric(project.metrics_dir) == Rubric("d11bfa3f42fd", "# Ours\n")
    assert load_rubric(project.metrics_dir).version != bundled.version
    own.write_bytes(b"\xff")
    with pytest.raises(BadInput, match="is not UTF-8"):
        load_rubric(project.metrics_dir)


def test_a_rubric_is_kept_once_and_found_by_its_version(stores: Stores) -> None:
    rubric = Rubric("0123456789ab", "# Ours")
    for _ in range(2):
        keep_rubric(stores.ledger, rubric)
    assert rubric_of(stores.ledger, "0123456789ab") == rubric
    with pytest.raises(NotFound, match="rubric '1'"):
        rubric_of(stores.ledger, "1")


# Corrections.


def call(name: str, arguments: str, call_id: str = "c1") -> dict[str, object]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([call("find", '{"q": 1}')], [call("find", '{"q": 1}')]),
        ([call("find", "no JSON: Größe")], [call("find", "no JSON: Größe")]),
        ([{"function": {"name": "find"}}], [call("find", "{}", "call_1")]),
        (
            [{"name": "find", "arguments": {"q": [1, None]}}],
            [call("find", '{"q": [1, null]}', "call_1")],
        ),
        ([], []),
    ],
)
def test_corrected_tool_calls_are_kept_in_one_shape(
    stores: Stores, given: list[object], kept: list[object]
) -> None:
    better = {"corrected_turn": 1, "corrected_tool_calls": json.dumps(given)}
    decide(stores.ledger, said("t0", True, **better))
    (row,) = standing_decisions(stores.ledger)
    assert row.decision.corrected_text is None
    assert json.loads(row.decision.corrected_tool_calls or "") == kept


@pytest.mark.parametrize(
    "said_of_calls",
    [
        "find the order",
        '{"function": {"name": "find", "arguments": "{}"}}',
        '[{"function": {"arguments": "{}"}}]',
        '[{"function": {"name": 3}}]',
        '["find"]',
        "[" * 100_000,
    ],
)
def test_tool_calls_that_nobody_could_make_are_refused(stores: Stores, said_of_calls: str) -> None:
    better = {"corrected_turn": 1, "corrected_tool_calls": said_of_calls}
    with pytest.raises(BadInput, match="no list of tool calls; expected"):
        decide(stores.ledger, said("t0", True, **better))
    assert rows_of(stores, decisions) == []


def test_a_correction_names_its_message_and_says_something(stores: Stores) -> None:
    for half in ({"corrected_turn": 1}, {"corrected_text": "x"}, {"corrected_tool_calls": "[]"}):
        with pytest.raises(BadInput, match="a correction needs corrected_turn, and beside it"):
            decide(stores.ledger, said("t0", True, **half))


def test_text_that_a_ledger_cannot_hold_is_marked(stores: Stores) -> None:
    better = {"corrected_turn": 1, "corrected_text": "a\0b\ud800"}
    decide(stores.ledger, said("t0", True, reason="\0", **better))
    (row,) = standing_decisions(stores.ledger)
    assert (row.decision.reason, row.decision.corrected_text) == ("\ufffd", "a\ufffdb?")


def test_eight_reviewers_at_once_lose_nothing(stores: Stores) -> None:
    def one_reviewer(number: int) -> list[int]:
        name = f"reviewer-{number}"
        return [decide(stores.ledger, said(f"{name}-{i}", True, name)) for i in range(15)]

    with ThreadPoolExecutor(8) as pool:
        made = [decision_id for ids in pool.map(one_reviewer, range(8)) for decision_id in ids]
    assert len(set(made)) == len(standing_decisions(stores.ledger)) == 8 * 15
    assert len(rows_of(stores, audit_log)) == 8 * 15


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[..., Path]:
    """Makes a decision file of rows; `trace_id`, `perceived_error` and `reviewer` are filled in."""

    def make(*rows: dict[str, object]) -> Path:
        least = {"trace_id": "t0", "perceived_error": True, "reviewer": "ann"}
        return write_lines(tmp_path / "decisions.jsonl", [least | row for row in rows])

    return make


def test_a_file_of_decisions_is_read(stores: Stores, file_of: Callable[..., Path]) -> None:
    path = file_of(
        {
            "reason_code": "correction",
            "reason": "the user says no",
            "evidence_turn": 2,
            "corrected_turn": 3,
            "corrected_text": "Here it is.",
            "seconds": 4.5,
            "decided_at": "2026-03-03T08:00:00Z",
            "note": "what is not known is left alone",
        },
        {"trace_id": "t1", "perceived_error": False, "is_audit": True, "reason": None},
    )
    report = import_decisions(stores, path)
    assert (report.read, report.new, report.duplicate, report.rejected) == (2, 2, 0, [])
    first, second = (row.decision for row in standing_decisions(stores.ledger))
    assert first.content_hash == "v1-t0"
    assert (first.reason_code, first.evidence_turn, first.seconds) == ("correction", 2, 4.5)
    assert (first.corrected_turn, first.corrected_text) == (3, "Here it is.")
    assert first.decided_at == datetime(2026, 3, 3, 8, tzinfo=UTC)
    assert second.is_audit
    assert status_of(stores, "t0") == status_of(stores, "t1") == "complete"
    (entry,) = rows_of(stores, audit_log)
    assert (entry["action"], entry["subject"]) == ("import_decisions", "decisions.jsonl")


def test_a_file_may_correct_tool_calls_and_brings_an_item_as_far_as_people_would(
    stores: Stores, file_of: Callable[..., Path]
) -> None:
    need(stores, 2)
    calls = [call("find", "{}")]
    path = file_of(
        {"corrected_turn": 3, "corrected_tool_calls": calls},
        # The JSON text of the list, as an export has it.
        {"trace_id": "t1", "corrected_turn": 3, "corrected_tool_calls": json.dumps(calls)},
        {"reviewer": "bob"},
        {"trace_id": "t1", "reviewer": "bob", "perceived_error": False},
    )
    assert import_decisions(stores, path).new == 4
    assert (status_of(stores, "t0"), status_of(stores, "t1")) == ("complete", "disputed")
    for row in standing_decisions(stores.ledger)[:2]:
        assert row.decision.corrected_tool_calls == json.dumps(calls)
    undo(stores.ledger, "bob")
    undo(stores.ledger, "bob")
    assert status_of(stores, "t0") == status_of(stores, "t1") == "pending"
    assert import_decisions(stores, path).duplicate == 4


def test_the_same_row_twice_adds_nothing(stores: Stores, file_of: Callable[..., Path]) -> None:
    twice = {"reason": "no"}
    path = file_of(twice, {"trace_id": "t1"}, twice)
    first = import_decisions(stores, path)
    assert (first.read, first.new, first.duplicate) == (3, 2, 1)
    again = import_decisions(stores, path)
    assert (again.read, again.new, again.duplicate) == (3, 0, 3)
    assert len(rows_of(stores, decisions)) == 2


def test_the_order_of_keys_does_not_make_another_row(stores: Stores, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(
        '{"trace_id": "t0", "perceived_error": true, "reviewer": "ann"}\n'
        "\n"
        '{"reviewer": "ann", "perceived_error": true, "trace_id": "t0", "reason": ""}\n'
    )
    report = import_decisions(stores, path)
    assert (report.read, report.new, report.duplicate) == (2, 1, 1)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"trace_id": "t9"}, "trace 't9' is not in the warehouse; import the traces first"),
        ({"content_hash": "old"}, "trace 't0' never had the content 'old'"),
        ({"reason_code": "wrong"}, "'rejection', 'repeated_request'"),
        ({"perceived_error": None}, "perceived_error: Field required"),
        ({"perceived_error": "perhaps"}, "unable to interpret input; got 'perhaps'"),
        ({"reviewer": ""}, "reviewer: String should have at least 1 character"),
        (
            {"perceived_error": False, "reason_code": "rejection"},
            "reason_code 'rejection' is one of an error, and perceived_error is false",
        ),
        (
            {"corrected_turn": 2, "corrected_text": "x"},
            "corrected_turn 2 is a message of 'user'; it must be the assistant's",
        ),
        (
            {"corrected_turn": 9, "corrected_text": "x"},
            "corrected_turn 9 is after the last message; it must be the assistant's",
        ),
        (
            {"corrected_text": "x"},
            "corrected_turn comes together with corrected_text, corrected_tool_calls or both",
        ),
        (
            {"corrected_turn": 1, "corrected_tool_calls": [{"name": 3}]},
            "corrected_tool_calls: corrected_tool_calls is no list of tool calls",
        ),
        ({"evidence_turn": 4}, "evidence_turn 4 is after the last message of the trace"),
        ({"draw_probability": 0}, "draw_probability: Input should be greater than 0"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(
    stores: Stores, file_of: Callable[..., Path], row: dict[str, object], why: str
) -> None:
    path = file_of({}, row, {"trace_id": "t1"})
    report = import_decisions(stores, path)
    assert (report.read, report.new) == (3, 2)
    (rejected,) = report.rejected
    assert (rejected.file, rejected.line) == (str(path), 2)
    assert why in rejected.why


def test_a_line_that_is_no_json_does_not_stop_the_rest(stores: Stores, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    good = b'{"trace_id": "t0", "perceived_error": true, "reviewer": "ann"}'
    path.write_bytes(b"\xef\xbb\xbf" + good + b'\n{"trace_id": "\n[1]\n"\xff"\n')
    report = import_decisions(stores, path)
    assert (report.read, report.new) == (4, 1)
    assert [row.line for row in report.rejected] == [2, 3, 4]


def test_a_clarification_may_stand_without_an_error(
    stores: Stores, file_of: Callable[..., Path]
) -> None:
    path = file_of({"perceived_error": False, "reason_code": "clarification_request"})
    assert import_decisions(stores, path).new == 1


def test_a_character_that_a_ledger_cannot_hold_is_marked(
    stores: Stores, file_of: Callable[..., Path]
) -> None:
    import_decisions(stores, file_of({"reason": "a\0b"}))
    (row,) = standing_decisions(stores.ledger)
    assert row.decision.reason == "a\ufffdb"


def test_many_rows_are_entered_in_batches(stores: Stores, file_of: Callable[..., Path]) -> None:
    rows = [{"trace_id": NAMES[n % 6], "reason": f"for the {n}th time"} for n in range(2_500)]
    path = file_of(*rows)
    assert import_decisions(stores, path).new == 2_500
    assert [row["action"] for row in rows_of(stores, audit_log)] == ["import_decisions"] * 3
    # The last of them on a trace is what the reviewer says.
    reasons = [row.decision.reason for row in standing_decisions(stores.ledger)]
    assert reasons == [f"for the {n}th time" for n in range(2_494, 2_500)]


def test_a_missing_file_is_said_so(stores: Stores, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected JSON lines"):
        import_decisions(stores, tmp_path / "none.jsonl")


def test_a_file_without_rows_is_no_fault(stores: Stores, tmp_path: Path) -> None:
    report = import_decisions(stores, write_lines(tmp_path / "empty.jsonl", []))
    assert (report.read, report.new, report.rejected) == (0, 0, [])


# The command line.


def test_the_command_says_what_it_took_back(
    project: Project, stores: Stores, capsys: pytest.CaptureFixture[str]
) -> None:
    decision_id = decide(stores.ledger, said("t0", True))
    skip(stores.ledger, item_of(stores, "t1"), "ann")
    command = ["--project", str(project.folder), "review", "undo", "--reviewer", "ann"]
    main(command)
    assert "kind          skip\ntrace_id      t1\n" in capsys.readouterr().out
    main([*command, "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "decision_id": decision_id,
        "kind": "decide",
        "trace_id": "t0",
        "content_hash": "v1-t0",
        "item_id": item_of(stores, "t0"),
    }
    with pytest.raises(SystemExit, match="1"):
        main(command)
    assert "nothing that 'ann' did stands" in capsys.readouterr().err
