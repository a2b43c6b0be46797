"""The whole loop in real processes, a simulated day a round, and a fault in the middle of each.

Traces are sent to a server, reviewers decide, the loop runs over the day, a gate promotes; then one
of these is killed, the disk is full, a clock is wrong, the model's endpoint breaks, or a file is
damaged. What must hold afterwards is in `fault_checks`.
"""

import random
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from flywheel.settings import PROJECT_FILE
from flywheel.store import open_project
from tests.damage import FILES, Disk
from tests.damage_seen import look_after
from tests.fault_checks import differences, rows_of, tracebacks, wrong_now
from tests.fault_work import Acknowledged, Request, Sender, gate_once, requests_of, review
from tests.faulty_proxy import FAULTS, Double, FaultyProxy
from tests.forked import Forked, ForkedServer, command
from tests.served import key_of

DAY_ONE = date(2026, 3, 2)
REVIEWERS = ("ann", "bob")
KINDS = ("kill web", "kill loop", "kill both", "kill gate", "full disk", "clock", "endpoint")
# What a round holds: one disturbance, and damage to files.
ROUNDS = (
    ("kill loop", "raw archive", "document"),
    ("full disk", "write-ahead log"),
    ("kill web", "index", "published report"),
    ("clock", "snapshot"),
    ("endpoint", "index for applications", "ledger"),
    ("kill both", "vectors", "document"),
    ("kill gate", "warehouse"),
)
SETTINGS = """
[traces]
idle_s = 0
[web]
claim_minutes = 0.5
[queue]
daily_items = 30
[judge]
generative = "remote"
generative_traces = 3
[judges.remote]
model = "double"
base_url = "{url}"
timeout_s = 2
retries = 1
"""


