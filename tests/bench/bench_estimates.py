"""How often the interval of each estimator of a rate holds the truth, and how wide it is.

    python -m tests.bench.bench_estimates [DRAWS]

Prints one JSON line a cell: coverage of the nominal 95 % interval, mean width, and how often the
truth lay above and below. The judge is the frozen tier, out of fold: five folds that share no
session, fitted once. The population is all labelled traces of a set in `FLYWHEEL_BENCH_DATA`, and
the truth its prevalence: 20 % as it is; 5 % by drawing a session with an error that much more
rarely, with all of its traces. A draw takes sessions with replacement until there are as many
traces as in the set; of these, `n` are labelled, and the judge reads all:

trace     `n` traces at random, as the audit draws them
session   whole sessions at random, until there are `n` labels

The weighted estimator has labels by sqrt(p (1 - p)) with a floor of one half, `n` in expectation.
Rogan-Gladen has `n` / 2 labels of either class from other sessions, at 20 %. Each takes the judge
as its calibrated probability and as 0 or 1. Without the variable, the reference simulation alone:
a judge of sensitivity .85 and specificity .95 on 10,000 traces.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flywheel.judge.evaluation import probabilities
from flywheel.models.embedder import Embedder
from flywheel.records import Interval
from flywheel.settings import TrainingSettings
from flywheel.statistics import (
    Z95,
    Floats,
    corrected_rate,
    rogan_gladen,
    wilson,
)
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import read_conversations
from flywheel.training.fit import fit_judge
from flywheel.training.selection import material_of
from tests.bench.machine import report, spent
from tests.estimating import weighted_mean_estimate

DRAWS = 5000
SETS = ("mwoz", "dbdc3")
TIER: Literal["frozen"] = "frozen"
# The uniform share of the draw that prefers doubt.
FLOOR = 0.5
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Design = Literal["trace", "session"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Traces of one draw: what is true of each, what the judge says, and its session."""

    truth: Floats
    probability: Floats
    sessions: Ints


@dataclass(frozen=True, slots=True)
class Population:
    """Traces in the order of their sessions, and how likely each session is drawn."""

    truth: Floats
    probability: Floats
    sizes: Ints
    chance: Floats

    @property
    def rate(self) -> float:
        """The prevalence: expected errors over expected traces of a session that is drawn."""
        starts = np.cumsum(self.sizes) - self.sizes
        errors = np.add.reduceat(self.truth, starts)
        return float(self.chance @ errors / (self.chance @ self.sizes))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """As many traces as there are, of sessions drawn with replacement; each is a new one."""
        picked = rng.choice(len(self.sizes), 2 * len(self.sizes), p=self.chance)
        enough = int(np.searchsorted(np.cumsum(self.sizes[picked]), len(self.truth))) + 1
        picked = picked[:enough]
        sizes, starts = self.sizes[picked], (np.cumsum(self.sizes) - self.sizes)[picked]
        rows = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        sessions = np.repeat(np.arange(enough), sizes)
        return Drawn(self.truth[rows], self.probability[rows], sessions)


@dataclass(frozen=True, slots=True)
class Simulated:
    """Traces of no session, with a judge that errs at random: the reference simulation."""

    rate: float
    n: int
    sensitivity: float = 0.85
    specificity: float = 0.95

    def draw(self, rng: np.random.Generator) -> Drawn:
        """That many new traces."""
        truth = rng.random(self.n) < self.rate
        flags = np.where(truth, self.sensitivity, 1 - self.specificity)
        says = np.where(rng.random(self.n) < flags, 1.0, 0.0)
        return Drawn(truth.astype(float), says, np.arange(self.n))


def out_of_fold(path: Path) -> Population:
    """The set with each trace's probability by a judge that never saw its session."""
    levers, embedder = InputLevers(), Embedder()
    files = (path.with_name(f"{path.name}_{part}.jsonl") for part in ("train", "holdout"))
    rows = [row for file in files for row in read_conversations(file, levers).labelled]
    material, settings = material_of(rows), TrainingSettings()
    probability = np.empty(len(rows))
    for fitted, held in material.folds(seed=0):
        own = [rows[i] for i in fitted]
        judge, _ = fit_judge(own, [], embedder, levers, settings, with_lora=False)
        probability[held] = probabilities(judge, TIER, [rows[i] for i in held])
    codes = np.unique(material.groups, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    even = np.full(len(sizes), 1 / len(sizes))
    return Population(material.truth[order].astype(float), probability[order], sizes, even)


def thinned(whole: Population, rate: float) -> Population:
    """The population in which sessions with an error are rarer, so that the rate is this."""
    errors = np.add.reduceat(whole.truth, np.cumsum(whole.sizes) - whole.sizes)
    has = errors > 0
    with_errors, without = whole.sizes[has].sum(), whole.sizes[~has].sum()
    chance = np.where(has, rate * without / (errors.sum() - rate * with_errors), 1.0)
    return Population(whole.truth, whole.probability, whole.sizes, chance / chance.sum())


def labelled(rng: np.random.Generator, drawn: Drawn, n: int, design: Design) -> Bools:
    """Which traces are labelled."""
    chosen = np.zeros(len(drawn.truth), bool)
    if design == "trace":
        chosen[rng.choice(len(chosen), n, replace=False)] = True
        return chosen
    sizes = np.bincount(drawn.sessions)
    order = rng.permutation(len(sizes))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), n)) + 1
    return np.asarray(np.isin(drawn.sessions, order[:enough]))


