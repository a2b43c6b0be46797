"""The client in an application: it sends what it can, keeps what it cannot, and harms nobody."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from flywheel.client import AsyncClient, Client, Limits
from flywheel.client.spill import Spill
from flywheel.client.wire import retry_after_s
from flywheel.loop import take_feedback
from flywheel.store import Project
from flywheel.traces.draining import drain_and_load
from flywheel.web.traces_view import AskedTraces, list_traces
from tests.scripted_server import Script, scripted
from tests.served import free_port, key_of, serving

PATIENCE_S = 60.0
LONG_AGO = datetime(2026, 3, 2, tzinfo=UTC)
SAID = [{"role": "user", "content": "A table for four."}, {"role": "assistant", "content": "Done."}]


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted(Script()) as script:
        yield script


def quick(**more: object) -> Limits:
    """Limits under which a test need not wait."""
    return Limits(**{"flush_s": 0.01, "send_s": 5.0, "exit_s": 5.0, **more})  # type: ignore[arg-type]


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def nowhere() -> str:
    """An address at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    command = [
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {os.getcwd()!r})\n{code}",
    ]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )


def test_client_imports_nothing_but_the_standard_library() -> None:
    code = """
before = set(sys.modules)
import flywheel.client
names = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
ours = {name for name in sys.modules if name.startswith("flywheel.")}
print(sorted(names), all(name.startswith("flywheel.client") for name in ours))
"""
    done = python(code)
    assert done.stdout.split("\n")[0] == "['flywheel'] True", done.stderr


def test_traces_and_feedback_arrive_as_they_were_said(server: Script) -> None:
    with Client(server.url, "fw_key", "shop", limits=quick()) as client:
        trace_id = client.log_trace(SAID, session_id="s1", model_name="m", metadata={"a": (1, 2)})
        assert client.feedback(trace_id, thumbs="down", comment="Wrong day")
    trace, feedback = sorted(server.events(), key=lambda one: "thumbs" in one or "value" in one)
    assert trace["messages"] == SAID
    assert trace["app"] == "shop"
    assert trace["metadata"] == {"a": [1, 2]}
    assert feedback["trace_id"] == trace_id == trace["trace_id"]
    assert feedback["value"] == 0
    assert client.stats().sent == 2
    assert client.dropped == 0


def test_an_event_has_an_id_so_that_it_counts_once_however_often_it_is_sent(server: Script) -> None:
    with Client(server.url, "fw_key", limits=quick()) as client:
        for _ in range(3):
            client.feedback("t1", thumbs="up")
    assert len({one["idempotency_key"] for one in server.events()}) == 3


@pytest.mark.parametrize("answer", [429, 500, 503, 401])
def test_what_the_server_does_not_take_now_is_spilled_and_sent_later(
    server: Script, tmp_path: Path, answer: int
) -> None:
    server.status = answer
    client = Client(server.url, "fw_key", spill_dir=tmp_path, limits=quick())
    traces = {client.log_trace(SAID) for _ in range(5)}
    client.close()
    assert client.stats().on_disk == 5
    assert server.events() == []
    server.status = 200
    later = Client(server.url, "fw_key", spill_dir=tmp_path, limits=quick())
    until(lambda: later.stats().on_disk == 0)
    later.close()
    assert {one["trace_id"] for one in server.events()} == traces
    assert client.dropped == later.dropped == 0


def test_retry_after_is_respected(server: Script, tmp_path: Path) -> None:
    server.status, server.headers = 429, {"Retry-After": "600"}
    client = Client(server.url, "fw_key", spill_dir=tmp_path, limits=quick())
    client.log_trace(SAID)
    until(lambda: client.stats().on_disk == 1)
    server.status = 200
    client.log_trace(SAID)
    until(lambda: client.stats().on_disk == 2)
    client.close()
    assert server.events() == []


def test_retry_after_is_read_in_both_of_its_forms() -> None:
    assert retry_after_s("3") == 3
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("1e9") == 600
    assert retry_after_s("soon") is None
    assert retry_after_s("nan") is None
    assert retry_after_s(None) is None