@dataclass
class Told:
    """What a run of rounds found; `wrong` should be empty."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    requests: int = 0
    traces: int = 0
    decisions: int = 0
    disk: str = ""


class World:
    """A project on a disk of its own, with its server, reviewers and endpoint.

    `plant` is put into the server's process before it starts: a bug that the checks must find.
    """

    def __init__(self, folder: Path, seed: int, plant: Callable[[], None] | None = None):
        self.folder, self.chance, self.told = folder, random.Random(seed), Told()
        self.disk = Disk(folder / "disk")
        self.told.disk = self.disk.kind
        self.double = Double()
        self.proxy = FaultyProxy(self.double.url, seed, ("",))
        home = self.disk.folder / "project"
        home.mkdir()
        (home / PROJECT_FILE).write_text(SETTINGS.format(url=self.proxy.url))
        self.project = open_project(home)
        self.acknowledged = Acknowledged(folder / "acknowledged.jsonl")
        self.server = ForkedServer(self.project)
        self.server.log, self.server.plant = folder / "server.log", plant
        self.log = folder / "commands.log"
        self.keys = {name: key_of(self.project, name) for name in REVIEWERS}
        self.sender = Sender(
            self.server.port, key_of(self.project, "robot", "service"), self.acknowledged
        )
        self._loop_s = 10.0

    def __enter__(self) -> "World":
        self.double.__enter__()
        self.proxy.__enter__()
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()
        self.proxy.__exit__()
        self.double.__exit__()
        self.acknowledged.close()
        self.project.stores.ledger.close()
        self.disk.unmount()

    def run(self, *arguments: str, skew_s: float = 0) -> Forked:
        """A command of the product on this project."""
        return command(self.project.folder, self.log, *arguments, skew_s=skew_s)

    def round(self, *kinds: str, n_requests: int = 6) -> list[str]:
        """One day with one disturbance and then any damage; what is wrong after it."""
        day = DAY_ONE + timedelta(days=self.told.rounds)
        self.told.rounds += 1
        marks = {log: log.stat().st_size if log.exists() else 0 for log in self._logs}
        requests = requests_of(day, n_requests)
        left = self._disturbed(next(iter(set(kinds) & set(KINDS)), ""), day, requests)
        while left:
            left = [one for one in left if not self.sender.send(one)]
        wrong: list[str] = []
        for kind in kinds:
            if kind in FILES:
                wrong += [f"{kind}: {one}" for one in look_after(self, kind, day)]
        wrong += self.whole_loop(day)
        wrong += wrong_now(self.project, self.acknowledged)
        for log, start in marks.items():
            wrong += [f"a traceback in {log.name}: {last}" for last in tracebacks(log, start)]
        self.told.faults.update(kinds)
        self.told.wrong += [f"round {self.told.rounds}, {', '.join(kinds)}: {w}" for w in wrong]
        return wrong

    def whole_loop(self, day: date) -> list[str]:
        """The loop over a day once more, to its end; what is wrong with that."""
        began, start = time.monotonic(), self._size()
        code = self.run("loop", "--day", str(day)).wait()
        self._loop_s = time.monotonic() - began
        advised = re.search(
            r"damaged: .*; remove (\S+) and update the index", self.said_since(start)
        )
        if code and advised:
            # It is said what to do, so that is done.
            self.told.seen["an index was made anew as the loop said"] += 1
            shutil.rmtree(advised[1])
            return self.whole_loop(day)
        return [f"the loop ended with {code}: {self.said_since(start)}"] if code else []

    def finish(self) -> list[str]:
        """Rebuild the warehouse, and compare all of its rows."""
        before = rows_of(self.project)
        start = self._size()
        code = self.run("warehouse", "rebuild").wait()
        wrong = [f"the rebuild ended with {code}: {self.said_since(start)}"] if code else []
        wrong += differences(before, rows_of(self.project))
        self.told.wrong += [f"at the end: {one}" for one in wrong]
        sent = self.acknowledged.of("request")
        self.told.requests = len(sent)
        self.told.traces = sum(len(row["trace_ids"]) for row in sent)  # type: ignore[arg-type,misc]
        self.told.decisions = len(self.acknowledged.of("decision"))
        return wrong

    def said_since(self, start: int) -> str:
        """The last line that a command wrote."""
        lines = self.log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    @property
    def _logs(self) -> list[Path]:
        return [self.server.log, self.log]

    def _disturbed(self, kind: str, day: date, requests: list[Request]) -> list[Request]:
        """Work of every sort at once, with a fault in it; the requests that were not taken."""
        over = threading.Event()
        # A loop over a day of which nothing has come would have nothing to do.
        left = [one for one in requests[:1] if not self.sender.send(one)] + requests[1:]
        skew_s = self.chance.choice((-86400.0, 86400.0, -3600.0)) if kind == "clock" else 0.0
        if skew_s:
            self.start_anew(skew_s)
        if kind == "endpoint":
            self.proxy.faults = self.chance.choice((FAULTS, ("cut",), ("broken",)))
        people = [
            threading.Thread(
                target=review,
                args=(self.server.port, name, key, self.acknowledged, over.is_set),
            )
            for name, key in self.keys.items()
        ]
        sending = threading.Thread(target=self._send, args=(left, over))
        for thread in (*people, sending):
            thread.start()
        loop = self.run("loop", "--day", str(day), skew_s=skew_s)
        gate = Forked(gate_once, (self.project.folder, self.told.rounds), self.log, skew_s)
        self._break(kind, loop, gate)
        codes = [one.wait() for one in (loop, gate)]
        self._mend(kind, skew_s)
        over.set()
        for thread in (*people, sending):
            thread.join()
        self.told.seen[f"{kind}: loop {_ending(codes[0])}"] += 1
        return left

    def _break(self, kind: str, loop: Forked, gate: Forked) -> None:
        time.sleep(self.chance.uniform(0.2, 1.0) if "gate" in kind else self._moment())
        if kind in ("kill web", "kill both"):
            self.server.kill()
        if kind in ("kill loop", "kill both"):
            loop.kill()
        if kind == "kill gate":
            gate.kill()
        if kind == "full disk":
            pids = [self.server.pid, loop.pid, gate.pid]
            self.disk.fill(pids)
            time.sleep(max(2.0, self._moment()))
            self.disk.make_room(pids)

    def _moment(self) -> float:
        return self.chance.uniform(0.2, 0.9 * self._loop_s)

    def _mend(self, kind: str, skew_s: float) -> None:
        self.proxy.faults = ("",)
        if skew_s or kind in ("kill web", "kill both"):
            self.start_anew(0)

    def start_anew(self, skew_s: float) -> None:
        """Kill the server, and start it with its clock so many seconds ahead."""
        self.server.kill()
        self.server.skew_s = skew_s
        self.server.start()

    def _send(self, left: list[Request], over: threading.Event) -> None:
        while left and not over.is_set():
            if self.sender.send(left[0]):
                left.pop(0)
            else:
                time.sleep(0.2)


def _ending(code: int) -> str:
    return {0: "ended well", -9: "was killed"}.get(code, f"ended with {code}")


def run_rounds(folder: Path, rounds: int, seed: int, until: float = float("inf")) -> Told:
    """So many rounds, or until the monotonic clock says `until`; then everything is rebuilt."""
    with World(folder, seed) as world:
        for number in range(rounds):
            if time.monotonic() > until:
                break
            wrong = world.round(*ROUNDS[number % len(ROUNDS)])
            print(number + 1, *wrong, sep="\n  ", file=sys.stderr, flush=True)
        world.finish()
    return world.told
