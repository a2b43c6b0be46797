"""Few-shots for applications at 100,000 corrections: latency, recall, and how soon one is served.

    python -m tests.bench.bench_few_shots [N] [--peer PYTHON]

Prints one JSON line. Budgets: 60 ms with the embedding of a short query (aim 25), recall@5 >= .99
against exact search, 2 s from an accepted decision to the application. The corrections are
clustered unit vectors, since a hundred thousand texts would take this machine an hour; with
embedding, a real query of 12 words is embedded as well, and its time is part of the figure.
`--peer` names a Python that has DSPy, whose KNN (what KNNFewShot asks) searches the same vectors.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import uvicorn

from flywheel.models.embedder import TextEncoder, Vectors, load_embedder
from flywheel.models.light import light_embedder
from flywheel.records import split_of
from flywheel.retrieval import update_index
from flywheel.retrieval.search import Wish
from flywheel.retrieval.serving import Asked, ExampleService
from flywheel.review import decide
from flywheel.settings import RetrievalSettings
from flywheel.store import Project, Stores, open_project
from flywheel.traces.conversations import InputLevers
from flywheel.traces.documents import publish_documents
from flywheel.web.app import create_app
from tests.bench.bench_search import clustered, latencies_ms
from tests.bench.machine import machine_facts
from tests.judged import add_traces, said
from tests.served import free_port, key_of

WORDS = ("please", "fix", "order", "refund", "wrong", "answer", "code", "test", "again", "card")
SETTINGS = RetrievalSettings()
PEER = """
import json, sys, time
import dspy, numpy as np
vectors, queries = np.load(sys.argv[1]), np.load(sys.argv[2])
def embed(texts):
    kinds = {"r": vectors, "q": queries}
    rows = [text.split()[-2:] for text in texts]
    return np.stack([kinds[kind][int(i)] for kind, i in rows])
made = (dspy.Example(request=f"r {i}", answer="a") for i in range(len(vectors)))
train = [example.with_inputs("request") for example in made]
started = time.perf_counter()
knn = dspy.KNN(k=5, trainset=train, vectorizer=dspy.Embedder(embed))
build_s = time.perf_counter() - started
took = []
for i in range(200):
    started = time.perf_counter()
    knn(request=f"q {i}")
    took.append((time.perf_counter() - started) * 1000)
p50, p99 = np.percentile(took, [50, 99])
print(json.dumps({"dspy": dspy.__version__, "build_s": round(build_s, 1), "p50_ms": round(p50, 2),
    "p99_ms": round(p99, 2), "n": len(took)}))
"""


class SeededEncoder:
    """Vectors made beforehand for `turn i` and `query i`; a longer query is embedded as well."""

    def __init__(self, real: TextEncoder, vectors: Vectors, queries: Vectors):
        self.real = real
        self.version, self.threads = real.version, real.threads
        self.made = {"turn": vectors, "query": queries}

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> Vectors:
        kind, _, rest = text.partition(" ")
        number, _, words = rest.partition(" ")
        if words or kind not in self.made:
            vector = self.real.encode([words or text])[0]
            if kind not in self.made:
                return vector
        return self.made[kind][int(number)]


def put(stores: Stores, n: int) -> None:
    """Label `n` conversations, each with a request of its own; every second one is corrected."""
    key = (
        "date '2026-03-01' + (i % 28)::int as day, 't' || i as trace_id, "
        "md5(i::varchar) as content_hash"
    )
    whose = "'shop' as app, 's' || (i // 3) as session_id, 'u' || (i // 9) as user_id"
    decided = "timestamp '2026-03-01' + to_hours((i % 28)::int * 24) as decided_at"
    named = f"{key}, {whose}, 'c' || i as correction_id, 'train' as split, {decided}"
    numbers = f"range({n}) as r(i)"
    with stores.warehouse.open() as connection:
        execute = connection.raw.execute
        execute(
            f"insert into traces by name select {key}, {whose}, true as is_current, "
            "'file' as started_at_source, 3 as n_messages, true as is_eligible, "
            f"1 as import_id, i as line_no from {numbers}"
        )
        execute(
            f"insert into messages by name select {key}, m.* from {numbers}, lateral (values "
            "(0, 'user', 'turn ' || i), (1, 'assistant', 'answer' || repeat(' word', 40)), "
            "(2, 'user', 'no, that is wrong')) as m(position, role, content)"
        )
        execute(
            f"insert into labels by name select {named}, i % 4 > 0 as perceived_error, "
            "2 as evidence_turn, 'human' as source, 1 as n_reviewers, '1' as rubric_version, "
            f"false as is_audit from {numbers}"
        )
        execute(
            "insert into corrections by name select * exclude (day), 1 as corrected_turn, "
            "'answer' as original_text, 'a better answer to ' || trace_id as corrected_text, "
            f"'ann' as reviewer from (select {named} from {numbers} where i % 2 = 1)"
        )


def words_of(i: int) -> str:
    """Twelve words that nobody has said before."""
    return " ".join(np.random.default_rng(i).choice(WORDS, 12))


def recall_at_5(service: ExampleService, vectors: Vectors, queries: Vectors) -> float:
    """The share of the exact five nearest that are found, by similarity, without diversity."""
    state = service.refresh()
    assert state.published is not None
    shares = []
    for query in queries:
        fifth = np.partition(vectors @ query, -5)[-5]
        _, found = state.published.nearest(Wish("shop", query[None], 5), frozenset(), 0.0)
        shares.append((np.sort(found)[-5:] >= fifth - 1e-6).sum() / 5)
    return float(np.mean(shares))


class Served:
    """The server of a project in a thread, with a given service; `ask` is one call by HTTP."""

    def __init__(self, project: Project, service: ExampleService):
        app = create_app(project)
        app.state.web = replace(app.state.web, examples=service)
        port = free_port()
        self.server = uvicorn.Server(
            uvicorn.Config(app, port=port, log_level="error", access_log=False, ws="none")
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        key = key_of(project, "shop-app", "service")
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=60,
        )
        while not self.server.started:
            time.sleep(0.05)

    def ask(self, text: str) -> list[dict[str, object]]:
        answer = self.client.post("/v1/few-shots", json={"app": "shop", "text": text})
        found: list[dict[str, object]] = answer.raise_for_status().json()["examples"]
        return found

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


def decision_to_served_s(project: Project, served: Served, n: int = 10) -> list[float]:
    """Seconds from a decision to the first answer that holds its correction, by HTTP."""
    took = []
    for i in range(n):
        name = f"new-{i}"
        session = next(f"{name}-{j}" for j in range(99) if split_of(f"{name}-{j}") == "train")
        request = f"{words_of(10_000 + i)} number {i}"
        messages = [("user", request), ("assistant", "an answer"), ("user", "no")]
        trace = {"trace_id": name, "app": "shop", "session_id": session, "user_id": None}
        turns = [{"role": role, "content": text} for role, text in messages]
        add_traces(project.stores, [trace | {"messages": turns}])
        publish_documents(project.stores, [(name, f"v1-{name}")])
        better = {"corrected_turn": 1, "corrected_text": "a better answer", "evidence_turn": 2}
        started = time.perf_counter()
        decide(project.stores.ledger, said(name, True, **better))
        while not any(one["trace_id"] == name for one in served.ask(request)):
            assert time.perf_counter() - started < 60
        took.append(time.perf_counter() - started)
    return took


def peer(python: str, vectors: Vectors, queries: Vectors, folder: Path) -> dict[str, object]:
    """What DSPy's KNN takes for the same search."""
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    command = [python, "-c", PEER, str(folder / "vectors.npy"), str(folder / "queries.npy")]
    said_ = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, object] = json.loads(said_.strip().splitlines()[-1])
    return found


