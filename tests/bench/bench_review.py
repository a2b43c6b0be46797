"""Reviewers at once: 8 processes decide and get the next item from one server, on SQLite.

    python -m tests.bench.bench_review [N_ITEMS] [SECONDS]

Prints one JSON line. Budget: p95 of "decide and get the next" under 100 ms at 10,000 open items,
each with a document, a fifth of them for two reviewers; no item with more people than it needs and
no acknowledged decision lost. Nobody thinks: each reviewer sends the next decision as soon as the
next item is there. In the middle the server is killed and started again. Everything counts: the
key, the checks, the audit log, and a disk that is made to keep each commit.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from flywheel.store import open_project
from tests.bench.machine import report
from tests.reviewing import review_through_a_crash

N_REVIEWERS = 8
BUDGET_MS = 100
CLAIM_S = 10.0


def main(n_items: int, seconds: float) -> None:
    """Review, kill the server, review on, and count."""
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        project = open_project(Path(folder))
        outcome = review_through_a_crash(project, n_items, N_REVIEWERS, seconds, CLAIM_S)
        project.stores.ledger.close()
    took = np.array([ms for shift in outcome.shifts for ms in shift.took_ms])
    p50, p95, p99 = np.percentile(took, (50, 95, 99)).round(1).tolist()
    report(
        "review",
        budget_p95_ms=BUDGET_MS,
        items=n_items,
        reviewers=N_REVIEWERS,
        seconds=seconds,
        decisions=len(took),
        decisions_per_s=round(len(took) / seconds, 1),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=round(float(took.max()), 1),
        server_cpu_ms_a_decision=round(1000 * outcome.cpu_s / len(took), 1),
        down_s=round(outcome.down_s, 1),
        unanswered=sum(shift.unanswered for shift in outcome.shifts),
        refused=sum(shift.refused for shift in outcome.shifts),
        given_to_too_many=len(outcome.crowded),
        lost=len(outcome.lost),
        stuck=int(outcome.stuck is not None),
    )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 10_000,
        float(sys.argv[2]) if len(sys.argv) > 2 else 60.0,
    )
