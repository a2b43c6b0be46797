"""What a metric is worth on labels: what it finds, how often it cries wolf, what it goes with.

What a metric says of labelled traces in, figures with intervals out. A trace of which it says
nothing is one that it does not speak against. Labels count by 1 / draw probability, and a session
by as many labels as it is worth.

Sources: coverage, false-failure rate and alignment after Shankar et al. (EvalGen, 2404.12272).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.evolution.evidence import Figure, Unit
from flywheel.evolution.metric_set.labelled import Labels, Said
from flywheel.judge.people import Bools, People, amounts_to, design_effect, kish, session_icc
from flywheel.records import Interval
from flywheel.statistics import Z95, Floats, cluster_bootstrap
from flywheel.statistics.intervals import score_interval

# Fewer labels of a kind say nothing about a share of them.
MIN_LABELS = 5
# The quantile of a 97.5 % interval: two of them hold together with 95 %.
_Z975 = 2.241402727604947


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a metric is worth on labels; None where there are fewer than 5 labels of a kind.

    `coverage` is the share of the `n_errors` traces with an error that it speaks against,
    `false_failures` that of the `n_fine` others, `alignment` the harmonic mean of coverage and
    1 - false failures. `correlation` with the outcome is of what it says, and of its value where it
    gives one that is more than yes or no; None where it says the same of all. Intervals hold with
    95 %.
    """

    n_errors: int
    n_fine: int
    n_answered: int
    n_found: int
    n_false: int
    coverage: Interval | None
    false_failures: Interval | None
    alignment: Interval | None
    correlation: Interval | None
    value_correlation: Interval | None

    @property
    def correlations(self) -> list[Interval]:
        """Those that there are."""
        return [one for one in (self.correlation, self.value_correlation) if one is not None]


def backtest(said: Said, labels: Labels) -> Backtest:
    """Measure what a metric said of these labels."""
    people, truth = labels.people, labels.people.truth
    has_both = min(truth.sum(), (~truth).sum()) >= MIN_LABELS
    parts = [share_of(said.is_against, people, of) for of in (truth, ~truth)] if has_both else None
    alignment = _alignment(said.is_against, people) if has_both else None
    values = said.value[~np.isnan(said.value)]
    is_graded = len(np.unique(values)) > 2
    return Backtest(
        n_errors=int(truth.sum()),
        n_fine=int((~truth).sum()),
        n_answered=int(said.is_answered.sum()),
        n_found=int((said.is_against & truth).sum()),
        n_false=int((said.is_against & ~truth).sum()),
        coverage=parts[0] if parts else None,
        false_failures=parts[1] if parts else None,
        alignment=alignment,
        correlation=_correlation(said.is_against.astype(float), people) if has_both else None,
        value_correlation=_graded(said.value, people) if has_both and is_graded else None,
    )


def share_of(is_against: Bools, people: People, of: Bools, quantile: float = Z95) -> Interval:
    """The share of the rows of `of` that a metric speaks against, with its score interval.

    At the number of labels that these amount to, by their weights and their sessions.
    """
    share, n = amounts_to(is_against[of], people.take(of))
    return score_interval(share, n, quantile)


def figures(after: Backtest, before: Backtest | None = None) -> tuple[Figure, ...]:
    """The measures as evidence shows them, beside those of what stood before."""
    n = after.n_errors + after.n_fine
    named: tuple[tuple[str, str, int, Unit], ...] = (
        ("coverage: errors that it finds", "coverage", after.n_errors, "share"),
        ("false failures: others that it speaks against", "false_failures", after.n_fine, "share"),
        ("alignment with people", "alignment", n, "share"),
        ("correlation with the outcome", "correlation", n, "number"),
        ("correlation of its value with the outcome", "value_correlation", n, "number"),
    )
    return tuple(
        Figure(name, getattr(after, field), getattr(before, field, None), of, unit)
        for name, field, of, unit in named
        if getattr(after, field) is not None or getattr(before, field, None) is not None
    )


