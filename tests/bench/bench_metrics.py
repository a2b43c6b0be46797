"""Two code metrics over a day of 100,000 stored traces: traces a second, from warehouse to scores.

    python -m tests.bench.bench_metrics [N]

Prints one JSON line. Budget: >= 10,000 traces/s for `repeated_request`, the slowest bundled metric,
and `assistant_backtrack`. Everything counts: the export of the day, the sandbox, checking and
storing the scores and their snapshots. Traces are seeded: six messages, the user's of 5 to 24
words, the assistant's of 20 to 96.
"""

import json
import os
import platform
import random
import resource
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pyarrow as pa

from flywheel.metrics import Metric, load_metrics, score_day_by_code
from flywheel.store import Stores, open_project

DAY = date(2026, 3, 2)
TWO = ("repeated_request", "assistant_backtrack")
N_MESSAGES = 6
WORDS = (
    *("cheap", "hotel", "north", "town", "free", "parking", "two", "nights", "from", "friday"),
    *("i", "need", "a", "in", "the", "of", "with", "for", "can", "you", "book", "it", "please"),
    *("no", "that", "is", "wrong", "restaurant", "should", "serve", "chinese", "food", "and"),
    *("what", "time", "does", "train", "leave", "cambridge", "sorry", "thanks"),
)


def put(stores: Stores, n: int) -> None:
    """Store `n` traces of the day."""
    rng = random.Random(0)
    text = rng.choices(WORDS, k=10_000)
    starts = [rng.randrange(9_900) for _ in range(n * N_MESSAGES)]
    lengths = [rng.randint(5, 24) * (1 if i % 2 == 0 else 4) for i in range(n * N_MESSAGES)]
    contents = [" ".join(text[s : s + k]) for s, k in zip(starts, lengths, strict=True)]
    with (
        stores.warehouse.open() as connection,
        connection.given(texts=pa.table({"i": range(n * N_MESSAGES), "content": contents})),
    ):
        key = "$day as day, 't' || t as trace_id, 'h' || t as content_hash"
        connection.raw.execute(
            f"insert into traces by name select {key}, true as is_current, 'shop' as app, "
            "'s' || t as session_id, 'trace' as started_at_source, $m as n_messages, "
            "true as is_eligible, 1 as import_id, t as line_no from range($n) as r(t)",
            {"day": DAY, "n": n, "m": N_MESSAGES},
        )
        connection.raw.execute(
            f"insert into messages by name select {key}, (i % $m)::integer as position, content, "
            "if(i % 2 = 0, 'user', 'assistant') as role from (select *, i // $m as t from texts)",
            {"day": DAY, "m": N_MESSAGES},
        )


def seconds(stores: Stores, metrics: list[Metric], n: int) -> tuple[float, float]:
    """Wall and CPU seconds, the sandbox's too, to score the day; every trace has to get a score."""
    began, began_cpu = time.perf_counter(), cpu_seconds()
    reports = score_day_by_code(stores, metrics, DAY)
    took = time.perf_counter() - began, cpu_seconds() - began_cpu
    assert [report.done for report in reports] == [n] * len(metrics), reports
    return took


def cpu_seconds() -> float:
    """What this process and its ended children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(n: int) -> dict[str, object]:
    """All the figures, for a day of `n` traces."""
    with tempfile.TemporaryDirectory() as folder:
        stores = open_project(Path(folder)).stores
        put(stores, n)
        metrics = {metric.name: metric for metric in load_metrics(None)}
        wall, cpu = seconds(stores, [metrics[name] for name in TWO], n)
        of_traces = {name: m for name, m in metrics.items() if m.node == "trace"}
        alone = {name: round(seconds(stores, [m], n)[1], 2) for name, m in of_traces.items()}
        stores.ledger.close()
    return {
        "benchmark": "metrics",
        "traces": n,
        "metrics": TWO,
        "seconds": round(wall, 2),
        "traces_per_s": round(n / wall),
        "cpu_seconds": round(cpu, 2),
        "traces_per_cpu_s": round(n / cpu),
        "budget_traces_per_s": 10_000,
        "cpu_seconds_alone": alone,
        "machine": {
            "cores": os.cpu_count(),
            "threads": stores.warehouse.threads,
            "load_1_min": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
