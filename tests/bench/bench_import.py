"""A million messages from a file into the warehouse: messages a second, and the peak of memory.

    python -m tests.bench.bench_import [TRACES] [MEMORY_LIMIT_GB]

Prints one JSON line. Budget: >= 60,000 messages/s, clean and with 1 % bad lines, in bounded memory.
Everything counts: recognising, hashing and compressing the file, the ledger, reading it back and
the transaction. 166,667 seeded traces of six messages, the user's of 5 to 24 words, the assistant's
of 20 to 96. Each case has a process and a project of its own. Real traces are read from
`FLYWHEEL_BENCH_DATA` where it is set.
"""

import json
import multiprocessing
import os
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from flywheel.store import Stores, open_project
from flywheel.store.warehouse import Warehouse
from flywheel.traces.importing import import_file, load_imports
from tests.bench.machine import report, spent

WORDS = [
    *("cheap", "hotel", "north", "town", "free", "parking", "two", "nights", "from", "friday"),
    *("i", "need", "a", "in", "the", "of", "with", "for", "can", "you", "book", "it", "please"),
    *("no", "that", "is", "wrong", "restaurant", "should", "serve", "food", "and", "what", "time"),
    *("naïve", "東京", "“quoted”", "😀", "a\nb", '"'),
]
BUDGET = 60_000


def write_traces(path: Path, n_traces: int, bad_share: float) -> Path:
    """Seeded traces; a share of lines is broken in one of five ways."""
    rng = random.Random(7)
    text = rng.choices(WORDS, k=20_000)
    with path.open("wb") as file:
        for number in range(n_traces):
            file.write(_line(rng, text, number, rng.random() < bad_share) + b"\n")
    return path


def _line(rng: random.Random, text: list[str], number: int, is_bad: bool) -> bytes:
    messages = []
    for position in range(6):
        start = rng.randrange(len(text) - 100)
        n_words = rng.randint(5, 24) if position % 2 == 0 else rng.randint(20, 96)
        role = "user" if position % 2 == 0 else "assistant"
        messages.append({"role": role, "content": " ".join(text[start : start + n_words])})
    row = {
        "trace_id": f"t{number}",
        "app": f"app{number % 3}",
        "session_id": f"s{number // 2}",
        "user_id": f"u{number // 5}",
        "started_at": f"2026-03-{1 + number % 28:02d}T10:00:00Z",
        "label": None,
        "messages": messages,
    }
    kind = rng.randrange(5) if is_bad else None
    if kind == 0:
        messages[3]["role"] = "robot"
    elif kind == 1:
        row["messages"] = []
    elif kind == 2:
        row["started_at"] = "yesterday"
    line = json.dumps(row, ensure_ascii=False).encode()
    if kind == 3:
        return line[: len(line) // 2]
    return line.replace(b" ", b"\xff", 1) if kind == 4 else line


def measure(files: list[Path], memory_limit_gb: float) -> dict[str, object]:
    """Import the files into a new project; afterwards, fill an empty warehouse from its ledger."""
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        made = open_project(Path(folder)).stores
        path = made.warehouse.path
        stores = Stores(
            made.ledger, Warehouse(path, memory_limit_gb=memory_limit_gb), made.artifacts
        )
        with stores.ledger.begin(), stores.warehouse.open():
            pass
        with spent() as first:
            reports = [import_file(stores, file) for file in files]
        with stores.warehouse.open() as connection:
            (n_messages,) = connection.raw.execute("select count(*) from messages").fetchone()
        path.unlink()
        with spent() as again:
            load_imports(stores)
        stores.ledger.close()
    return {
        "mb": round(sum(file.stat().st_size for file in files) / 1e6, 1),
        "new": sum(r.new for r in reports),
        "rejected": sum(len(r.rejected) for r in reports),
        "messages": n_messages,
        "messages_per_s": round(n_messages / first.wall_s),
        "messages_per_cpu_s": round(n_messages / first.cpu_s),
        **asdict(first),
        "rebuild_messages_per_cpu_s": round(n_messages / again.cpu_s),
    }


def main(n_traces: int, memory_limit_gb: float) -> None:
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        cases = {
            "clean": [write_traces(Path(folder) / "clean", n_traces, 0.0)],
            "bad_1_percent": [write_traces(Path(folder) / "bad", n_traces, 0.01)],
        }
        if real := os.environ.get("FLYWHEEL_BENCH_DATA"):
            cases["real"] = sorted((Path(real) / "traces").glob("*.jsonl"))
        figures = {}
        for name, files in cases.items():
            # A process each: the peak of memory is that of a process.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                figures[name] = pool.apply(measure, (files, memory_limit_gb))
    report("import", budget=BUDGET, memory_limit_gb=memory_limit_gb, **figures)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 166_667,
        float(sys.argv[2]) if len(sys.argv) > 2 else 4.0,
    )
