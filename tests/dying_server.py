"""Senders, a server that is killed while they send, and a drain that is killed while it drains.

What was acknowledged, what was sent without an answer, and what of it came to be stored: whoever
uses this compares the three. As exporters do, the senders send again what was not answered.
"""

import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from flywheel.settings import Settings, TracesSettings
from flywheel.store import Project
from flywheel.traces.draining import drain_and_load
from tests.otlp import PROTOBUF, body, span_ids, trace_of
from tests.served import PATIENCE_S, ROOT, Server, key_of

TRACES_A_REQUEST, SPANS_A_TRACE, SENDERS = 5, 3, 3
# A drain has ended after this, where nothing else runs.
DRAIN_S = 3.0


@dataclass
class Fate:
    """Ids of spans: `acknowledged` were answered with 200, `sent` left at all."""

    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    stored: list[str] = field(default_factory=list)
    kills: int = 0
    killed_drains: int = 0

    @property
    def lost(self) -> set[str]:
        """Acknowledged, and nowhere."""
        return self.acknowledged - set(self.stored)

    @property
    def twice(self) -> int:
        """Rows beyond one a span."""
        return len(self.stored) - len(set(self.stored))

    @property
    def unsent(self) -> set[str]:
        """Stored, and sent by nobody."""
        return set(self.stored) - self.sent


class _Senders:
    """Threads that send traces of their own until the server is gone."""

    def __init__(self, fate: Fate, key: str):
        self._fate = fate
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._n_answers = 0
        self._next_trace = 1
        self._unanswered: list[tuple[bytes, list[str]]] = []
        self._headers = {"Content-Type": PROTOBUF, "Authorization": f"Bearer {key}"}

    def send_until_it_dies(self, url: str) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._send, args=(url,)) for _ in range(SENDERS)]
        with self._answered:
            self._n_answers = 0
        for thread in threads:
            thread.start()
        return threads

    def wait_for(self, n_answers: int) -> None:
        """Until so many requests of this round were acknowledged."""
        with self._answered:
            assert self._answered.wait_for(lambda: self._n_answers >= n_answers, PATIENCE_S)

    def _send(self, url: str) -> None:
        with httpx.Client(headers=self._headers, timeout=30, trust_env=False) as client:
            while True:
                sent, ids = self._take()
                try:
                    answer = client.post(f"{url}/v1/traces", content=sent)
                except httpx.TransportError:
                    with self._lock:
                        self._unanswered.append((sent, ids))
                    return
                assert answer.status_code == 200, answer.content
                with self._answered:
                    self._fate.acknowledged.update(ids)
                    self._n_answers += 1
                    self._answered.notify()

    def _take(self) -> tuple[bytes, list[str]]:
        with self._lock:
            if self._unanswered:
                return self._unanswered.pop()
            first = self._next_trace
            self._next_trace += TRACES_A_REQUEST
        spans = [
            one
            for number in range(first, first + TRACES_A_REQUEST)
            for one in trace_of(number, SPANS_A_TRACE)
        ]
        ids = span_ids(spans)
        with self._lock:
            self._fate.sent.update(ids)
        return body(*spans), ids


def kill_again_and_again(project: Project, rounds: int, seed: int) -> Fate:
    """Each round a server is killed while it is sent to, and every other one a drain with it."""
    chance, fate = random.Random(seed), Fate()
    project.folder.mkdir(exist_ok=True)
    senders, server = _Senders(fate, key_of(project, "robot", "service")), Server(project)
    for number in range(rounds):
        server.start()
        threads = senders.send_until_it_dies(server.url)
        drain = _start_drain(project) if number % 2 else None
        senders.wait_for(chance.randint(1, 40))
        time.sleep(chance.uniform(0, 0.02))
        server.kill()
        fate.kills += 1
        for thread in threads:
            thread.join()
        if drain is not None:
            time.sleep(chance.uniform(0, DRAIN_S))
            fate.killed_drains += drain.poll() is None
            drain.kill()
            drain.wait()
    drain_and_load(project.stores, Settings(traces=TracesSettings(idle_s=0)))
    fate.stored = _stored(project)
    return fate


def stop_under_load(project: Project, n_answers: int) -> tuple[Fate, int]:
    """A server that is asked to end while it is sent to; what became of it, and its exit code."""
    fate = Fate()
    project.folder.mkdir(exist_ok=True)
    senders, server = _Senders(fate, key_of(project, "robot", "service")), Server(project)
    server.start()
    process = server._process
    assert process is not None
    threads = senders.send_until_it_dies(server.url)
    senders.wait_for(n_answers)
    server.stop()
    for thread in threads:
        thread.join()
    drain_and_load(project.stores, Settings(traces=TracesSettings(idle_s=0)))
    fate.stored = _stored(project)
    return fate, process.returncode


def _start_drain(project: Project) -> "subprocess.Popen[bytes]":
    program = Path(sys.executable).with_name("flywheel")
    return subprocess.Popen(
        [program, "--project", str(project.folder), "traces", "drain"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _stored(project: Project) -> list[str]:
    with project.stores.warehouse.open() as connection:
        return [
            span_id for (span_id,) in connection.raw.execute("select span_id from spans").fetchall()
        ]