def alignment_gain(after: Said, before: Said, labels: Labels) -> Interval:
    """By how much the alignment rises, on the same traces, with sessions drawn again."""
    people = labels.people

    def gain(rows: NDArray[np.int64]) -> float:
        of = _rows(people, rows)
        old, new = before.is_against[rows], after.is_against[rows]
        return _harmonic(*_shares(new, of)) - _harmonic(*_shares(old, of))

    return _of_sessions(gain, people)


def _alignment(is_against: Bools, people: People) -> Interval:
    """At the ends of two intervals of 97.5 %, which hold together with 95 %."""
    truth = people.truth
    found = share_of(is_against, people, truth, _Z975)
    false = share_of(is_against, people, ~truth, _Z975)
    return Interval(
        _harmonic(found.estimate, false.estimate),
        _harmonic(found.low, false.high),
        _harmonic(found.high, false.low),
    )


def _correlation(values: Floats, people: People) -> Interval | None:
    """Pearson's correlation of values with the outcome; None where all values are the same.

    The wider of two intervals at each end: sessions drawn again, which say too little where few
    traces are spoken against, and Fisher's z at the number of labels that these amount to.
    """
    if len(np.unique(values)) < 2:
        return None

    def of_rows(rows: NDArray[np.int64]) -> float:
        return _weighted_correlation(values[rows], _rows(people, rows))

    drawn = _of_sessions(of_rows, people)
    is_high = values > values.mean()
    icc = max(session_icc(side, people.groups) for side in (people.truth, is_high))
    n = kish(people.weight) / design_effect(people.groups, icc)
    if n <= 4:
        return Interval(drawn.estimate, -1.0, 1.0)
    # A perfect correlation of n labels may be of n - 1 and one that disagrees.
    middle = np.arctanh(np.clip(drawn.estimate, -(1 - 1 / n), 1 - 1 / n))
    half = Z95 / np.sqrt(n - 3)
    return Interval(
        drawn.estimate,
        float(min(drawn.low, np.tanh(middle - half))),
        float(max(drawn.high, np.tanh(middle + half))),
    )


def _graded(value: Floats, people: People) -> Interval | None:
    """Spearman's correlation of a value with the outcome, over the traces that have one."""
    has = ~np.isnan(value)
    truth = people.truth[has]
    if min(truth.sum(), (~truth).sum()) < MIN_LABELS:
        return None
    places = np.unique(value[has], return_inverse=True)[1]
    counts = np.bincount(places)
    # The middle of the ranks that equal values share.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return _correlation(ranks.astype(float), people.take(has))


def _weighted_correlation(values: Floats, people: People) -> float:
    w = people.weight / people.weight.sum()
    x, y = values - w @ values, people.truth - w @ people.truth
    scale = float(np.sqrt((w @ x**2) * (w @ y**2)))
    return float(w @ (x * y)) / scale if scale > 1e-12 else float("nan")


def _of_sessions(statistic: Callable[[NDArray[np.int64]], float], people: People) -> Interval:
    return cluster_bootstrap(statistic, [str(group) for group in people.groups], draws=1000)


def _rows(people: People, rows: NDArray[np.int64]) -> People:
    return People(people.truth[rows], people.groups[rows], people.weight[rows])


def _shares(is_against: Bools, people: People) -> tuple[float, float]:
    """What is spoken against of the errors and of the others; NaN where there are none."""
    w, truth = people.weight, people.truth
    sums = [float((w * is_against)[of].sum()) for of in (truth, ~truth)]
    wholes = [float(w[of].sum()) for of in (truth, ~truth)]
    found, false = (s / n if n else float("nan") for s, n in zip(sums, wholes, strict=True))
    return found, false


def _harmonic(found: float, false: float) -> float:
    """The harmonic mean of coverage and 1 - false failures."""
    good = 1 - false
    if np.isnan(found) or np.isnan(good):
        return float("nan")
    return 0.0 if found <= 0 or good <= 0 else 2 * found * good / (found + good)
