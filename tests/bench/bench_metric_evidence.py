"""How often the intervals of a back-test hold, and what is called good or removed by chance.

Made-up labels with a known truth, in sessions whose traces are alike; one JSON line a setting:

    python -m tests.bench.bench_metric_evidence [--runs 200]
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import Refused
from flywheel.evolution.metric_set.backtest import backtest
from flywheel.evolution.metric_set.evidence import evidence_of_removal
from flywheel.evolution.metric_set.labelled import Labels, Said
from flywheel.judge.people import people_of
from flywheel.records import Interval
from tests.bench.machine import report

# Labels of the holdout, traces a session, the share of errors, coverage and false failures.
SETTINGS = (
    (60, 1, 0.3, 0.6, 0.1),
    (60, 3, 0.3, 0.6, 0.1),
    (240, 3, 0.3, 0.6, 0.1),
    (240, 3, 0.1, 0.6, 0.1),
    (240, 3, 0.3, 0.2, 0.2),
    (600, 3, 0.2, 0.2, 0.2),
)
# How alike the traces of a session are: the chance that one is drawn as the session's first was.
ALIKE = 0.4


def drawn(random: np.random.Generator, n: int, per: int, share: float) -> NDArray[np.bool_]:
    """So many yes, alike within sessions, each yes with this chance."""
    own = random.random(n) < share
    first = np.repeat(random.random(-(-n // per)) < share, per)[:n]
    return np.where(random.random(n) < ALIKE, first, own)


def truth_of(share: float, coverage: float, false: float) -> dict[str, float]:
    """The measures of endless labels."""
    flagged = share * coverage + (1 - share) * false
    shared = share * coverage - share * flagged
    scale = (share * (1 - share) * flagged * (1 - flagged)) ** 0.5
    return {
        "coverage": coverage,
        "false_failures": false,
        "alignment": 2 / (1 / coverage + 1 / (1 - false)),
        "correlation": shared / scale,
    }


def holds(interval: Interval | None, value: float) -> bool:
    return interval is not None and interval.low <= value <= interval.high


def measure(n: int, per: int, share: float, coverage: float, false: float, runs: int) -> None:
    """Draw labels and verdicts again and again; print how often each interval holds the truth."""
    random, true = np.random.default_rng(7), truth_of(share, coverage, false)
    held, passed, removed, counted = dict.fromkeys(true, 0), 0, 0, 0
    for _ in range(runs):
        truth = drawn(random, n, per, share)
        by_truth = [drawn(random, n, per, rate) for rate in (coverage, false)]
        against = np.where(truth, by_truth[0], by_truth[1])
        people = people_of(truth, [f"s{i // per}" for i in range(n)])
        same = ("",) * n
        labels = Labels(people, *(same,) * 6)
        said = Said(against, np.ones(n, bool), against.astype(float))
        found = backtest(said, labels)
        if found.coverage is None or found.correlation is None:
            continue
        counted += 1
        for name, value in true.items():
            held[name] += holds(getattr(found, name), value)
        passed += found.correlation.low > 0
        try:
            # Others find all of the errors, so that only the correlation decides.
            everything = Said(truth, said.is_answered, truth.astype(float))
            evidence_of_removal("some", said, {"other": everything}, labels, ())
            removed += 1
        except Refused:
            pass
    line = {
        **{"labels": n, "per_session": per, "errors": share},
        **{"coverage": coverage, "false_failures": false, "runs": counted},
        "true_correlation": round(true["correlation"], 3),
        "intervals_hold": {name: round(k / counted, 3) for name, k in held.items()},
        "called_good": round(passed / counted, 3),
        "may_be_removed": round(removed / counted, 3),
    }
    report("metric_evidence", **line)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=200)
    for setting in SETTINGS:
        measure(*setting, runs=arguments.parse_args().runs)
