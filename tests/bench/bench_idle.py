"""The web app when nobody asks: its share of a core and its memory.

    python -m tests.bench.bench_idle [SECONDS]

Prints one JSON line. Budget: < 1 % of one core and < 400 MB. A furnished project is served by a
process of its own; it is asked for a page, left alone for ten seconds, and then watched.
"""

import sys
import tempfile
import time
from pathlib import Path

from flywheel.store import open_project
from tests.bench.machine import report
from tests.served import furnish, serving

SETTLES_S = 10.0


def main(seconds: float) -> None:
    """Print what it takes."""
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        project = open_project(Path(folder) / "shop-assistant")
        furnish(project)
        with serving(project) as server:
            time.sleep(SETTLES_S)
            cpu_s, began = server.cpu_s(), time.perf_counter()
            time.sleep(seconds)
            cpu_s, took_s = server.cpu_s() - cpu_s, time.perf_counter() - began
            rss_mb = server.rss_mb()
        project.stores.ledger.close()
    report(
        "idle",
        seconds=round(took_s, 1),
        percent_of_a_core=round(100 * cpu_s / took_s, 3),
        rss_mb=rss_mb,
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0)
