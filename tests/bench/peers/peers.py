"""MLflow and Phoenix as products: how each is started, configured and asked."""

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.bench.peers.processes import Group
from tests.bench.peers.product import Figures, Page, version_of
from tests.bench.peers.review_in_mlflow import review_in_mlflow
from tests.served import HOST, free_port

HERE = Path(__file__).resolve().parent
# What a piece of work of a client may take.
WORK_S = 1_500


class _Peer:
    """What both have in common: a server in an environment of its own, and SQLite under it."""

    name = package = script = database = ids = ready = ""

    def __init__(self, work: Path, environment: Path):
        self.work = work
        self.environment = environment
        self.version = version_of(environment, self.package)
        self.group: Group | None = None
        self.base = ""

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        port = free_port()
        self.base = f"http://{HOST}:{port}"
        command, variables = self._command(port)
        self.group = Group(command, self.base + self.ready, variables)

    def settle(self) -> float:
        """Wait until the server rests; nothing works beside it."""
        assert self.group is not None
        self.group.settled_cpu_s()
        return 0.0

    def span_ids(self) -> list[str]:
        """The ids of the spans in its database."""
        opened = sqlite3.connect(f"file:{self.work / self.database}?mode=ro", uri=True, timeout=60)
        try:
            return [str(row[0]) for row in opened.execute(self.ids)]
        finally:
            opened.close()

    def run_metrics(self, n: int) -> Figures:
        """Two code metrics over `n` traces, by its own client."""
        return self._run("metrics", str(n))

    def run_judge(self, n: int, url: str) -> Figures:
        """Its own judge over `n` traces."""
        return self._run("judge", str(n), url)

    def _run(self, work: str, *words: str) -> Figures:
        assert self.group is not None
        before = self.group.settled_cpu_s()
        command = [str(self.environment / "bin" / "python"), str(HERE / self.script), work]
        done = subprocess.run(
            [*command, self.base, *words],
            capture_output=True,
            text=True,
            timeout=WORK_S,
            check=False,
        )
        used = self.group.settled_cpu_s() - before
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1][:300]}
        figures = json.loads(done.stdout.strip().splitlines()[-1])
        return figures | {"server_cpu_s": round(used, 2)}

    def _command(self, port: int) -> tuple[Sequence[str], dict[str, str]]:
        raise NotImplementedError


class Mlflow(_Peer):
    """MLflow's tracking server."""

    name, package, script, ready = "mlflow", "mlflow", "in_mlflow.py", "/health"
    database, ids = "mlflow.db", "select span_id from spans"
    settings = (
        "mlflow server --workers 1 on SQLite, job execution off (its idle workers poll); "
        "its client with 8 workers"
    )

    def headers(self) -> dict[str, str]:
        """The experiment that traces go to."""
        return {"x-mlflow-experiment-id": "0"}

    def pages(self, session: str, text: str) -> dict[str, Page]:
        """The traces' tab: its search, by the filters that its page makes."""
        said = {
            "all": None,
            "session": f"request_metadata.mlflow.trace.session = '{session}'",
            "text": f"span.content ILIKE '%{text}%'",
        }
        return {name: _Search(self.base, one) for name, one in said.items()}

    def run_queue(self, n: int, seconds: float) -> Figures:
        """Five reviewers, once at one shared queue and once each at a queue of its own."""
        return review_in_mlflow(self.base, n, seconds)

    def _command(self, port: int) -> tuple[Sequence[str], dict[str, str]]:
        command = [str(self.environment / "bin" / "mlflow"), "server", "--host", HOST]
        command += ["--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.work / self.database}"]
        command += ["--default-artifact-root", str(self.work / "artifacts")]
        variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        return command, variables | {"MLFLOW_DISABLE_TELEMETRY": "true"}


class _Search:
    """One request of MLflow's traces tab."""

    def __init__(self, base: str, condition: str | None):
        self.url = f"{base}/ajax-api/3.0/mlflow/traces/search"
        where = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
        self.body = {"locations": [where], "max_results": 50, "order_by": ["timestamp_ms DESC"]}
        if condition:
            self.body["filter"] = condition

    def __call__(self, client: httpx.Client) -> int:
        answer = client.post(self.url, json=self.body)
        assert answer.is_success, answer.text[:300]
        return len(answer.json().get("traces", []))


class Phoenix(_Peer):
    """Phoenix's server."""

    name, package, script, ready = "phoenix", "arize-phoenix", "in_phoenix.py", "/healthz"
    database, ids = "phoenix.db", "select span_id from spans"
    settings = "phoenix serve on SQLite, telemetry off; evaluators 8 at once"

    def headers(self) -> dict[str, str]:
        """None: traces go to its default project."""
        return {}

    def settle(self) -> float:
        """Wait until the server rests and has stored nothing more for a while.

        It acknowledges what it will only store later, so rest alone would not do.
        """
        before = -1
        while (now := len(self.span_ids())) != before:
            before = now
            super().settle()
            time.sleep(3)
        return 0.0

    def pages(self, session: str, text: str) -> dict[str, Page]:
        """The spans' tab with root spans, by the text of the query in its own page."""
        (bundle,) = self.environment.glob(
            "lib/*/site-packages/phoenix/server/static/assets/index-*.js"
        )
        script = bundle.read_text(encoding="utf-8")
        start = script.index("query SpansTableSpansQuery(")
        query = script[start : script.index("`", start)]
        said = {
            "all": "",
            "session": f"attributes['session']['id'] == '{session}'",
            "text": f"'{text}' in input.value",
        }
        return {name: _Query(self.base, query, one) for name, one in said.items()}

    def run_queue(self, n: int, seconds: float) -> Figures:
        """It has no queue."""
        return {"has": "none: no queue and no assignment; annotations on spans only"}

    def _command(self, port: int) -> tuple[Sequence[str], dict[str, str]]:
        variables = {"PHOENIX_PORT": str(port), "PHOENIX_HOST": HOST}
        variables |= {"PHOENIX_WORKING_DIR": str(self.work), "PHOENIX_TELEMETRY_ENABLED": "false"}
        variables |= {"PHOENIX_GRPC_PORT": str(free_port())}
        return [str(self.environment / "bin" / "phoenix"), "serve"], variables


class _Query:
    """One request of Phoenix's table of spans, root spans only, newest first, of all time."""

    def __init__(self, base: str, query: str, condition: str):
        self.url, self.query, self.condition = f"{base}/graphql", query, condition
        self.project = ""

    def __call__(self, client: httpx.Client) -> int:
        if not self.project:
            words = "{ projects(first: 10) { edges { node { id name } } } }"
            edges = client.post(self.url, json={"query": words}).json()["data"]["projects"]["edges"]
            self.project = next(e["node"]["id"] for e in edges if e["node"]["name"] == "default")
        variables = {"id": self.project, "first": 30, "rootSpansOnly": True}
        # As the page does: root spans are a part of the condition.
        roots = "parent_span is None"
        whole = f"({self.condition}) and ({roots})" if self.condition else roots
        variables |= {"filterCondition": whole}
        answer = client.post(self.url, json={"query": self.query, "variables": variables})
        said = answer.json()
        assert not said.get("errors"), str(said["errors"])[:300]
        return len(said["data"]["node"]["spans"]["edges"])


def environment_of(folder: Path, name: str) -> Path | None:
    """A peer's environment, where there is one."""
    found = folder / name
    return found if os.access(found / "bin" / "python", os.X_OK) else None