def main(n: int, python: str | None) -> dict[str, object]:
    """All the figures, for an index of `n` corrections."""
    vectors, queries = clustered(n, seed=1), clustered(2_000, seed=2)
    started = time.perf_counter()
    real = light_embedder(load_embedder())
    real.encode(["warm up"])
    load_s = time.perf_counter() - started
    encoder = SeededEncoder(real, vectors, queries)
    levers = InputLevers()
    with tempfile.TemporaryDirectory() as name:
        project = open_project(Path(name) / "project")
        put(project.stores, n)
        update_index(project.stores, encoder, levers, purpose="application")  # type: ignore[arg-type]
        service = ExampleService(project.stores, SETTINGS, lambda: (encoder, levers))
        started = time.perf_counter()
        service.warm_up()
        open_s = time.perf_counter() - started
        manifest = service.refresh().published.index.manifest  # type: ignore[union-attr]

        def asks(texts: Sequence[str], ask: Callable[[str], object]) -> dict[str, float]:
            return latencies_ms([lambda text=text: ask(text) for text in texts])

        def by_service(text: str) -> object:
            return service.ask(Asked(text, "shop", SETTINGS.k))

        plain = [f"query {i}" for i in range(1_000)]
        worded = [f"query {i} {words_of(i)}" for i in range(300)]
        result: dict[str, object] = {
            "benchmark": "few_shots",
            "corrections": n,
            "kind": f"{manifest.kind} nlist {manifest.nlist} nprobe {manifest.nprobe}",
            "embedder_load_s": round(load_s, 2),
            "service_open_s": round(open_s, 2),
            "recall_at_5": round(recall_at_5(service, vectors, queries[:500]), 4),
            "service_without_embedding": asks(plain, by_service),
            "embedding_alone": asks(
                [words_of(i) for i in range(5_000, 5_300)], lambda text: real.encode([text])
            ),
            "service_with_embedding": asks(worded, by_service),
        }
        served = Served(project, service)
        more = [f"query {i} {words_of(i)}" for i in range(1_000, 1_300)]
        result["http_without_embedding"] = asks(plain[:300], served.ask)
        result["http_with_embedding"] = asks(more, served.ask)
        took = decision_to_served_s(project, served)
        result["decision_to_served_s"] = {"p50": round(float(np.median(took)), 3)} | {
            "max": round(max(took), 3)
        }
        served.stop()
        service.close()
        project.stores.ledger.close()
        if python is not None:
            result["peer"] = peer(python, vectors, queries, Path(name))
    return result | {"at": datetime.now(UTC).isoformat(), "machine": machine_facts()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("n", type=int, nargs="?", default=100_000)
    parser.add_argument("--peer", help="A Python that has DSPy.")
    asked = parser.parse_args(sys.argv[1:])
    print(json.dumps(main(asked.n, asked.peer)))
