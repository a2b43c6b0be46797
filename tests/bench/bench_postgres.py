"""The loop with its ledger on Postgres, row for row beside SQLite's; and what it costs to move one.

    python -m tests.bench.bench_postgres [LINES] [ROWS]

Prints one JSON line a figure. Two projects import the first `LINES` conversations of the bundled
sample (300: all of it) and what people decided on them, and run `flywheel loop`; every row of their
warehouses is compared but for moments and what is measured anew in each run. Then a ledger of
`ROWS` audit entries (200,000) is moved to an empty database, copied, read back and compared.
"""

import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from flywheel.loop import run_loop
from flywheel.review import import_decisions
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger, now
from flywheel.store.moving import move_ledger
from flywheel.store.tables import audit_log
from flywheel.traces.importing import import_file
from tests.bench.machine import report, spent
from tests.postgres import new_database

MEASURED = {"latency_ms", "cost_usd"}
BATCH = 10_000


def rows_of(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the warehouse's tables, without what is measured and when."""
    found = {}
    with project.stores.warehouse.open() as connection:
        names = connection.raw.execute(
            "select table_name from duckdb_tables() where not internal order by all"
        ).fetchall()
        for (name,) in names:
            described = connection.raw.execute(f"describe {name}").fetchall()
            kept = [
                column
                for column, kind, *_ in described
                if column not in MEASURED and (kind != "TIMESTAMP" or column == "started_at")
            ]
            rows = connection.raw.execute(f"select {', '.join(kept)} from {name}").fetchall()
            found[name] = sorted(rows, key=repr)
    return found


def loop_on(folder: Path, n_lines: int, url: str) -> dict[str, list[tuple[object, ...]]]:
    """Run the loop over the sample with this ledger; the rows of its warehouse."""
    folder.mkdir()
    project = open_project(folder)
    stores = project.stores
    for name in ("traces", "decisions"):
        lines = (files("flywheel.sample") / f"{name}.jsonl").read_text("utf-8").splitlines()
        (folder / f"{name}.jsonl").write_text("\n".join(lines[:n_lines]) + "\n", encoding="utf-8")
    import_file(stores, folder / "traces.jsonl")
    with spent() as cost:
        import_decisions(stores, folder / "decisions.jsonl")
        ran = run_loop(project)
    stores.ledger.close()
    backend = url.partition(":")[0] or "sqlite"
    report("loop", ledger=backend, traces=ran.traces, labels=ran.labels, cpu_s=cost.cpu_s)
    return rows_of(project)


def compare_loops(folder: Path, n_lines: int) -> None:
    rows = []
    for name, url in (("file", ""), ("server", new_database())):
        os.environ["FLYWHEEL_LEDGER__URL"] = url
        rows.append(loop_on(folder / name, n_lines, url))
    os.environ.pop("FLYWHEEL_LEDGER__URL")
    here, there = rows
    differing = [name for name in here if here[name] != there[name]]
    n_rows = sum(map(len, here.values()))
    report("loop rows", tables=len(here), rows=n_rows, differing=differing)


def measure_move(folder: Path, n_rows: int) -> None:
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    entry = {"actor": "bench", "action": "test", "subject": "s" * 40, "detail": "x" * 200}
    with ledger.begin() as connection:
        for _ in range(0, n_rows, BATCH):
            batch = [entry | {"happened_at": now()}] * BATCH
            connection.execute(audit_log.insert(), batch)
    with spent() as cost:
        moved = move_ledger(ledger, new_database())
    ledger.close()
    per_s = round(moved.rows / cost.cpu_s)
    report("move", rows=moved.rows, rows_per_cpu_s=per_s, peak_rss_mb=cost.peak_rss_mb)


if __name__ == "__main__":
    given = dict(enumerate(map(int, sys.argv[1:])))
    n_lines, n_rows = given.get(0, 300), given.get(1, 200_000)
    with tempfile.TemporaryDirectory() as made:
        measure_move(Path(made), n_rows)
        compare_loops(Path(made), n_lines)
