"""How often the gate errs, and what it finds: simulated holdouts, by counts and by whole evidence.

    python -m tests.bench.bench_gate [--seeds 20000] [--looks 12]

One JSON line: the share of looks that promote in worlds where nothing should be promoted and in
worlds where something should, with Wilson intervals; the same by size of the holdout, and where one
application pays for the others; the share of teams that ever promote what is no better, over
repeated looks; the branch of the weighted bootstrap; and what one look costs. Alpha is that of the
first look, .0304, unless said otherwise.
"""

import argparse
from dataclasses import replace

import numpy as np

from flywheel import statistics
from flywheel.gate import GateMaterial, alpha_of_look, weigh_evidence
from flywheel.settings import GateSettings
from flywheel.statistics.paired import least_cases, noninferiority_p
from tests.bench.machine import report, spent
from tests.gating import World, draw, promoted
from tests.test_gate import holdout

SETTINGS = GateSettings()
ALPHA = alpha_of_look(SETTINGS.alpha, 1)
CLEAN = {"general": (0.01, 0.01), "regression": (0.0, 0.0)}
NOTHING_TO_PROMOTE = {
    "as good": World(**CLEAN),
    "as good, few differ": World(holdout=(0.03, 0.03), **CLEAN),
    "two points worse": World(holdout=(0.05, 0.07), **CLEAN),
    "better, general worse by the margin": World(holdout=(0.15, 0.03), general=(0.02, 0.07)),
    "better, regression worse by the margin": World(
        holdout=(0.15, 0.03), n_regression=300, regression=(0.0, 0.05)
    ),
}
HARMED = {
    f"a quarter of {n} worse by {points} points": World(
        n=n, holdout=(0.2, 0.02), slice_=(0.02, 0.02 + points / 100), **CLEAN
    )
    for n in (400, 800)
    for points in (8, 14, 20)
}
BETTER = {
    "by 4 points": World(holdout=(0.08, 0.04), **CLEAN),
    "by 6 points": World(holdout=(0.1, 0.04), **CLEAN),
    "by 10 points": World(holdout=(0.14, 0.04), **CLEAN),
    "by 10 points, general differs on 8 %": World(
        holdout=(0.14, 0.04), general=(0.04, 0.04), regression=(0.0, 0.0)
    ),
}
SIZES = (100, 200, 400, 800)
_BLOCK = 2_000


def share(world: World, seeds: int, alpha: float = ALPHA) -> dict[str, float]:
    """The share of looks at holdouts of this world that promote, with its interval."""
    found = sum(
        int(promoted(draw(world, min(_BLOCK, seeds - start), start), SETTINGS, alpha).sum())
        for start in range(0, seeds, _BLOCK)
    )
    interval = statistics.wilson(found, seeds)
    return {name: round(getattr(interval, name), 4) for name in ("estimate", "low", "high")}


def ever(looks: int, seeds: int) -> float:
    """Teams that promote, in one of so many looks, something that is no better."""
    world, any_yet = World(**CLEAN), np.zeros(seeds, bool)
    for look in range(1, looks + 1):
        drawn = draw(world, seeds, 1_000_000 + look)
        any_yet |= promoted(drawn, SETTINGS, alpha_of_look(SETTINGS.alpha, look))
    return round(float(any_yet.mean()), 4)


def by_bootstrap(seeds: int, gain: float) -> float:
    """Looks at holdouts that people's audits are too few of: half drawn by the champion's doubts.

    Doubted traces are drawn four times as often, and there both judges err more; `gain` is how many
    more of all traces the challenger is right on.
    """
    rng, found = np.random.default_rng(7), 0
    for seed in range(seeds):
        n = 400
        doubted = rng.random(n) < 0.5
        truth = rng.random(n) < 0.25
        differ = np.where(doubted, 0.2, 0.05)
        which = rng.random(n)
        new, old = which < differ / 2 + gain, (which >= differ / 2 + gain) & (which < differ + gain)
        both = ~new & ~old & (rng.random(n) < 0.85)
        weight = np.where(doubted, 1.0, 4.0)
        estimate, draws = statistics.mcc_difference_draws(
            truth.tolist(),
            (truth == (both | old)).tolist(),
            (truth == (both | new)).tolist(),
            [str(k) for k in range(n)],
            weight.tolist(),
            1_000,
            seed,
        )
        found += estimate.estimate > 0 and statistics.bootstrap_p(draws) < ALPHA
    return round(found / seeds, 4)


def largest_size(n: int, alpha: float) -> float:
    """The chance that a loss of exactly the margin passes a suite of n, at its worst."""
    wins, losses = (x.ravel() for x in np.indices((n + 1, n + 1)))
    there = wins + losses <= n
    wins, losses = wins[there], losses[there]
    passes = noninferiority_p(n, wins, losses, SETTINGS.margin) < alpha
    from scipy import stats

    outcomes = np.stack([wins, losses, n - wins - losses], axis=1)[passes]
    return round(
        max(
            float(stats.multinomial.pmf(outcomes, n, [won, won + 0.05, 0.95 - 2 * won]).sum())
            for won in (0.0, 0.005, 0.02, 0.1, 0.2, 0.4)
        ),
        4,
    )


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000)
    parser.add_argument("--looks", type=int, default=12)
    given = parser.parse_args()
    with spent() as all_of_it:
        wrong = {name: share(world, given.seeds) for name, world in NOTHING_TO_PROMOTE.items()}
        right = {name: share(world, given.seeds) for name, world in BETTER.items()}
        harmed = {name: share(world, given.seeds // 4) for name, world in HARMED.items()}
        sizes = {
            f"{n} labels": {
                name: share(replace(world, n=n), given.seeds // 4)["estimate"]
                for name, world in BETTER.items()
            }
            for n in SIZES
        }
        repeated = ever(given.looks, min(given.seeds, 5_000))
        bootstrap = {
            "as good": by_bootstrap(max(200, given.seeds // 20), 0.0),
            "by 6 points": by_bootstrap(max(100, given.seeds // 80), 0.06),
        }
    with spent() as one_look:
        weigh_evidence(GateMaterial(holdout(0.8, 0.92)), SETTINGS)
    report(
        "gate",
        seeds=given.seeds,
        alpha=round(ALPHA, 4),
        wrongly_promoted=wrong,
        rightly_promoted=right,
        rightly_promoted_by_size=sizes,
        promoted_although_one_app_pays=harmed,
        ever_wrongly_promoted={"looks": given.looks, "teams": repeated},
        weighted_bootstrap=bootstrap,
        suites={
            "least cases": least_cases(SETTINGS.margin, SETTINGS.alpha),
            "largest size at .05": {str(n): largest_size(n, 0.05) for n in (60, 100, 300)},
        },
        weigh_600_items_cpu_s=one_look.cpu_s,
        cpu_s=all_of_it.cpu_s,
    )


if __name__ == "__main__":
    main()
