"""Few-shot search at 100,000 corrections: latency, recall, and how soon a correction is found.

    python -m tests.bench.bench_search [N]

Prints one JSON line. Budgets: p99 <= 2 ms after embedding, recall@5 >= .99 against exact search,
<= 60 ms with the embedding of a short query, one correction published within 2 s. The corrections
are clustered unit vectors, since a hundred thousand texts would take this machine an hour.
`node_asks` is the search for an application with a node against that without, in turn: ratios.
"""

import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from flywheel.models.embedder import Embedder, Vectors, load_embedder
from flywheel.records import Turn
from flywheel.retrieval import find_examples, key_vectors, read_current, update_index
from flywheel.retrieval.generation import CorrectionIndex
from flywheel.retrieval.places import NOWHERE, asked_place
from flywheel.retrieval.search import Published, Wish, find_alike
from flywheel.retrieval.tail import Tail
from flywheel.settings import RetrievalSettings
from flywheel.store import Stores, open_project
from flywheel.traces.conversations import InputLevers

SETTINGS = RetrievalSettings()
AS_OF = datetime(2026, 3, 31, tzinfo=UTC)
WORDS = ("please", "fix", "order", "refund", "wrong", "answer", "code", "test", "again", "card")


class SeededEmbedder:
    """Vectors made beforehand for `turn i` and `answer i`, the real model for other texts."""

    def __init__(self, real: Embedder, vectors: Vectors):
        self.real = real
        self.vectors = vectors
        self.version = real.version
        self.threads = real.threads

    def encode(self, texts: Sequence[str]) -> Vectors:
        made = [int(t.split()[1]) if t.startswith(("turn ", "answer ")) else -1 for t in texts]
        vectors = self.vectors[np.maximum(made, 0)]
        others = [i for i, number in enumerate(made) if number < 0]
        if others:
            vectors[others] = self.real.encode([texts[i] for i in others])
        return vectors


def clustered(n: int, seed: int, clusters: int = 2_000, dim: int = 384) -> Vectors:
    """Unit vectors around common centres, some 50 to a centre, cosine about .67 within one."""
    centres = np.random.default_rng(0).normal(size=(clusters, dim)).astype(np.float32)
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, dim)).astype(np.float32)
    vectors = centres[rng.integers(0, clusters, n)] + 0.7 * noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def put(stores: Stores, first: int, n: int, text: str) -> None:
    """Label `n` traces from number `first` on; `text` is their turn, with {} for the number."""
    key = (
        "date '2026-03-01' + (i % 28)::int as day, 't' || i as trace_id, "
        "md5(i::varchar) as content_hash"
    )
    whose = "'shop' as app, 's' || (i // 3) as session_id, 'u' || (i // 9) as user_id"
    numbers = f"range({first}, {first + n}) as r(i)"
    with stores.warehouse.open() as connection:
        execute = connection.raw.execute
        execute(
            f"insert into traces by name select {key}, {whose}, true as is_current, "
            "'file' as started_at_source, 3 as n_messages, true as is_eligible, "
            f"1 as import_id, i as line_no from {numbers}"
        )
        execute(
            f"insert into messages by name select {key}, m.* from {numbers}, lateral (values "
            "(0, 'user', 'please help'), (1, 'assistant', replace($answer, '{}', i::varchar)), "
            "(2, 'user', replace($turn, '{}', i::varchar))) as m(position, role, content)",
            {"turn": text, "answer": text.replace("turn", "answer")},
        )
        execute(
            f"insert into labels by name select {key}, {whose}, 'c' || i as correction_id, "
            "'train' as split, i % 4 = 0 as perceived_error, 2 as evidence_turn, "
            "'human' as source, 1 as n_reviewers, '1' as rubric_version, false as is_audit, "
            "timestamp '2026-03-01' + to_hours((i % 28)::int * 24) as decided_at "
            f"from {numbers}"
        )
        execute(
            f"insert into scores by name select {key}, 'perceived_error' as metric, "
            "'1' as metric_version, 'j' as judge_version, 'llm' as kind, 'lexical' as tier, "
            f"(i % 100) / 100 as probability from {numbers}"
        )
        execute(
            "insert into score_runs by name select day, metric, metric_version, judge_version, "
            "tier, count(*) as attempted, count(*) as scored, '{}' as skipped, '{}' as failed, "
            "now()::timestamp as scored_at from scores where (day, judge_version) not in "
            "(select (day, judge_version) from score_runs) group by all"
        )
        execute("delete from current_runs")
        execute(
            "insert into current_runs select distinct day, metric, metric_version, "
            "split_part(judge_version, '/', 1) from score_runs"
        )


def latencies_ms(calls: Sequence[Callable[[], object]]) -> dict[str, float]:
    """p50 and p99 of the calls, in ms, and of the CPU that this thread spent on them."""
    wall, cpu = [], []
    for call in calls:
        started, started_cpu = time.perf_counter(), time.thread_time()
        call()
        wall.append((time.perf_counter() - started) * 1000)
        cpu.append((time.thread_time() - started_cpu) * 1000)
    names = ("p50_ms", "p99_ms", "cpu_p50_ms", "cpu_p99_ms")
    values = [*np.percentile(wall, [50, 99]), *np.percentile(cpu, [50, 99])]
    figures = {name: round(float(value), 2) for name, value in zip(names, values, strict=True)}
    return figures | {"n": len(wall)}


