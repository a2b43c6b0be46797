"""Many reviewers at once: processes that claim and decide over HTTP, and what may not go wrong.

Each process is one reviewer with a key of its own, and writes down what the server acknowledged;
what the ledger holds afterwards is held against that.
"""

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from flywheel.errors import Refused
from flywheel.queue import claim, set_queue
from flywheel.queue.queues import Queue
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project
from flywheel.store.ledger import Ledger, now
from tests.desk import Desk, Shift, review
from tests.served import PATIENCE_S, chat, fill, key_of, serving


@contextmanager
def reviewers_at_work(port: int, keys: Mapping[str, str]) -> Iterator[list[Shift]]:
    """A process for each reviewer while the block runs; then the list has what each did."""
    spawn = multiprocessing.get_context("spawn")
    ready, over, given = spawn.Barrier(len(keys) + 1), spawn.Event(), spawn.Queue()
    people = [
        spawn.Process(target=review, args=(port, name, key, ready, over, given))
        for name, key in keys.items()
    ]
    for person in people:
        person.start()
    shifts: list[Shift] = []
    try:
        ready.wait(PATIENCE_S)
        yield shifts
        over.set()
        shifts += [given.get(timeout=PATIENCE_S) for _ in people]
    finally:
        over.set()
        ready.abort()
        for person in people:
            person.join(PATIENCE_S)
        given.close()
        given.join_thread()


_PEOPLE = """
select i.item_id, i.reviewers_needed, count(distinct p.reviewer) as n
from queue_items i
join (
    select item_id, reviewer from claims where claimed_until > :now
    union
    select q.item_id, d.reviewer
    from decisions d
    join queue_items q on q.trace_id = d.trace_id and q.content_hash = d.content_hash
    where d.kind = 'decide'
) p on p.item_id = i.item_id
group by i.item_id, i.reviewers_needed
having count(distinct p.reviewer) > i.reviewers_needed
"""


def crowded_items(ledger: Ledger) -> list[int]:
    """Items that more people decided on, or hold at this moment, than they need."""
    moment = sa.bindparam("now", now(), type_=sa.DateTime(timezone=True))
    with ledger.read() as connection:
        found = connection.execute(sa.text(_PEOPLE).bindparams(moment))
        return [int(row.item_id) for row in found]


def lost_decisions(ledger: Ledger, shifts: Sequence[Shift]) -> list[int]:
    """Decisions that the server acknowledged and the ledger does not have as they were made."""
    query = sa.text(
        "select d.decision_id, d.reviewer, q.item_id from decisions d join queue_items q "
        "on q.trace_id = d.trace_id and q.content_hash = d.content_hash where d.kind = 'decide'"
    )
    with ledger.read() as connection:
        kept = {row.decision_id: (row.reviewer, row.item_id) for row in connection.execute(query)}
    return [
        decision_id
        for shift in shifts
        for decision_id, item_id in shift.decisions.items()
        if kept.get(decision_id) != (shift.reviewer, item_id)
    ]


@dataclass(frozen=True)
class Outcome:
    """How it went: what each reviewer did, and the items and decisions with which it went wrong.

    `crowded` are items with more people than they need, `lost` acknowledged decisions that are not
    there, `stuck` the item of somebody who never came back, where nobody else can have it. The
    server was down for `down_s` and used `cpu_s` for the work, its starts not counted.
    """

    shifts: list[Shift]
    crowded: list[int]
    lost: list[int]
    stuck: int | None
    down_s: float
    cpu_s: float


def review_through_a_crash(
    project: Project, n_items: int, n_reviewers: int, seconds: float, claim_s: float
) -> Outcome:
    """Let reviewers decide for `seconds`, and kill the server after half of them.

    About a fifth of the items need two people. A claim lasts `claim_s` seconds; one reviewer claims
    the most urgent item and is not seen again.
    """
    ledger = project.stores.ledger
    project.folder.mkdir(exist_ok=True)
    (project.folder / PROJECT_FILE).write_text(f"[web]\nclaim_minutes = {claim_s / 60}\n")
    set_queue(ledger, Queue("review", 1, 0.2, False), "test")
    fill(project, [chat(number) for number in range(n_items)])
    keys = {name: key_of(project, name) for name in (f"reviewer-{i}" for i in range(n_reviewers))}
    crowded: set[int] = set()

    def watch(until: float) -> None:
        while time.monotonic() < until:
            time.sleep(min(1.0, seconds / 10))
            crowded.update(crowded_items(ledger))

    with serving(project) as server:
        left = _taken(Desk(server.port, key_of(project, "left")))
        with reviewers_at_work(server.port, keys) as shifts:
            started = server.cpu_s()
            watch(time.monotonic() + seconds / 2)
            cpu_s = server.cpu_s() - started
            killed = time.monotonic()
            server.kill()
            server.start()
            down_s, started = time.monotonic() - killed, server.cpu_s()
            watch(time.monotonic() + seconds / 2)
            cpu_s += server.cpu_s() - started
    crowded.update(crowded_items(ledger))
    time.sleep(claim_s)
    stuck = None if _is_free(ledger, left) else left
    lost = lost_decisions(ledger, shifts)
    return Outcome(shifts, sorted(crowded), lost, stuck, down_s, cpu_s)


def _taken(desk: Desk) -> int:
    item_id = desk.next_item()
    desk.close()
    assert item_id is not None
    return item_id


def _is_free(ledger: Ledger, item_id: int) -> bool:
    """Whether somebody who comes late can have the item, or others have finished it."""
    try:
        claim(ledger, item_id, "late", 60)
    except Refused as refusal:
        return "is complete" in str(refusal)
    return True
