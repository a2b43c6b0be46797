"""How often an experiment that is looked at every day errs, and how long it takes.

    python -m tests.bench.bench_experiments [EXPERIMENTS]

Prints one JSON line a cell, of as many simulated experiments (2,000 unless told) of two arms, each
looked at once a day from 50 sessions an arm on, for at most `days`:

null       both arms have the same rate: how often one is declared different, at any look, by the
           confidence sequence, and by a plain 95 % interval that somebody stops at
effect     the rates differ by what the plan calls the least that matters: the sessions an arm at
           which the sequence stops, beside those of a test at a size fixed beforehand (80 % power);
           how often the stopped interval misses the truth
clustered  as null, where sessions have 1 to 5 traces that are alike
labels     as null, where the judge errs otherwise on either arm and a tenth of the traces is
           labelled: by PPI++ within each arm, as the product estimates it
delayed    as labels, and labels come 10 days late
lots       shares of sessions as planned, or two points off: how often the check calls a mismatch,
           at any of 100 looks, and the sessions until it does
"""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.experiments.experiment import LEAST_SESSIONS
from flywheel.experiments.looks import MISMATCH_ALPHA
from flywheel.experiments.outcomes import LEAST_LABELS
from flywheel.statistics import (
    Z95,
    Floats,
    confidence_sequence,
    corrected_rate,
    fixed_information,
    information_to_decide,
    margins,
    mismatch_p_value,
)
from flywheel.statistics.estimates import UNSEEN
from tests.bench.machine import report, spent

ALPHA = 0.05
# Experiments in memory together.
BATCH = 250


@dataclass(frozen=True)
class Cell:
    """A true rate of each arm, sessions an arm and day, days, and the plan's least difference."""

    rates: tuple[float, float]
    sessions: int
    days: int
    least: float
    traces: int = 1