def search(index: CorrectionIndex, queries: Vectors) -> object:
    """What is done for one conversation once its reactions are embedded."""
    return find_examples(index, queries, AS_OF, SETTINGS, "s7", "u7")


def node_asks(index: CorrectionIndex, queries: Vectors) -> dict[str, object]:
    """What it costs that a node asks: each query with and without, over 40 nodes of 4 kinds."""
    kinds, n = ("llm", "tool", "agent", "chain"), len(index)
    rows = index.rows.drop_columns(["node", "parent"])
    rows = rows.append_column("node", pa.array([f"{kinds[i % 4]}:n{i % 40}" for i in range(n)]))
    rows = rows.append_column("parent", pa.array([f"agent:p{i % 7}" for i in range(n)]))
    published = Published(CorrectionIndex(index.manifest, index.vectors, rows), 1)
    near = asked_place("llm:n8", "agent:p3")

    def ask(i: int, place: object) -> object:
        wish = Wish("shop", queries[[i]], 5, session_id="s7", place=place)  # type: ignore[arg-type]
        return find_alike(published, Tail(), wish, SETTINGS, AS_OF)

    ask(0, near)
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    for i in range(len(queries)):
        for is_near in (True, False) if i % 2 else (False, True):
            started, started_cpu = time.perf_counter(), time.thread_time()
            ask(i, near if is_near else NOWHERE)
            wall[is_near].append((time.perf_counter() - started) * 1000)
            cpu[is_near].append((time.thread_time() - started_cpu) * 1000)
    with_node, without = float(np.median(cpu[True])), float(np.median(cpu[False]))
    return {
        "p50_ratio": round(float(np.median(wall[True]) / np.median(wall[False])), 3),
        "cpu_p50_ratio": round(with_node / without, 3),
        "cpu_p50_ms_without": round(without, 3),
        "n": len(queries),
    }


def recall_at_5(index: CorrectionIndex, vectors: Vectors, queries: Vectors) -> float:
    """The share of the exact five nearest that the index finds, by similarity."""
    shares = []
    for query in queries:
        fifth = np.partition(vectors @ query, -5)[-5]
        _, found = index.nearest(query[None], 5)
        shares.append((found >= fifth - 1e-6).sum() / 5)
    return float(np.mean(shares))


def machine_facts() -> dict[str, object]:
    """What the numbers depend on."""
    return {
        "cores": os.cpu_count(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main(n: int) -> dict[str, object]:
    """All the figures, for an index of `n` corrections."""
    vectors, queries = clustered(n, seed=1), clustered(2_000, seed=2)
    real = load_embedder()
    real.encode(["warm up"])
    embedder = SeededEmbedder(real, vectors)
    with tempfile.TemporaryDirectory() as folder:
        stores = open_project(Path(folder)).stores
        put(stores, 0, n, "turn {}")
        started = time.perf_counter()
        built = update_index(stores, embedder, InputLevers())  # type: ignore[arg-type]
        build_s = time.perf_counter() - started
        put(stores, n, 1, "the refund of order {} went to the wrong card")
        started, started_cpu = time.perf_counter(), time.process_time()
        added = update_index(stores, embedder, InputLevers())  # type: ignore[arg-type]
        add_one_s = time.perf_counter() - started
        add_one_cpu_s = time.process_time() - started_cpu
        started = time.perf_counter()
        update_index(stores, embedder, InputLevers())  # type: ignore[arg-type]
        nothing_new_s = time.perf_counter() - started
        index = read_current(stores)
        assert index is not None
        assert (built.total, added.added, added.total) == (n, 1, n + 1)
        return {
            "benchmark": "search",
            "corrections": n,
            "kind": f"{index.manifest.kind} nlist {index.manifest.nlist} "
            f"nprobe {index.manifest.nprobe}",
            "build_s": round(build_s, 1),
            "add_one_and_publish_s": round(add_one_s, 2),
            "add_one_and_publish_cpu_s": round(add_one_cpu_s, 2),
            "nothing_new_s": round(nothing_new_s, 2),
            "recall_at_5": round(recall_at_5(index, vectors, queries[:500]), 4),
            "one_reaction": latencies_ms(
                [lambda i=i: search(index, queries[[i]]) for i in range(2_000)]
            ),
            "eight_reactions": latencies_ms(
                [lambda i=i: search(index, queries[i : i + 8]) for i in range(500)]
            ),
            "with_embedding": latencies_ms(
                [lambda i=i: search(index, embed(real, i)) for i in range(200)]
            ),
            "node_asks": node_asks(index, queries[:1_000]),
            "machine": machine_facts(),
        }


def embed(embedder: Embedder, i: int) -> Vectors:
    """The key of a short reaction to a short answer, neither seen before."""
    rng = np.random.default_rng(i)
    turn, answer = (" ".join(rng.choice(WORDS, 12)) for _ in range(2))
    key = (Turn(2, "user", turn), Turn(1, "assistant", answer))
    return key_vectors(embedder, [key])


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