def test_one_wrong_event_spoils_no_other(server: Script, caplog: pytest.LogCaptureFixture) -> None:
    server.refuses = lambda body: b"poison" in body
    with Client(server.url, "fw_key", limits=quick()) as client:
        good = {client.log_trace(SAID) for _ in range(6)}
        client.log_trace([{"role": "user", "content": "poison"}])
        good |= {client.log_trace(SAID) for _ in range(6)}
    assert {one["trace_id"] for one in server.events()} == good
    assert client.stats().dropped == {"refused": 1}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_a_server_takes_in_part_is_counted(server: Script) -> None:
    server.body = b'{"accepted": 1, "rejected": [{"line": 2, "why": "no messages"}]}'
    with Client(server.url, "fw_key", limits=quick(flush_s=30)) as client:
        client.log_trace(SAID)
        client.log_trace([])
    assert client.stats().sent == 1
    assert client.stats().dropped == {"refused": 1}


def test_a_real_server_has_what_was_sent_once(project: Project, tmp_path: Path) -> None:
    key = key_of(project, "app", "service")
    with serving(project) as running:
        with Client(running.url, key, "shop", spill_dir=tmp_path, limits=quick()) as client:
            trace_id = client.log_trace(SAID, session_id="s1")
            client.feedback(trace_id, thumbs="down", correction="On Friday.")
            assert client.flush(PATIENCE_S)
            running.kill()
            later = client.log_trace(SAID, session_id="s2")
            until(lambda: client.stats().on_disk == 1)
            running.start()
            until(lambda: client.stats().on_disk == 0)
            # What it sent once more by mistake is there once.
            client.log_trace(SAID, trace_id=later, session_id="s2", started_at=LONG_AGO)
            client.log_trace(SAID, trace_id=later, session_id="s2", started_at=LONG_AGO)
        assert client.dropped == 0
    drain_and_load(project.stores, project.settings)
    assert take_feedback(project).complaints == 1
    asked = AskedTraces()
    assert {row.trace_id for row in list_traces(project.stores.ledger, asked).traces} >= {trace_id}
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute(
            "select trace_id from traces where is_current order by session_id"
        ).fetchall()
    assert found == [(trace_id,), (later,)]


def test_a_server_that_is_away_is_waited_for_in_memory_where_there_is_no_folder() -> None:
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}", "fw_key", limits=quick(buffer_events=3))
    kept = [client.log_trace(SAID) for _ in range(3)]
    until(lambda: client.stats().last_error)
    until(lambda: client.log_trace(SAID) and client.stats().dropped.get("no_room"))
    with scripted(Script(), port) as server:
        until(lambda: client.stats().buffered == 0)
        client.close()
        assert {one["trace_id"] for one in server.events()} == set(kept)


def test_what_is_lost_at_the_end_without_a_folder_is_counted() -> None:
    client = Client(nowhere(), "fw_key", limits=quick())
    client.log_trace(SAID)
    client.close()
    assert client.stats().dropped == {"at_exit": 1}
    assert client.log_trace(SAID)
    assert client.stats().dropped == {"at_exit": 1, "no_room": 1}


def test_folder_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill", 1_000, 1e6)
    line = json.dumps({"trace_id": "x" * 400}).encode()
    dropped = 0
    for _ in range(5):
        # Files that are not joined, as those of other processes.
        with spill.turn():
            dropped += spill.keep("traces", [line])
    assert dropped == 3
    assert spill.n_events() == 2


def test_a_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with scripted(Script()) as server:
        spill_dir = tmp_path / "file" / "spill"
        with Client(server.url, "fw_key", spill_dir=spill_dir, limits=quick()) as client:
            client.log_trace(SAID)
        assert len(server.events()) == 1


def test_what_is_no_json_is_made_so_or_counted(server: Script) -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    circle: list[object] = []
    circle.append(circle)
    with Client(server.url, "fw_key", limits=quick()) as client:
        client.log_trace([{"role": "user", "content": "half \ud83d"}], metadata={"a": float("nan")})
        client.log_trace(SAID, metadata={"b": Odd(), "c": {1}})
        client.log_trace(SAID, metadata={"d": circle})
    first, second = server.events()
    assert first["metadata"] == {"a": None}
    assert second["metadata"] == {"b": "<odd>", "c": [1]}
    assert client.stats().dropped == {"unwritable": 1}


