"""Claims: two people never do the same work, and nobody's work is lost on the way."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import pytest

from flywheel.errors import NotFound, Refused
from flywheel.queue import (
    ItemFilter,
    assign_items,
    claim,
    claim_next,
    decline_items,
    get_item,
    heartbeat,
    release,
    requeue_items,
)
from flywheel.queue.claims import lock_item
from flywheel.review import decide, skip, undo, unskip
from flywheel.store import Project
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import claims
from tests.judged import said
from tests.queued import add_items, add_people, let_expire, rows_of

ANY = ItemFilter()
LEASE_S = 600.0
REVIEWERS = [f"r{number}" for number in range(6)]


def next_of(ledger: Ledger, reviewer: str, *excluding: int, also: int = 0) -> int | None:
    return claim_next(ledger, reviewer, ANY, LEASE_S, also, excluding)


def work_off(ledger: Ledger, reviewer: str) -> list[int]:
    """Claim and decide until nothing is left; the items in order."""
    done = []
    while (item_id := next_of(ledger, reviewer)) is not None:
        trace_id = get_item(ledger, item_id).trace_id
        decide(ledger, said(trace_id, True, reviewer), item_id)
        done.append(item_id)
    return done


def test_what_somebody_is_at_is_waited_for_before_nothing_is_said_to_be_left(
    ledger: Ledger,
) -> None:
    (item_id,) = add_items(ledger, "a", reviewers_needed=2)
    with ThreadPoolExecutor(1) as pool:
        with ledger.begin() as connection:
            lock_item(connection, item_id)
            given = pool.submit(next_of, ledger, "bob")
            # Nothing else is waiting: bob has to be told of this one, once it is free.
            with pytest.raises(TimeoutError):
                given.result(0.3)
        assert given.result(30) == item_id


def begin_together(barrier: Barrier) -> None:
    """What a process keeps, so that all of them begin at the same moment."""
    global together
    together = barrier


def work_off_in_process(url: str, reviewer: str) -> list[int]:
    ledger = Ledger(url)
    try:
        together.wait(60)
        return work_off(ledger, reviewer)
    finally:
        ledger.close()


def test_the_most_urgent_item_comes_first_and_two_people_get_two(ledger: Ledger) -> None:
    first, second = add_items(ledger, "a", "b")
    assert next_of(ledger, "ann") == first
    assert next_of(ledger, "bob") == second
    assert next_of(ledger, "cid") is None


def test_what_is_on_the_desk_comes_again_when_a_page_is_loaded_again(ledger: Ledger) -> None:
    first, _ = add_items(ledger, "a", "b")
    assert next_of(ledger, "ann") == first
    (before,) = rows_of(ledger, claims)
    assert next_of(ledger, "ann") == first
    (after,) = rows_of(ledger, claims)
    assert after["claimed_at"] == before["claimed_at"]
    assert after["claimed_until"] > before["claimed_until"]


def test_the_next_item_can_be_fetched_ahead_of_the_one_on_the_desk(ledger: Ledger) -> None:
    first, second, _ = add_items(ledger, "a", "b", "c")
    assert next_of(ledger, "ann") == first
    assert next_of(ledger, "ann", first) == second
    assert next_of(ledger, "ann", first) == second
    # The decision on the first is still on its way.
    assert next_of(ledger, "ann", second) == first


def test_who_leafs_on_gets_new_items_until_as_many_lie_on_the_desk_as_may(ledger: Ledger) -> None:
    a, b, c, _ = add_items(ledger, "a", "b", "c", "d")
    assert next_of(ledger, "ann", also=1) == a
    assert next_of(ledger, "ann", a, also=1) == b
    assert next_of(ledger, "ann", b, also=1) == c
    # Of the others two are on the desk, and one more than that is not held: the oldest comes again.
    assert next_of(ledger, "ann", c, also=1) == a
    assert next_of(ledger, "ann", a, also=1) == b


def test_an_item_for_two_is_given_to_two(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a", reviewers_needed=2)
    assert [next_of(ledger, name) for name in ("ann", "bob", "cid")] == [item_id, item_id, None]


def test_a_decision_takes_its_place_and_ends_its_claim(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a", reviewers_needed=2)
    next_of(ledger, "ann")
    decide(ledger, said("a", True, "ann"), item_id)
    assert rows_of(ledger, claims) == []
    # Ann is done with it, Bob has the second place, and there is no third.
    assert [next_of(ledger, name) for name in ("ann", "bob", "cid")] == [None, item_id, None]


def test_a_decision_that_was_taken_back_leaves_its_place_free(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a", reviewers_needed=2)
    for name in ("ann", "bob"):
        decide(ledger, said("a", True, name), next_of(ledger, name))
    undo(ledger, "ann")
    assert [next_of(ledger, name) for name in ("bob", "cid")] == [None, item_id]


def test_an_expired_claim_is_free(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a")
    assert next_of(ledger, "ann") == item_id
    let_expire(ledger, "ann")
    assert next_of(ledger, "bob") == item_id
    assert next_of(ledger, "ann") is None
    assert [row["reviewer"] for row in rows_of(ledger, claims)] == ["bob"]


def test_a_heartbeat_prolongs_a_live_claim_and_no_other(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a")
    next_of(ledger, "ann")
    assert heartbeat(ledger, item_id, "ann", 3_600)
    (held,) = get_item(ledger, item_id).claims
    assert timedelta(minutes=59) < held.claimed_until - now() < timedelta(minutes=61)
    assert not heartbeat(ledger, item_id, "bob", 3_600)
    let_expire(ledger, "ann")
    assert not heartbeat(ledger, item_id, "ann", 3_600)
    assert get_item(ledger, item_id).claims == ()
    with pytest.raises(NotFound):
        heartbeat(ledger, item_id + 1, "ann", 3_600)


def test_what_is_put_back_is_free_at_once(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a")
    next_of(ledger, "ann")
    release(ledger, item_id, "ann")
    assert next_of(ledger, "bob") == item_id


def test_what_somebody_skips_is_skipped_for_them_alone(ledger: Ledger) -> None:
    first, second = add_items(ledger, "a", "b")
    skip(ledger, first, "ann")
    assert next_of(ledger, "ann") == second
    assert next_of(ledger, "bob") == first
    release(ledger, first, "bob")
    unskip(ledger, "ann")
    assert next_of(ledger, "ann", second) == first


def test_what_is_assigned_is_for_its_reviewer_and_comes_first(ledger: Ledger) -> None:
    first, second = add_items(ledger, "a", "b")
    add_people(ledger, "bob")
    assign_items(ledger, ANY, [second], "eve", "bob")
    assert next_of(ledger, "bob") == second
    assert next_of(ledger, "ann") == first
    assert next_of(ledger, "ann", first) is None
    with pytest.raises(Refused, match="assigned to bob"):
        claim(ledger, second, "ann", LEASE_S)


def test_a_filter_holds_for_what_is_claimed_and_for_what_is_on_the_desk(ledger: Ledger) -> None:
    (of_shop,) = add_items(ledger, "a")
    (of_bank,) = add_items(ledger, "b", app="bank")
    bank = ItemFilter(app="bank", status="complete")
    assert next_of(ledger, "ann") == of_shop
    # Only what waits is claimed, whatever status was looked at.
    assert claim_next(ledger, "ann", bank, LEASE_S) == of_bank
    assert claim_next(ledger, "bob", bank, LEASE_S) is None


def test_an_item_is_claimed_by_its_number_and_says_who_has_it(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a")
    until = claim(ledger, item_id, "ann", LEASE_S)
    assert claim(ledger, item_id, "ann", LEASE_S) > until
    with pytest.raises(Refused, match=rf"on the desk of ann until {until:%H:%M} UTC"):
        claim(ledger, item_id, "bob", LEASE_S)
    decide(ledger, said("a", True, "ann"), item_id)
    with pytest.raises(Refused, match="item 1 is complete"):
        claim(ledger, item_id, "bob", LEASE_S)
    for unknown in (99, -1, 10**30):
        with pytest.raises(NotFound):
            claim(ledger, unknown, "bob", LEASE_S)


def test_a_declined_item_is_on_nobodys_desk(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a")
    next_of(ledger, "ann")
    decline_items(ledger, ANY, [item_id], "eve")
    assert rows_of(ledger, claims) == []
    assert next_of(ledger, "ann") is None


def test_what_is_put_back_into_the_queue_is_for_somebody_else(ledger: Ledger) -> None:
    (item_id,) = add_items(ledger, "a")
    decide(ledger, said("a", True, "ann"), next_of(ledger, "ann"))
    requeue_items(ledger, ANY, [item_id], "eve")
    assert [next_of(ledger, name) for name in ("ann", "bob")] == [None, item_id]


def given_as_needed(shares: list[list[int]], needed: Mapping[int, int]) -> bool:
    """Whether each item was given to as many reviewers as it needs, and to none of them twice."""
    given = Counter(item_id for share in shares for item_id in set(share))
    return given == needed and all(len(set(share)) == len(share) for share in shares)


def add_shared_work(ledger: Ledger) -> dict[int, int]:
    """Items for one and for two reviewers; how many each needs."""
    once = add_items(ledger, *(f"once{number}" for number in range(12)))
    twice = add_items(ledger, *(f"twice{number}" for number in range(12)), reviewers_needed=2)
    return dict.fromkeys(once, 1) | dict.fromkeys(twice, 2)


def test_threads_never_give_an_item_to_more_reviewers_than_it_needs(ledger: Ledger) -> None:
    needed = add_shared_work(ledger)
    with ThreadPoolExecutor(len(REVIEWERS)) as pool:
        shares = list(pool.map(partial(work_off, ledger), REVIEWERS))
    assert given_as_needed(shares, needed)
    assert rows_of(ledger, claims) == []


def test_processes_never_give_an_item_to_more_reviewers_than_it_needs(project: Project) -> None:
    ledger, three = project.stores.ledger, REVIEWERS[:3]
    needed = add_shared_work(ledger)
    spawn = get_context("spawn")
    with ProcessPoolExecutor(3, spawn, begin_together, (spawn.Barrier(3),)) as pool:
        shares = list(pool.map(partial(work_off_in_process, ledger.url), three))
    assert given_as_needed(shares, needed)