def plain_ppi(y: Floats, f: Floats, others: Floats) -> Interval:
    """PPI++ with +-1.96 standard errors, traces taken as independent: what is usually printed."""
    n, n_others = len(y), len(others)
    halves = np.arange(n) % 2
    slopes = []
    for half in (0, 1):
        a, b = y[halves != half], f[halves != half]
        spread = (1 + n / n_others) * b.var(ddof=1)
        slopes.append(float(np.clip(np.cov(a, b)[0, 1] / spread, 0, 1)) if spread else 0.0)
    power = np.asarray(slopes)[halves]
    rest, mean = y - power * f, power.mean()
    theta = mean * others.mean() + rest.mean()
    error = Z95 * np.sqrt(mean**2 * others.var(ddof=1) / n_others + rest.var(ddof=1) / n)
    return Interval(float(theta), float(theta - error), float(theta + error))


def by_doubt(rng: np.random.Generator, drawn: Drawn, f: Floats, n: int) -> Interval:
    """The weighted estimate from labels that prefer doubt."""
    size = len(f)
    doubt = np.sqrt(drawn.probability * (1 - drawn.probability)) + 1e-9
    chance = np.minimum(1, n * (FLOOR / size + (1 - FLOOR) * doubt / doubt.sum()))
    known = np.where(rng.random(size) < chance, drawn.truth, np.nan)
    return weighted_mean_estimate(known, f, chance, drawn.sessions)


def by_classes(
    rng: np.random.Generator, f: Floats, drawn: Drawn, other: Drawn, g: Floats, n: int
) -> Interval | None:
    """Rogan-Gladen, with as many labels of errors as of others, from another draw."""
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(other.truth == k), n // 2, replace=False) for k in (0, 1)]
    )
    truth = np.concatenate([np.full(len(f), np.nan), other.truth[rows]])
    sessions = np.concatenate([drawn.sessions, 1_000_000 + other.sessions[rows]])
    counted = np.arange(len(truth)) < len(f)
    return rogan_gladen(truth, np.concatenate([f, g[rows]]), counted, sessions)


def estimates(
    rng: np.random.Generator,
    drawn: Drawn,
    other: Drawn,
    n: int,
    design: Design,
    as_said: Callable[[Floats], Floats],
) -> Mapping[str, Interval | None]:
    """Every estimator's interval on one draw."""
    f, chosen = as_said(drawn.probability), labelled(rng, drawn, n, design)
    known = np.where(chosen, drawn.truth, np.nan)
    y = drawn.truth[chosen]
    found = {
        "judge only": wilson(float(f.sum()), len(f)),
        "labels only, Wilson": wilson(float(y.sum()), len(y)),
        "PPI++, plain": plain_ppi(y, f[chosen], f[~chosen]),
        "PPI++": corrected_rate(known, f, np.ones(len(f)), drawn.sessions).interval,
    }
    if design == "session":
        return found
    weighted = by_doubt(rng, drawn, f, n)
    balanced = by_classes(rng, f, drawn, other, as_said(other.probability), n)
    return found | {"weighted": weighted, "Rogan-Gladen": balanced}


def measure(
    source: Population | Simulated,
    teacher: Population | Simulated,
    n: int,
    design: Design,
    says: str,
    draws: int,
    **facts: object,
) -> None:
    """Draw again and again, and print a line for each estimator."""

    def as_said(probability: Floats) -> Floats:
        return np.where(probability >= 0.5, 1.0, 0.0) if says == "0 or 1" else probability

    rng, truth = np.random.default_rng(n), source.rate
    counts: defaultdict[str, Floats] = defaultdict(lambda: np.zeros(4))
    with spent() as cost:
        for _ in range(draws):
            drawn, other = source.draw(rng), teacher.draw(rng)
            for name, interval in estimates(rng, drawn, other, n, design, as_said).items():
                if interval is not None:
                    above, below = truth > interval.high, truth < interval.low
                    counts[name] += [1, interval.high - interval.low, above, below]
    for name, (made, width, above, below) in counts.items():
        report(
            "estimates",
            **facts,
            judge=says,
            design=design,
            rate=round(truth, 4),
            labels=n,
            estimator=name,
            covers=round(1 - (above + below) / made, 4),
            width=round(width / made, 4),
            truth_above=round(above / made, 4),
            truth_below=round(below / made, 4),
            draws=int(made),
            cpu_s=cost.cpu_s,
        )


def main(draws: int) -> None:
    """The reference simulation, and each real set where there is one."""
    for rate in (0.2, 0.05):
        for n in (100, 200):
            made_up = Simulated(rate, 10_000 if (rate, n) == (0.2, 200) else 2_000)
            teacher = Simulated(0.2, 2_000)
            measure(
                made_up, teacher, n, "trace", "0 or 1", draws, set="simulated", traces=made_up.n
            )
    folder = os.environ.get("FLYWHEEL_BENCH_DATA")
    if not folder:
        print("FLYWHEEL_BENCH_DATA is not set: no real labels were read", file=sys.stderr)
        return
    for name in SETS:
        whole = out_of_fold(Path(folder) / "labels" / name)
        for rate in (0.2, 0.05):
            of_rate = thinned(whole, rate)
            for n in (100, 200):
                for says in ("0 or 1", "probability"):
                    for design in ("trace", "session"):
                        measure(of_rate, whole, n, design, says, draws, set=name, tier=TIER)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS)