def looks(cell: Cell, draws: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Difference and variance of each experiment and day, (draws, days); sessions an arm by day."""
    rng, n = np.random.default_rng(0), cell.sessions * np.arange(1, cell.days + 1)
    parts = [arms_of(cell, min(BATCH, draws - at), rng, n) for at in range(0, draws, BATCH)]
    found, variance = (np.concatenate(of) for of in zip(*parts, strict=True))
    return found, variance, n


def arms_of(
    cell: Cell, draws: int, rng: np.random.Generator, n: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Some of the experiments; variances are those of clustered_mean."""
    means, variances = [], []
    for rate in cell.rates:
        shape = (draws, cell.days, cell.sessions)
        sizes = rng.integers(1, cell.traces + 1, shape)
        # Traces of a session are alike: its own rate is drawn around the arm's.
        own = rng.beta(2 * rate, 2 * (1 - rate), shape) if cell.traces > 1 else rate
        errors = rng.binomial(sizes, own)
        total, wrong, squares, cross, square = (
            of.sum(axis=2).cumsum(axis=1)
            for of in (sizes, errors, sizes**2, sizes * errors, errors**2)
        )
        mean = wrong / total
        spread = square - 2 * mean * cross + mean**2 * squares
        seen = n / np.maximum(n - 1, 1) * spread / total**2
        means.append(mean)
        variances.append(np.maximum(seen, UNSEEN * (squares / total**2) ** 2))
    return means[1] - means[0], variances[0] + variances[1]


def judged(cell: Cell, draws: int) -> dict[str, object]:
    """How often experiments of this cell are stopped, and when."""
    with spent() as cost:
        found, variance, n = looks(cell, draws)
        is_said = n >= LEAST_SESSIONS
        half, truth = margins(1 / variance, cell.least, ALPHA), cell.rates[1] - cell.rates[0]
        is_over = is_said & (np.abs(found) > half)
        is_naive = is_said & (np.abs(found) > Z95 * np.sqrt(variance))
        first = np.where(is_over.any(axis=1), is_over.argmax(axis=1), cell.days - 1)
        missed = is_said & (np.abs(found - truth) > half)
        at_stop = np.take_along_axis(missed, first[:, None], axis=1)
    # Of a pair of sessions of one trace each.
    pair = sum(rate * (1 - rate) for rate in cell.rates)
    stopped = n[first]
    return {
        "rates": cell.rates,
        "sessions_a_day": 2 * cell.sessions,
        "days": cell.days,
        "stopped": share(is_over.any(axis=1)),
        "naive_stopped": share(is_naive.any(axis=1)),
        "misses_the_truth_at_any_look": share(missed.any(axis=1)),
        "misses_where_it_stops": share(at_stop),
        "mean_sessions_an_arm": round(float(stopped.mean())),
        "median_sessions_an_arm": round(float(np.median(stopped))),
        "ninth_tenth_sessions_an_arm": round(float(np.quantile(stopped, 0.9))),
        "fixed_n_an_arm": round(pair * fixed_information(cell.least, ALPHA)),
        "told_n_an_arm": round(pair * information_to_decide(cell.least, ALPHA)),
        "cpu_s": cost.cpu_s,
    }


def labelled(draws: int, delay: int) -> dict[str, object]:
    """Experiments without a difference whose judge sees one; labels of a tenth, some days late."""
    rng, days, sessions, rate = np.random.default_rng(1), 60, 40, 0.2
    # Sensitivity and specificity of the judge on each arm.
    judges = ((0.85, 0.95), (0.70, 0.85))
    wrong = naive = by_judge = 0
    with spent() as cost:
        for _ in range(draws):
            truth = rng.random((2, days * sessions)) < rate
            flags = np.stack(
                [
                    np.where(y, rng.random(y.shape) < tpr, rng.random(y.shape) > tnr)
                    for y, (tpr, tnr) in zip(truth, judges, strict=True)
                ]
            ).astype(float)
            drawn = rng.random(truth.shape) < 0.1
            stopped = [False, False, False]
            for day in range(4, days + 1, 2):
                n, known = day * sessions, max(0, day - delay) * sessions
                labels = [np.where(np.arange(n) < known, drawn[a, :n], False) for a in (0, 1)]
                if min(of.sum() for of in labels) < LEAST_LABELS:
                    continue
                arms = [
                    corrected_rate(
                        np.where(labels[a], truth[a, :n], np.nan),
                        flags[a, :n],
                        np.full(n, 10.0),
                        np.arange(n),
                    )
                    for a in (0, 1)
                ]
                found = arms[1].interval.estimate - arms[0].interval.estimate
                variance = arms[0].variance + arms[1].variance
                sequence = confidence_sequence(found, variance, 0.1, ALPHA)
                seen = flags[1, :n].mean() - flags[0, :n].mean()
                own = sum(f.var() for f in (flags[0, :n], flags[1, :n])) / n
                stopped[0] |= not sequence.low <= 0 <= sequence.high
                stopped[1] |= abs(found) > Z95 * np.sqrt(variance)
                stopped[2] |= abs(seen) > margins(np.array([1 / own]), 0.1, ALPHA)[0]
            wrong, naive, by_judge = (
                so_far + one for so_far, one in zip((wrong, naive, by_judge), stopped, strict=True)
            )
    return {
        "experiments": draws,
        "delay_days": delay,
        "stopped": wrong / draws,
        "naive_stopped": naive / draws,
        "stopped_by_the_judge_alone": by_judge / draws,
        "cpu_s": cost.cpu_s,
    }


def lots(draws: int, true_share: float) -> dict[str, object]:
    """Sessions that come by these shares where halves were planned, at 200 a day."""
    rng = np.random.default_rng(2)
    found = []
    with spent() as cost:
        for _ in range(draws):
            first, totals = rng.binomial(200, true_share, 100).cumsum(), 200 * np.arange(1, 101)
            p_values = [
                mismatch_p_value([int(n), int(total - n)], [0.5, 0.5])
                for n, total in zip(first, totals, strict=True)
            ]
            hits = np.array(p_values) <= MISMATCH_ALPHA / 2
            found.append(int(totals[hits.argmax()]) if hits.any() else 0)
    called = np.array(found) > 0
    return {
        "experiments": draws,
        "true_share": true_share,
        "called": share(called),
        "median_sessions": int(np.median(np.array(found)[called])) if called.any() else None,
        "cpu_s": cost.cpu_s,
    }


def share(of: NDArray[np.bool_]) -> float:
    return round(float(np.mean(of)), 4)


def main(draws: int) -> None:
    """Print every cell."""
    for rate, least in ((0.05, 0.02), (0.2, 0.05), (0.5, 0.1)):
        report(f"experiments: null at {rate}", **judged(Cell((rate, rate), 20, 100, least), draws))
        lower = Cell((rate, rate - least), 20, 250, least)
        report(f"experiments: effect at {rate}", **judged(lower, draws))
    report("experiments: clustered at 0.2", **judged(Cell((0.2, 0.2), 20, 100, 0.05, 5), draws))
    few = max(50, draws // 5)
    report("experiments: labels", **labelled(few, 0))
    report("experiments: delayed", **labelled(few, 10))
    for true_share in (0.5, 0.52, 0.55):
        report(f"experiments: lots at {true_share}", **lots(few, true_share))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
