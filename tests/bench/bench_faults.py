"""The whole loop, day after day, with a fault in each: what is lost, doubled or silently wrong.

    python -m tests.bench.bench_faults [ROUNDS] [SEED] [MINUTES]

A round is a simulated day. Prints what is wrong after each on stderr, and one JSON line at the end;
exits with 1 where anything was wrong.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.bench.machine import report, spent
from tests.faults import run_rounds


def main(rounds: int, seed: int, minutes: float) -> None:
    """Run the rounds, or as many of them as fit into the minutes."""
    with tempfile.TemporaryDirectory(prefix="flywheel-faults-") as folder, spent() as used:
        told = run_rounds(Path(folder), rounds, seed, time.monotonic() + 60 * minutes)
    report(
        "faults",
        seed=seed,
        rounds=told.rounds,
        disk=told.disk,
        faults=dict(told.faults),
        seen=dict(told.seen),
        requests=told.requests,
        traces=told.traces,
        decisions=told.decisions,
        violations=len(told.wrong),
        wrong=told.wrong[:20],
        wall_s=used.wall_s,
    )
    sys.exit(1 if told.wrong else 0)


if __name__ == "__main__":
    given = [float(one) for one in sys.argv[1:]]
    rounds, seed, minutes = [*given, *(70.0, 0.0, 60.0)[len(given) :]]
    main(int(rounds), int(seed), minutes)
