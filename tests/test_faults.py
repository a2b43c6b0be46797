"""A day of the whole loop with faults in it, and bugs put in on purpose that must be found."""

from datetime import timedelta
from pathlib import Path

from flywheel.corrections import derive_labels
from flywheel.queue import ItemFilter, list_items
from flywheel.review import decide
from flywheel.store import Project
from flywheel.store.ledger import record_action
from flywheel.store.tables import decisions
from flywheel.traces.importing import RAW
from flywheel.traces.inbox import Inbox
from tests.fault_checks import wrong_now
from tests.fault_work import Acknowledged, requests_of
from tests.faults import DAY_ONE, World
from tests.judged import said
from tests.served import chat, fill

NEXT_DAY = DAY_ONE + timedelta(days=1)


def acknowledge_without_storing() -> None:
    """The bug: the server answers for the third body that it takes in, and keeps it nowhere."""
    true, taken = Inbox.take_in, []

    def take_in(self: Inbox, *body: object) -> None:
        taken.append(body)
        if len(taken) != 3:
            true(self, *body)  # type: ignore[arg-type]

    Inbox.take_in = take_in  # type: ignore[method-assign,assignment]


def test_faults_lose_nothing_and_the_checks_find_what_does(tmp_path: Path) -> None:
    with World(tmp_path, seed=3) as world:
        assert world.round("kill both", "document", "write-ahead log", n_requests=3) == []
        assert world.finish() == []
        assert len(world.acknowledged.of("request")) == 3

        world.server.plant = acknowledge_without_storing
        world.start_anew(0)
        requests = requests_of(NEXT_DAY, 3)
        assert all(map(world.sender.send, requests))
        assert world.whole_loop(NEXT_DAY) == []
        wrong = wrong_now(world.project, world.acknowledged)
        assert len(wrong) == len(requests[2].trace_ids) + len(requests[2].span_ids)
        assert all("was acknowledged, and" in one for one in wrong)


def test_the_checks_find_what_is_gone_and_what_should_not_be(
    project: Project, tmp_path: Path
) -> None:
    fill(project, [chat(0)])
    stores, acknowledged = project.stores, Acknowledged(tmp_path / "acknowledged")
    number = decide(stores.ledger, said("shop-00", True, reviewer="ann"))
    (item,) = list_items(stores.ledger, ItemFilter(status=None)).items
    acknowledged.note(
        "decision", decision_id=number, item_id=item.item_id, reviewer="ann", text=None
    )
    derive_labels(stores)
    assert wrong_now(project, acknowledged) == []

    acknowledged.note("request", trace_ids=["shop-00", "shop-01"], span_ids=[])
    (lost,) = wrong_now(project, acknowledged)
    assert lost == "trace shop-01 was acknowledged, and stands as None"
    with stores.ledger.begin() as ledger:
        ledger.execute(decisions.delete())
        move = {"alias": "champion", "version": "judge-7"}
        record_action(ledger, "nobody", "promote", "judge@champion", **move)
    path = stores.artifacts.root / RAW / f"{'0' * 64}.zst"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    acknowledged.close()
    assert wrong_now(project, acknowledged)[1:] == [
        f"decision {number} was acknowledged, and the ledger has None",
        "judge-7 was promoted over None without a passed verdict",
        f"{path} is not what its name says",
    ]
