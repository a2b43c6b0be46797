"""This project as a product: its server, and beside it the process that drains and loads."""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import httpx

from flywheel.queue import set_queue
from flywheel.queue.queues import Queue
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project, open_project
from tests.bench.peers.processes import Group
from tests.bench.peers.product import Figures, Page
from tests.reviewing import crowded_items, lost_decisions, reviewers_at_work
from tests.served import HOST, ROOT, chat, fill, free_port, key_of, signed_in

SCRIPT = Path(__file__).resolve().parent / "in_flywheel.py"
N_REVIEWERS = 5


class Here:
    """This project."""

    name = "flywheel"
    settings = "as `flywheel init` makes it: SQLite and DuckDB; sampling.rate 1; judge 8 at once"

    def __init__(self, work: Path, environment: Path):
        self.work = work
        self.version = version("flywheel-loop")
        (work / PROJECT_FILE).touch()
        self.project: Project = open_project(work)
        self.group: Group | None = None
        self.base = ""
        self.drain_start_cpu_s = 0.0
        self.drain_peak_mb = 0.0
        self._key = key_of(self.project, "robot", "service")
        self._n_people = 0

    def start(self) -> None:
        """Start the pages' server, which is the one that receives."""
        port = free_port()
        self.base = f"http://{HOST}:{port}"
        command = [sys.executable, "-m", "flywheel.web", "--project", str(self.work)]
        command += ["--host", HOST, "--port", str(port)]
        self.group = Group(command, f"{self.base}/healthz", {"PYTHONPATH": str(ROOT)})

    def headers(self) -> dict[str, str]:
        """The key of the application."""
        return {"Authorization": f"Bearer {self._key}"}

    def settle(self) -> float:
        """Drain and load, in a process as the orchestrator starts it, its own start counted."""
        before = os.times()
        self.drain_start_cpu_s = float(str(self._run("drain")["start_cpu_s"]))
        after = os.times()
        used = after.children_user + after.children_system
        return used - before.children_user - before.children_system

    def span_ids(self) -> list[str]:
        """The ids of the spans in the warehouse."""
        with self.project.stores.warehouse.open() as connection:
            rows = connection.raw.execute("select span_id from spans").fetchall()
        return [str(row[0]) for row in rows]

    def pages(self, session: str, text: str) -> dict[str, Page]:
        """The page of traces, with a browser's cookie."""
        self._n_people += 1
        server = SimpleNamespace(project=self.project, url=self.base)
        (cookie,) = signed_in(server, f"reader-{self._n_people}")["cookies"]
        sent = {"Cookie": f"{cookie['name']}={cookie['value']}"}
        said = {"all": {}, "session": {"session": session}, "text": {"text": text}}
        return {name: _Page(f"{self.base}/traces", sent, one) for name, one in said.items()}

    def run_metrics(self, n: int) -> Figures:
        """The two metrics, by the stage that scores a day."""
        return self._run("metrics", str(n))

    def run_judge(self, n: int, url: str) -> Figures:
        """A rubric file, by the stage that scores a day by rubrics, put to an endpoint."""
        return self._run("judge", str(n), url)

    def run_queue(self, n: int, seconds: float) -> Figures:
        """Five reviewers who decide and get the next item, until the time is over."""
        ledger = self.project.stores.ledger
        set_queue(ledger, Queue("review", 1, 0.0, False), "test")
        fill(self.project, [chat(number) for number in range(n)])
        keys = {f"reviewer-{i}": key_of(self.project, f"reviewer-{i}") for i in range(N_REVIEWERS)}
        port = int(self.base.rsplit(":", 1)[1])
        with reviewers_at_work(port, keys) as shifts:
            time.sleep(seconds)
        done = [item for shift in shifts for item in shift.decisions.values()]
        return {
            "answers": len(done),
            "items": len(set(done)),
            "items_per_s": round(len(set(done)) / seconds, 2),
            "given_twice": len(done) - len(set(done)) + len(crowded_items(ledger)),
            "lost": len(lost_decisions(ledger, shifts)),
        }

    def close(self) -> None:
        """Let go of the ledger."""
        self.project.stores.ledger.close()

    def _run(self, work: str, *words: str) -> Figures:
        command = [sys.executable, str(SCRIPT), work, str(self.work), *words]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-1500:]
        figures = json.loads(done.stdout.strip().splitlines()[-1])
        self.drain_peak_mb = max(self.drain_peak_mb, figures["peak_mb"])
        return figures | {"server_cpu_s": 0.0}


class _Page:
    """One page of traces."""

    def __init__(self, url: str, sent: dict[str, str], asked: dict[str, str]):
        self.url, self.sent, self.asked = url, sent, asked

    def __call__(self, client: httpx.Client) -> int:
        answer = client.get(self.url, params=self.asked, headers=self.sent)
        assert answer.status_code == 200, answer.text[:300]
        return answer.text.count('href="/traces/')
