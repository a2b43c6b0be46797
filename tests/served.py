"""The web app as people meet it: a project with work in its queue, and a server of its own.

The server is a real process on a loopback port, so that it can be killed and started again; it is
ended by its process id. Neither a model nor the network is needed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import sqlalchemy as sa

from flywheel.experiments.experiment import ExperimentArm, Plan
from flywheel.experiments.publishing import look_at_experiments
from flywheel.experiments.running import start_experiment
from flywheel.quality import write_quality_report
from flywheel.queue import ItemFilter, Queue, fill_queue, list_items, set_queue
from flywheel.records import Role
from flywheel.review import comment, decide, decline, flag_sensitive
from flywheel.settings import QueueSettings
from flywheel.store import Project
from flywheel.store.ledger import now
from flywheel.store.tables import experiment_looks, item_metrics, queue_items
from flywheel.web.accounts import add_user
from flywheel.web.invitations import new_link
from flywheel.web.keys import new_key
from flywheel.web.sessions import COOKIE
from flywheel.web.traces_view import last_version
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces, said
from tests.registered import fill_registry
from tests.spanned import TRACE, call, import_spans, step

HOST = "127.0.0.1"
# Seconds; a start takes two where nothing else runs.
PATIENCE_S = 60.0
PASSWORD = "a few words in a row"
ROOT = Path(__file__).resolve().parent.parent

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "find_room", "arguments": '{"city": "Ely", "nights": 2}'},
}
MARKDOWN = """Two hotels are free:

| hotel | price |
|---|---|
| *The Swan* | **82** |
| Lamb | 64 |

```python
nights = 2
print(nights * 64)
```

