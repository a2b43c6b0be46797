"""The cascade: does what is certified hold on traces that certified nothing, and what is decided.

    python -m tests.bench.bench_cascade [N]

Prints one JSON line a label set and way of certifying: N (200) resplits of the sessions into
halves, one that certifies, with its own calibration, and one that is looked at; the target is .90
at alpha .05. `violations` is the share of resplits in which the upper Clopper-Pearson bound (95 %)
of the agreement of all that is decided lies under the target: .05 at most. The probabilities are
out of fold by session, computed once, of the tiers that the label files in `FLYWHEEL_BENCH_DATA`
can fit: lexical and frozen. Beside it: one trace a session, which needs no design effect and costs
labels; the classic mistake, the furthest threshold that looks good enough; conformal sets, with
their coverage of each class.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flywheel.judge.calibration import fit_calibration
from flywheel.judge.cascade import Cascade, Thresholds
from flywheel.judge.certifying import DEFAULT_GOAL as GOAL
from flywheel.judge.certifying import GRID, certify
from flywheel.judge.conformal import conformal_rule
from flywheel.judge.encoder import fit_pair_scale, frozen_model, views_of
from flywheel.judge.features import fit_scale, raw_features
from flywheel.judge.people import People, people_of
from flywheel.models.embedder import BUNDLED, load_embedder
from flywheel.records import LabelledConversation, Tier
from flywheel.statistics import clopper_pearson
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import read_conversations
from flywheel.training.fit import FROZEN_CS, LEXICAL_CS
from flywheel.training.selection import choose, material_of
from tests.bench.machine import report, spent

SETS = ("mwoz", "dbdc3")
SEED = 0
CONFORMAL_ALPHA = 0.1

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Certifier = Callable[[Mapping[Tier, Floats], People], Cascade | None]


@dataclass
class LabelSet:
    """A label set with the logits that each tier gives out of fold."""

    name: str
    logits: dict[Tier, Floats]
    truth: Bools
    groups: NDArray[np.str_]

    def half(self, rng: np.random.Generator) -> Bools:
        """The rows of a random half of the sessions."""
        sessions = np.unique(self.groups)
        return np.isin(self.groups, rng.permutation(sessions)[: len(sessions) // 2])

    def probabilities(self, tier: Tier, fit_on: Bools) -> Floats:
        """Of all rows, under the calibration of some."""
        logits, none = self.logits[tier], np.zeros(len(self.truth))
        groups = self.groups[fit_on].tolist()
        fitted = fit_calibration(logits[fit_on], none[fit_on], self.truth[fit_on], groups)
        return fitted.probability(logits, none)


def read(folder: Path, name: str) -> LabelSet:
    """The labels of a set, all 880, and what both tiers make of them out of fold."""
    rows: list[LabelledConversation] = []
    for part in ("train", "holdout"):
        rows += read_conversations(folder / f"{name}_{part}.jsonl", InputLevers()).labelled
    material, embedder = material_of(rows), load_embedder(BUNDLED, 1)
    raw, views = raw_features(material.reactions), views_of(embedder, material.reactions)
    taught = raw.take(material.taught)
    words = fit_scale(taught)
    pairs = fit_pair_scale(words, views[material.taught])
    lexical = choose(
        material,
        words.matrix(taught),
        LEXICAL_CS,
        lambda coef, intercept, at: words.logits(raw.take(at), coef, intercept),
        SEED,
    )
    frozen = choose(
        material,
        pairs.matrix(views[material.taught], taught),
        FROZEN_CS,
        lambda coef, intercept, at: frozen_model(embedder, pairs, coef, intercept, "last").logits(
            views[at], raw.take(at)
        ),
        SEED,
    )
    logits: dict[Tier, Floats] = {
        "lexical": lexical.pooled(material),
        "frozen": frozen.pooled(material),
    }
    return LabelSet(name, logits, material.truth, np.array(material.groups))


def walk(tiers: Mapping[Tier, Floats], people: People) -> Cascade | None:
    """As the product certifies."""
    return certify(tiers, people, GOAL).cascade


def walk_on_one_a_session(tiers: Mapping[Tier, Floats], people: People) -> Cascade | None:
    """On the first trace of each session, as the files have them."""
    first = np.zeros(len(people), bool)
    first[np.unique(people.groups, return_index=True)[1]] = True
    return certify({t: p[first] for t, p in tiers.items()}, people.take(first), GOAL).cascade


def furthest(tiers: Mapping[Tier, Floats], people: People) -> Cascade:
    """The classic mistake: of every tier and side the furthest threshold that looks good enough."""
    found: dict[Tier, Thresholds] = {}
    for tier, p in tiers.items():
        error = [1 - t for t in GRID if _looks_good(people.truth[p >= 1 - t])]
        fine = [t for t in GRID if _looks_good(~people.truth[p <= t])]
        found[tier] = Thresholds(tier, min(error, default=None), max(fine, default=None), 0.9)
    return Cascade(found)


def _looks_good(agrees: Bools) -> bool:
    return len(agrees) > 0 and float(agrees.mean()) >= GOAL.target


def measure(
    labels: LabelSet, name: str, certifier: Certifier, tiers: Sequence[Tier], n: int
) -> None:
    """Certify on one half of the sessions and look at the other, `n` times."""
    rng, rows = np.random.default_rng(SEED), []
    with spent() as cost:
        for _ in range(n):
            half = labels.half(rng)
            p = {tier: labels.probabilities(tier, half) for tier in tiers}
            people = people_of(labels.truth[half], labels.groups[half].tolist())
            cascade = certifier({tier: of[half] for tier, of in p.items()}, people)
            rows.append(_look(labels, ~half, p, cascade or Cascade()))
    violations, agreements, shares = (np.array(column) for column in zip(*rows, strict=True))
    decided = shares.sum(axis=1)
    report(
        "cascade",
        labels=labels.name,
        certified_by=name,
        resplits=n,
        labels_a_half=len(labels.truth) // 2,
        target=GOAL.target,
        violations=round(float(violations.mean()), 4),
        decided=round(float(decided.mean()), 3),
        decided_p10_p90=np.round(np.quantile(decided, [0.1, 0.9]), 3).tolist(),
        nothing_decided=round(float((decided == 0).mean()), 3),
        decided_by={t: round(float(shares[:, i].mean()), 3) for i, t in enumerate(tiers)},
        tier_decides_in={
            t: round(float((shares[:, i] > 0).mean()), 3) for i, t in enumerate(tiers)
        },
        agreement=round(float(np.nansum(agreements * decided) / decided.sum()), 4),
        agreement_under_target=round(float((agreements < GOAL.target).mean()), 3),
        **vars(cost),
    )


def _look(
    labels: LabelSet, held: Bools, p: Mapping[Tier, Floats], cascade: Cascade
) -> tuple[bool, float, list[float]]:
    """Whether the held half refutes the target, how far it agrees, what share each tier decides."""
    left, agree, n, shares = held.copy(), 0, 0, []
    for tier, probability in p.items():
        decided = left & cascade.decides(tier, probability)
        left &= ~decided
        agree += int(((probability >= 0.5) == labels.truth)[decided].sum())
        n += int(decided.sum())
        shares.append(float(decided.sum() / held.sum()))
    upper = clopper_pearson(agree, n).high if n else 1.0
    return upper < GOAL.target, agree / n if n else float("nan"), shares


def measure_sets(labels: LabelSet, tier: Tier, n: int) -> None:
    """Conformal sets of one half by the labels of the other, `n` times."""
    rng, covered, kinds = np.random.default_rng(SEED), [], []
    for _ in range(n):
        half = labels.half(rng)
        p = labels.probabilities(tier, half)
        people = people_of(labels.truth[half], labels.groups[half].tolist())
        sets = conformal_rule(p[half], people, CONFORMAL_ALPHA).sets(p[~half])
        covered.append(list(sets.coverage(labels.truth[~half]).values()))
        kinds.append(list(sets.shares().values()))
    report(
        "conformal",
        labels=labels.name,
        tier=tier,
        resplits=n,
        wanted=1 - CONFORMAL_ALPHA,
        coverage=dict(zip(("error", "fine"), np.mean(covered, axis=0).round(3), strict=True)),
        sets=dict(
            zip(("error", "fine", "both", "neither"), np.mean(kinds, axis=0).round(3), strict=True)
        ),
    )


def main() -> None:
    """Measure each set that there is."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    folder = Path(os.environ.get("FLYWHEEL_BENCH_DATA", "")) / "labels"
    if not folder.is_dir():
        sys.exit("set FLYWHEEL_BENCH_DATA to a folder that has labels/mwoz_train.jsonl")
    for name in SETS:
        labels = read(folder, name)
        measure(labels, "walk", walk, ("lexical", "frozen"), n)
        measure(labels, "walk, frozen alone", walk, ("frozen",), n)
        measure(labels, "walk, one a session", walk_on_one_a_session, ("lexical", "frozen"), n)
        measure(labels, "furthest that looks good", furthest, ("lexical", "frozen"), n)
        for tier in ("lexical", "frozen"):
            measure_sets(labels, tier, n)


if __name__ == "__main__":
    main()
