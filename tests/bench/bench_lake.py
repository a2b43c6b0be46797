"""The same import and metrics run into a file and into a lake: seconds, disk, files.

    python -m tests.bench.bench_lake [TRACES]

Prints one JSON line a warehouse. 20,000 seeded traces of six messages over 28 days; the lake has
its Parquet in a folder and its catalog in a Postgres of its own beside it, of which only this
process's share is counted. No budget: a lake is for many machines.
"""

import sys
import tempfile
from pathlib import Path

from flywheel.metrics import load_metrics
from flywheel.metrics.scoring import score_day_by_code
from flywheel.store import open_project
from flywheel.store.lake import Lake
from flywheel.traces.importing import days_with_traces, import_file
from tests.bench.bench_import import write_traces
from tests.bench.machine import report, spent
from tests.lakes import lake_url, set_lake


def files_of(folder: Path) -> dict[str, float]:
    """Files of a warehouse, and what they take."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"files": len(sizes), "disk_mb": round(sum(sizes) / 1e6, 1)}


def measure(kind: str, folder: Path, source: Path) -> None:
    """Import, score, and for a lake merge what is small."""
    if kind == "lake":
        set_lake(folder, lake_url())
    project = open_project(folder)
    stores = project.stores
    place = stores.warehouse.path
    with spent() as opening, stores.warehouse.open():
        pass
    with spent() as importing:
        n = import_file(stores, source).new
    with spent() as scoring:
        for day in days_with_traces(stores):
            score_day_by_code(stores, load_metrics(project.metrics_dir), day)
    kept = (
        files_of(place) if kind == "lake" else {"files": 1, "disk_mb": place.stat().st_size / 1e6}
    )
    with spent() as reading, stores.warehouse.read() as connection:
        connection.raw.execute("select count(*), avg(value) from current_scores").fetchall()
    merged: dict[str, object] = {}
    if isinstance(stores.warehouse, Lake):
        with spent() as compacting:
            stores.warehouse.rewrite()
        merged = {"rewrite_s": compacting.wall_s, "rewritten": files_of(place)}
    report(
        "lake",
        warehouse=kind,
        traces=n,
        first_open=(opening.wall_s, opening.cpu_s),
        imported=(importing.wall_s, importing.cpu_s),
        scored=(scoring.wall_s, scoring.cpu_s),
        read=(reading.wall_s, reading.cpu_s),
        **kept,
        **merged,
    )


def main() -> None:
    """Both, in one run."""
    n_traces = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        source = write_traces(Path(folder) / "traces.jsonl", n_traces, 0.0)
        for kind in ("file", "lake"):
            measure(kind, Path(folder) / kind, source)


if __name__ == "__main__":
    main()