1. Book with `book(hotel)`.
2. See [their page](https://example.com/lamb)."""


def chat(number: int, app: str = "shop") -> dict[str, object]:
    """A short conversation in which the user objects to the first answer."""
    return trace(
        f"{app}-{number:02}",
        f"I need a table for {number + 2} on Friday.",
        "Booked for Thursday.",
        f"No, I said Friday, for {number + 2}.",
        "Sorry. It is Friday now.",
        app=app,
    )


def agent(number: int, app: str = "travel") -> dict[str, object]:
    """A conversation in whose middle a tool was called with the wrong city."""
    return trace(f"{app}-{number:02}") | {
        "app": app,
        "messages": [
            {"role": "user", "content": "A room in Cambridge for two nights, please."},
            {"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])},
            {"role": "tool", "content": '{"rooms": ["Lamb"]}', "tool_call_id": "call_1"},
            {"role": "assistant", "content": MARKDOWN},
            {"role": "user", "content": "That is in Ely. I wanted **Cambridge**."},
        ],
    }


def fill(project: Project, traces: Iterable[Mapping[str, object]]) -> None:
    """Put traces into the queue, every one, with verdicts from .95 down to .05."""
    rows = list(traces)
    add_traces(project.stores, rows)
    # A tenth is an audit; the others are certain to be drawn, too.
    step = 0.9 / max(1, len(rows) - 1)
    add_scores(
        project.stores, {str(row["trace_id"]): 0.95 - step * i for i, row in enumerate(rows)}
    )
    settings = QueueSettings(daily_items=100 * len(rows), audit_share=0.001)
    fill_queue(project.stores, settings, DAY)


def furnish(project: Project) -> None:
    """Fill every page: items of each status, what the judge says, comments, quality.

    The queue of the items shows the judge's word, and that of `look-07` does not.
    """
    look = [chat(number, "look") for number in range(8)]
    look[5] = agent(5, "look")
    look[6]["messages"][1]["content"] = MARKDOWN * 12  # type: ignore[index]
    ledger = project.stores.ledger
    for queue in (Queue("review", is_blind=False), Queue("blind", is_blind=True)):
        set_queue(ledger, queue, "ann")
    fill(project, look)
    better = {"corrected_turn": 1, "corrected_text": "Booked for Friday.", "evidence_turn": 2}
    number = decide(ledger, said("look-00", True, reason="The day was wrong.", **better))
    known = {
        "evidence_turn": 2,
        "judge_reason": "The user says what is right: “No, I said Friday”.",
        "judge_reason_code": "correction",
        "similar": json.dumps([[str(number), 0.83]]),
    }
    with ledger.begin() as connection:
        for where, values in (
            (queue_items.c.app == "look", known),
            (queue_items.c.trace_id == "look-01", {"reviewers_needed": 2}),
            (queue_items.c.trace_id == "look-07", {"queue": "blind"}),
        ):
            connection.execute(queue_items.update().where(where).values(values))
        slow = sa.select(queue_items.c.item_id, sa.literal("slow_answer")).where(
            queue_items.c.trace_id == "look-04"
        )
        connection.execute(item_metrics.insert().from_select(["item_id", "metric"], slow))
    decide(ledger, said("look-01", True))
    decide(ledger, said("look-01", False, reviewer="bob"))
    decline(ledger, "look-02", "v1-look-02", "bob")
    flag_sensitive(ledger, "look-03", "v1-look-03", "ann", "")
    comment(ledger, "look-03", "v1-look-03", "ann", "Is this a real address?")
    steps = (step(n, n - 1, error="No room." if n == 2 else None) for n in range(1, 4))
    import_spans(project, project.folder, [call(0, None), *steps])
    fill_registry(project)
    write_quality_report(project.stores)
    experiment(project)


def experiment(project: Project) -> None:
    """An experiment that was looked at on twelve days, and is looked at now."""
    arms = (ExperimentArm("plain", 0.5, "Be brief."), ExperimentArm("warm", 0.5, {"tone": "warm"}))
    ledger, plan = project.stores.ledger, Plan("verdict", 0.05)
    start_experiment(ledger, "greeting", "prompt", arms, plan, "ann", "look")
    looks = [
        {"experiment": "greeting", "arm": "warm", "day": DAY + timedelta(days=n), "state": "open"}
        | {"n_sessions": 90 * n, "estimate": -0.03, "low": -0.03 - 0.3 / n, "high": 0.3 / n - 0.03}
        | {"looked_at": now()}
        for n in range(2, 14)
    ]
    with ledger.begin() as connection:
        connection.execute(experiment_looks.insert(), looks)
    look_at_experiments(project.stores)


def addresses(project: Project) -> dict[str, str]:
    """Every page of a furnished project, by a name for it; the last of them is none."""
    items = {
        item.trace_id: item.item_id
        for item in list_items(project.stores.ledger, ItemFilter(app="look", status=None)).items
    }
    of_trace = "id=look-06&hash=v1-look-06"
    paths = ("queue", "adjudicate", "quality", "reviewers", "export", "audit", "settings")
    version = last_version(project.stores.ledger, TRACE)
    return {
        **{path: f"/{path}" for path in (*paths, "traces", "examples", "experiments", "account")},
        "steps": f"/traces/{TRACE}",
        "steps, drawn": f"/traces/{TRACE}?view=graph",
        "step": f"/span?id={TRACE}&hash={version}&position=2",
        "queue, filtered": "/queue?status=&app=look",
        "queue, none": "/queue?app=nothing",
        "item": f"/items/{items['look-04']}",
        "item, blind": f"/items/{items['look-07']}",
        "item, correcting": f"/items/{items['look-05']}?correct=1",
        "item, long": f"/items/{items['look-06']}",
        "item, sensitive": f"/items/{items['look-03']}",
        "item, complete": f"/items/{items['look-00']}",
        "item, disputed": f"/items/{items['look-01']}",
        "item, declined": f"/items/{items['look-02']}",
        "done": "/review?app=nothing",
        "trace": f"/trace?{of_trace}",
        "message": f"/message?{of_trace}&position=1",
        "registry": "/registry",
        "registry, waiting": "/registry/judge/judge-3",
        "registry, refused": "/registry/judge/judge-2",
        "registry, champion": "/registry/judge/judge-1",
        "lineage": "/registry/lineage?target=judge&version=judge-3",
        "lineage, of a decision": "/registry/lineage?decision=1",
        "not found": "/nothing",
    }


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """The web app of a project, in a process of its own; what it says is kept in a file."""

    def __init__(self, project: Project):
        self.project = project
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = project.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        folder = str(self.project.folder)
        self._process = self.spawn(["--project", folder, "--host", HOST, "--port", str(self.port)])
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, f"it ended: {self.said()}"
            assert time.monotonic() < deadline, f"it does not answer: {self.said()}"
            time.sleep(0.05)

    def spawn(self, arguments: list[str]) -> "subprocess.Popen[bytes]":
        """A process of the web app."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flywheel.web", *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as a person would; nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def said(self) -> str:
        """All that it has written, over all its starts."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def cpu_s(self) -> float:
        """CPU seconds that it has used since its start; 0 where the system does not say."""
        assert self._process is not None
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        except FileNotFoundError:
            return 0.0
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Memory that it holds now, in MB; 0 where the system does not say."""
        assert self._process is not None
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except FileNotFoundError:
            return 0.0
        (held,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return round(int(held) / 1024, 1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(PATIENCE_S)
            self._process = None


@contextmanager
def serving(project: Project) -> Iterator[Server]:
    """A running server of the project, for as long as the block runs."""
    server = Server(project)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def key_of(project: Project, name: str, role: Role = "reviewer") -> str:
    """A user more, and a key of the API that acts as this user."""
    add_user(project.stores.ledger, name, role, "test")
    return new_key(project.stores.ledger, name, "test")


def signed_in(server: Server, name: str, role: Role = "reviewer") -> dict[str, object]:
    """A user more, who has come in by a link: what a browser keeps of that."""
    ledger = server.project.stores.ledger
    add_user(ledger, name, role, "test")
    token = new_link(ledger, name, "test")
    words = {"password": PASSWORD, "again": PASSWORD}
    answer = httpx.post(f"{server.url}/welcome/{token}", data=words, trust_env=False)
    assert answer.status_code == 303, answer.text
    kept = {"name": COOKIE, "value": answer.cookies[COOKIE], "domain": HOST, "path": "/"}
    return {
        "cookies": [kept | {"expires": -1, "httpOnly": True, "secure": False, "sameSite": "Lax"}]
    }
