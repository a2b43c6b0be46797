"""Ten thousand broken files: none stops the import, hangs or costs memory that does not come back.

    python -m tests.bench.bench_file_fuzz [FILES] [FIRST_SEED]

Prints one JSON line, and each failure with its seed on stderr; a seed is one file for ever. Exits
with 1 where anything went wrong. Every row of each file must be new, a duplicate, changed or
rejected with a reason, and the counts must add up.
"""

import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from flywheel.store import open_project
from tests.bench.machine import report, spent
from tests.fuzzed_files import Held, check

# A project is a new one after so many files: it would grow, and be slower for no reason.
FILES_A_PROJECT = 250


def rss_mb() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


def measure(seeds: range) -> dict[str, object]:
    """Import the mutants of these seeds."""
    outcomes: Counter[str] = Counter()
    wrong, slowest, held_mb = [], (0.0, -1), []
    for first in range(seeds.start, seeds.stop, FILES_A_PROJECT):
        part = range(first, min(first + FILES_A_PROJECT, seeds.stop))
        with tempfile.TemporaryDirectory(prefix="flywheel-fuzz-") as folder:
            project = open_project(Path(folder))
            with Held(project) as held:
                for seed in part:
                    started = time.perf_counter()
                    # Whatever it is: this is the place that finds out.
                    try:
                        outcomes[check(held, seed)] += 1
                    except Exception as error:
                        outcomes["wrong"] += 1
                        wrong.append(seed)
                        where = traceback.extract_tb(error.__traceback__)[-1]
                        place = f"{Path(where.filename).name}:{where.lineno}"
                        print(seed, place, type(error).__name__, str(error)[:300], file=sys.stderr)
                    slowest = max(slowest, (time.perf_counter() - started, seed))
            project.stores.ledger.close()
        held_mb.append(rss_mb())
    return {
        "files": len(seeds),
        **outcomes,
        "wrong_seeds": wrong[:20],
        "slowest_s": round(slowest[0], 2),
        "slowest_seed": slowest[1],
        "rss_mb_after_each_tenth": held_mb[:: max(1, len(held_mb) // 10)],
    }


def main(n_files: int, first: int) -> None:
    with spent() as used:
        figures = measure(range(first, first + n_files))
    report("file_fuzz", **figures, wall_s=used.wall_s, cpu_s=used.cpu_s)
    sys.exit(1 if figures["wrong_seeds"] else 0)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 10_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 0,
    )