def test_times_that_are_none_raise_nothing(server: Script) -> None:
    with Client(server.url, "fw_key", limits=quick()) as client:
        client.log_trace(SAID, started_at="2026-01-01T00:00:00Z")  # type: ignore[arg-type]
        client.log_trace(SAID, ended_at=datetime.min.replace(tzinfo=timezone(timedelta(hours=1))))
    assert [one["started_at"] for one in server.events()] == ["2026-01-01T00:00:00Z"]
    assert client.stats().dropped == {"unwritable": 1}


def test_a_file_that_is_none_of_ours_is_left_alone(server: Script, tmp_path: Path) -> None:
    Client(server.url, "fw_key", spill_dir=tmp_path).close()
    (folder,) = (one for one in tmp_path.iterdir() if one.is_dir())
    (folder / "a-b-c-d.jsonl").write_text("x\n")
    with Client(server.url, "fw_key", spill_dir=tmp_path, limits=quick()) as client:
        client.log_trace(SAID)
    assert len(server.events()) == 1


def test_events_of_many_threads_all_arrive(server: Script, tmp_path: Path) -> None:
    client = Client(server.url, "fw_key", spill_dir=tmp_path, limits=quick())
    sent: list[str] = []
    threads = [
        threading.Thread(target=lambda: sent.extend(client.log_trace(SAID) for _ in range(50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(PATIENCE_S)
    client.close()
    assert sorted(str(one["trace_id"]) for one in server.events()) == sorted(sent)


def test_two_processes_share_a_folder_and_each_event_arrives(tmp_path: Path) -> None:
    code = """
from flywheel.client import Client, Limits
client = Client(sys.argv[1], "fw_key", spill_dir=sys.argv[2], limits=Limits(flush_s=0.01))
for _ in range(40):
    print(client.log_trace([{"role": "user", "content": "Hello"}]))
client.close()
"""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ran = [python(code, url, str(tmp_path)) for _ in range(2)]
    ids = {trace_id for one in ran for trace_id in one.stdout.split()}
    assert len(ids) == 80, ran[0].stderr
    with scripted(Script(), port) as server:
        clients = [Client(url, "fw_key", spill_dir=tmp_path, limits=quick()) for _ in range(2)]
        until(lambda: clients[0].stats().on_disk == 0)
        for client in clients:
            client.close()
        assert {one["trace_id"] for one in server.events()} == ids
        assert len(server.events()) == 80


def test_what_was_spilled_survives_a_killed_process(tmp_path: Path) -> None:
    code = """
import os, signal, time
from flywheel.client import Client, Limits
client = Client(sys.argv[1], "fw_key", spill_dir=sys.argv[2], limits=Limits(flush_s=0.01))
for _ in range(30):
    print(client.log_trace([{"role": "user", "content": "Hello"}]), flush=True)
while client.stats().on_disk < 30:
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    killed = python(code, url, str(tmp_path))
    assert killed.returncode < 0, killed.stderr
    with scripted(Script(), port) as server:
        later = Client(url, "fw_key", spill_dir=tmp_path, limits=quick())
        until(lambda: later.stats().on_disk == 0)
        later.close()
        assert sorted(str(one["trace_id"]) for one in server.events()) == sorted(
            killed.stdout.split()
        )


def test_the_end_of_a_process_sends_what_waits_and_takes_no_longer_than_it_may(
    server: Script, tmp_path: Path
) -> None:
    code = """
from flywheel.client import Client, Limits
client = Client(sys.argv[1], "fw_key", spill_dir=sys.argv[2], limits=Limits(flush_s=30, exit_s=0.5))
client.log_trace([{"role": "user", "content": "Hello"}])
"""
    assert python(code, server.url, str(tmp_path)).stderr == ""
    assert len(server.events()) == 1
    server.hangs = True
    assert python(code, server.url, str(tmp_path)).stderr == ""
    assert Client(server.url, "fw_key", spill_dir=tmp_path).stats().on_disk == 1


def test_a_forked_process_sends_its_own_events_and_not_its_parents(server: Script) -> None:
    code = """
import os
from flywheel.client import Client, Limits
client = Client(sys.argv[1], "fw_key", limits=Limits(flush_s=30))
client.log_trace([{"role": "user", "content": "parent"}], trace_id="parent")
child = os.fork()
if not child:
    client.log_trace([{"role": "user", "content": "child"}], trace_id="child")
    client.close()
    os._exit(0)
os.waitpid(child, 0)
"""
    done = python(code, server.url)
    assert done.returncode == 0, done.stderr
    assert sorted(str(one["trace_id"]) for one in server.events()) == ["child", "parent"]


def test_a_forked_process_does_not_talk_on_its_parents_connections(server: Script) -> None:
    code = """
import os
from flywheel.client import Client
client = Client(sys.argv[1], "fw_key", timeout_s=60)
client.few_shots("parent")
assert client._wire._resting
child = os.fork()
if not child:
    os._exit(len(client._wire._resting))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    server.body = b"{}"
    done = python(code, server.url)
    assert done.returncode == 0, done.stderr


EXAMPLES = json.dumps(
    {
        "request_id": "r1",
        "messages": [{"role": "user", "content": "Like this"}],
        "examples": [{"correction_id": "1", "similarity": 0.9}],
    }
).encode()


def test_examples_are_ready_for_a_prompt(server: Script) -> None:
    server.body = EXAMPLES
    client = Client(server.url, "fw_key", "shop")
    shots = client.few_shots("A table", 3, session_id="s1", node="llm:a", timeout_s=PATIENCE_S)
    assert shots
    assert shots.messages == ({"role": "user", "content": "Like this"},)
    assert shots.request_id == "r1"
    assert shots.why == ""
    asked = json.loads(server.requests[0][1])
    assert asked == {"text": "A table", "k": 3, "app": "shop", "session_id": "s1", "node": "llm:a"}


def test_no_examples_say_why() -> None:
    shots = Client(nowhere(), "fw_key").few_shots("A table")
    assert not shots
    assert shots.messages == ()
    assert "refused" in shots.why.lower()


@pytest.mark.parametrize("fault", ["hangs", "drips"])
def test_a_slow_server_is_not_waited_for(server: Script, fault: str) -> None:
    server.body = b"x" * 100_000
    server.hangs, server.drip_s = fault == "hangs", 0.05 if fault == "drips" else 0.0
    shots = Client(server.url, "fw_key").few_shots("A table", timeout_s=0.2)
    assert shots.why == "no answer within 0.2 s"


def test_a_name_that_is_looked_up_for_ever_is_not_waited_for(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> list[object]:
        server.release.wait(PATIENCE_S)
        raise OSError("no such name")

    monkeypatch.setattr("socket.getaddrinfo", hang)
    assert Client(server.url, "fw_key").few_shots("A", timeout_s=0.1).why.startswith("no answer")


def test_a_server_that_fails_is_left_alone_for_a_while() -> None:
    client = Client(nowhere(), "fw_key")
    for _ in range(3):
        assert "asked again" not in client.few_shots("A").why
    assert "asked again in" in client.few_shots("A").why


def test_wrong_answers_are_empty_ones(server: Script) -> None:
    client = Client(server.url, "fw_key")
    for body in (b"", b"[]", b"{", b"[" * 100_000, b'{"messages": 3, "examples": [4]}'):
        server.body = body
        shots = client.few_shots("A", timeout_s=PATIENCE_S)
        assert not shots
        assert shots.why


def test_an_address_that_is_none_is_a_mistake_in_the_call() -> None:
    with pytest.raises(ValueError, match="write it as https"):
        Client("flywheel.example.com", "fw_key")


def test_asyncio_waits_for_nothing_else(server: Script) -> None:
    async def converse() -> None:
        async with AsyncClient(server.url, "fw_key", "shop", limits=quick()) as client:
            server.body = EXAMPLES
            assert (await client.few_shots("A", timeout_s=PATIENCE_S)).request_id == "r1"
            server.body = b"{}"
            trace_id = await client.log_trace(SAID)
            assert await client.feedback(trace_id, thumbs="up")
            assert await client.flush(PATIENCE_S)
            server.hangs = True
            slow = asyncio.create_task(client.few_shots("A", timeout_s=0.3))
            beats = 0
            while not slow.done():
                await asyncio.sleep(0.01)
                beats += 1
            assert beats > 2
            assert (await slow).why == "no answer within 0.3 s"
            assert client.stats().sent == 2
            assert client.dropped == 0

    asyncio.run(converse())
