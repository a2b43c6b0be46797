"""Kill a server again and again while it is sent traces, and the drain with it; then count.

python -m tests.bench.bench_dying_server [--rounds 100] [--seed 0]
"""

import argparse
import tempfile
from pathlib import Path

from flywheel.store import open_project
from tests.bench.machine import report, spent
from tests.dying_server import kill_again_and_again


def main() -> None:
    """Print what became of every span."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder, spent() as measured:
        fate = kill_again_and_again(open_project(Path(folder)), given.rounds, given.seed)
    report(
        "dying_server",
        rounds=given.rounds,
        seed=given.seed,
        killed_servers=fate.kills,
        killed_drains=fate.killed_drains,
        acknowledged_spans=len(fate.acknowledged),
        stored_spans=len(fate.stored),
        lost=len(fate.lost),
        twice=fate.twice,
        sent_by_nobody=len(fate.unsent),
        wall_s=measured.wall_s,
    )


if __name__ == "__main__":
    main()
