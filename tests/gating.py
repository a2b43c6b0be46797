"""The gate's rule on thousands of made-up holdouts at once, by their counts alone.

What decides stands here once more, in arrays: the exact test on the audit, the difference of the
MCC, slices after Holm, and suites. A test holds it to `decide` on some of the same holdouts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flywheel import statistics
from flywheel.gate import Evidence, GateVerdict, Slice, decide
from flywheel.gate.suites import CaseList, SuiteCase, weigh_suite
from flywheel.records import Interval
from flywheel.settings import GateSettings
from flywheel.statistics import JudgeCard
from flywheel.statistics.paired import noninferiority_p

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
NO_CARD = JudgeCard(0, 0, {})


@dataclass(frozen=True)
class World:
    """How often one judge alone is right, on the holdout, on its first slice, and on the suites.

    Each pair is (challenger alone, champion alone). A fifth of what they agree on is wrong.
    """

    n: int = 400
    holdout: tuple[float, float] = (0.06, 0.06)
    slice_: tuple[float, float] | None = None
    n_general: int = 300
    general: tuple[float, float] = (0.02, 0.02)
    n_regression: int = 100
    regression: tuple[float, float] = (0.01, 0.01)


@dataclass(frozen=True)
class Holdouts:
    """Outcomes of shape (seeds, n), slices by place, and (wins, losses) of the suites."""

    truth: Bools
    champion: Bools
    challenger: Bools
    slices: dict[str, Ints]
    suites: dict[str, tuple[int, Ints, Ints]]


def draw(world: World, seeds: int, seed: int = 0) -> Holdouts:
    """So many holdouts of one world; every session has one trace, all of the uniform audit."""
    rng = np.random.default_rng(seed)
    shape = (seeds, world.n)
    place = np.arange(world.n)
    slices = {"first app": np.flatnonzero(place % 4 == 0), "second app": np.flatnonzero(place % 4)}
    slices |= {f"length {k}": np.flatnonzero(place * 3 // world.n == k) for k in range(3)}
    wins, losses = (np.full(shape, share) for share in world.holdout)
    if world.slice_:
        wins[:, slices["first app"]], losses[:, slices["first app"]] = world.slice_
    which = rng.random(shape)
    only_new, only_old = which < wins, (which >= wins) & (which < wins + losses)
    both = ~only_new & ~only_old & (rng.random(shape) < 0.8)
    suites = {
        name: (n, *rng.multinomial(n, [*shares, 1 - sum(shares)], seeds).T[:2])
        for name, n, shares in (
            ("general", world.n_general, world.general),
            ("regression", world.n_regression, world.regression),
        )
    }
    truth = rng.random(shape) < 0.25
    return Holdouts(truth, both | only_old, both | only_new, slices, suites)


def promoted(drawn: Holdouts, settings: GateSettings, alpha: float) -> Bools:
    """Which of them the rule promotes; none is thin by its holdout."""
    wins, losses = _leads(drawn, slice(None))
    passes = (_p(wins, losses, two_sided=True) < alpha) & (wins > losses)
    passes &= _mcc(drawn.truth, drawn.challenger) >= _mcc(drawn.truth, drawn.champion)
    harm = []
    for rows in drawn.slices.values():
        won, lost = _leads(drawn, rows)
        enough = won + lost >= settings.min_discordant
        harm.append(np.where(enough, _p(lost, won, two_sided=False), np.nan))
    tested = (~np.isnan(harm)).sum(axis=0)
    passes &= ~(np.nanmin([*harm, np.ones(len(wins))], axis=0) * tested < settings.alpha)
    for n, won, lost in drawn.suites.values():
        passes &= noninferiority_p(n, won, lost, settings.margin) < settings.alpha
    return np.asarray(passes)


def decided(drawn: Holdouts, at: int, settings: GateSettings, alpha: float) -> GateVerdict:
    """What `decide` says of one of them."""
    rows: dict[str, Ints | slice] = {"all": slice(None), **drawn.slices}
    counts = {name: [int(x[at]) for x in _leads(drawn, of)] for name, of in rows.items()}
    wins, losses = counts.pop("all")
    p = {
        name: statistics.mcnemar_exact(lost, won, "greater")
        for name, (won, lost) in counts.items()
        if won + lost >= settings.min_discordant
    }
    adjusted = dict(zip(p, statistics.holm(list(p.values())), strict=True))
    by = float((_mcc(drawn.truth, drawn.challenger) - _mcc(drawn.truth, drawn.champion))[at])
    n, positives = drawn.truth.shape[1], int(drawn.truth[at].sum())
    flat = Interval(0.0, 0.0, 0.0)
    evidence = Evidence(
        *(n, positives, n, positives, wins, losses, wins, losses),
        mcnemar_p=statistics.mcnemar_exact(wins, losses),
        difference=replace(flat, estimate=by),
        difference_p=1.0,
        auc_difference=None,
        champion_card=NO_CARD,
        challenger_card=NO_CARD,
        slices=tuple(
            Slice("app", name, 0, 0, *counts[name], flat, adjusted.get(name)) for name in counts
        ),
        n_unknown_draw=0,
        suites=tuple(
            weigh_suite(
                cases(name, n, int(won[at]), int(lost[at])), settings.margin, settings.alpha
            )
            for name, (n, won, lost) in drawn.suites.items()
        ),
    )
    return decide(evidence, settings, alpha)


def cases(name: str, n: int, wins: int, losses: int, is_closed: bool = False) -> CaseList:
    """A suite of `n` cases, each its own group, of which so many are won and so many are lost."""
    return CaseList(
        name,
        tuple(SuiteCase(f"{name}-{k}", f"{name}-{k}", k >= wins, k < n - losses) for k in range(n)),
        "More cases make it.",
        is_closed,
    )


def _leads(drawn: Holdouts, rows: Ints | slice) -> tuple[Ints, Ints]:
    old, new = drawn.champion[:, rows], drawn.challenger[:, rows]
    return (new & ~old).sum(axis=1), (old & ~new).sum(axis=1)


def _p(first: Ints, second: Ints, two_sided: bool) -> NDArray[np.float64]:
    """The exact McNemar p-value of each pair of counts."""
    pairs, places = np.unique(np.stack([first, second], axis=1), axis=0, return_inverse=True)
    p: Callable[[int, int], float] = (
        statistics.mcnemar_exact
        if two_sided
        else lambda a, b: statistics.mcnemar_exact(a, b, "greater")
    )
    return np.array([p(int(a), int(b)) for a, b in pairs])[places.ravel()]


def _mcc(truth: Bools, right: Bools) -> NDArray[np.float64]:
    said = truth == right
    tp, tn = (truth & said).sum(axis=1), (~truth & ~said).sum(axis=1)
    fp, fn = (~truth & said).sum(axis=1), (truth & ~said).sum(axis=1)
    bottom = np.sqrt(((tp + fp) * (tp + fn)).astype(float) * ((tn + fp) * (tn + fn)))
    return np.where(bottom > 0, (tp * tn - fp * fn) / np.where(bottom > 0, bottom, 1), 0.0)
