"""Metrics of nodes and checks over a day of agents' traces: traces a second, each alone.

    python -m tests.bench.bench_checks [N]

Prints one JSON line. Budget: >= 10,000 traces/s for each bundled metric in SQL; checks have none,
and are off until a project adds one. Everything counts: the export of the day, the sandbox or the
check, checking and storing the scores. Traces are seeded: six messages, with a call of a tool, its
result, an answer in prose and one with a block of Python. Personal
data and topics are looked for in a tenth of them, and a tenth as many are the day before.
"""

import json
import random
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pyarrow as pa

from flywheel.metrics import Metric, add_example, load_metrics, score_day_by_code
from flywheel.store import Stores, open_project
from tests.bench.bench_metrics import WORDS, cpu_seconds
from tests.bench.machine import machine_facts

DAY, BEFORE = date(2026, 3, 2), date(2026, 3, 1)
CODE = "Here it is:\n```python\ndef total(prices):\n    return sum(p * 2 for p in prices)\n```\n"


def messages(rng: random.Random, t: int) -> list[dict[str, object]]:
    """One conversation."""

    def words(n: int) -> str:
        return " ".join(rng.choices(WORDS, k=n))

    call = {"id": "call_0", "type": "function"}
    call |= {"function": {"name": "search_hotels", "arguments": json.dumps({"q": words(3)})}}
    found = json.dumps([{"name": words(2), "price": rng.randint(50, 90)} for _ in range(4)])
    blank = {"tool_calls": None, "tool_call_id": None, "name": None}
    return [
        {"position": i, "trace_id": f"t{t}"} | blank | message
        for i, message in enumerate(
            (
                {"role": "user", "content": f"{words(18)}?"},
                {"role": "assistant", "content": "", "tool_calls": json.dumps([call])},
                {"role": "tool", "content": found, "tool_call_id": "call_0"},
                {"role": "assistant", "content": f"{words(30)}. {words(30)}."},
                {"role": "user", "content": f"{words(9)}."},
                {"role": "assistant", "content": CODE + words(20)},
            )
        )
    ]


def put(stores: Stores, n: int, day: date, first: int) -> None:
    """Store `n` traces of the day."""
    rng = random.Random(first)
    lines = [row for t in range(first, first + n) for row in messages(rng, t)]
    table = pa.Table.from_pylist(lines)
    with stores.warehouse.open() as connection, connection.given(lines=table):
        connection.raw.execute(
            "insert into traces by name select $day as day, 't' || t as trace_id, 'h' as "
            "content_hash, true as is_current, 'shop' as app, 's' || t as session_id, 'trace' as "
            "started_at_source, 6 as n_messages, true as is_eligible, 1 as import_id, t as line_no "
            "from range($first, $first + $n) as r(t)",
            {"day": day, "n": n, "first": first},
        )
        connection.raw.execute(
            "insert into messages by name select $day as day, 'h' as content_hash, * from lines",
            {"day": day},
        )


def traces_per_s(stores: Stores, metric: Metric, n: int) -> dict[str, int]:
    """Of one metric alone, from warehouse to scores, by wall and CPU; nothing may fail."""
    began, began_cpu = time.perf_counter(), cpu_seconds()
    [report] = score_day_by_code(stores, [metric], DAY)
    assert not report.failed, report
    return {
        "wall": round(n / (time.perf_counter() - began)),
        "cpu": round(n / (cpu_seconds() - began_cpu)),
    }


def main(n: int) -> dict[str, object]:
    """All the figures, for a day of `n` traces."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = open_project(folder)
        put(project.stores, n, DAY, 0)
        put(project.stores, n // 10, BEFORE, n)
        checks = ("language", "injected_instruction", "python_syntax", "query_complexity")
        costly = ("anomaly", "personal_data", "topic_distance")
        for check in (*checks, *costly):
            add_example(check, project.metrics_dir)
        metrics = {metric.name: metric for metric in load_metrics(project.metrics_dir)}
        rates = {name: traces_per_s(project.stores, metric, n) for name, metric in metrics.items()}
        project.stores.ledger.close()
    own = {name: rate for name, rate in rates.items() if name in (*checks, *costly)}
    return {
        "benchmark": "checks",
        "traces": n,
        "traces_per_s_sql": {name: rate for name, rate in rates.items() if name not in own},
        "budget_traces_per_s_sql": 10_000,
        "traces_per_s_checks": own,
        "share_read": {"personal_data": 0.1, "topic_distance": 0.1},
        "machine": machine_facts(),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)))
