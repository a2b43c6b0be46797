"""The cascade: from which probability on a tier's word is the last, and whose turn it is otherwise.

Probabilities of a tier in, who is decided out. The thresholds are certified on labels
(`certifying`), carried by the judge, and followed by whoever scores: what a tier does not decide
goes to the next, and what none decides to people.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flywheel.judge.reactions import Floats
from flywheel.records import Tier

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sets:
    """Which labels are in each trace's set, arrays of shape (n,); both is "ask the next tier".

    Neither is in the set where the trace is unlike those of either class; it is asked on as well.
    """

    has_error: Bools
    has_fine: Bools

    @property
    def is_single(self) -> Bools:
        """Where one label alone is left."""
        return np.not_equal(self.has_error, self.has_fine)

    def shares(self) -> dict[str, float]:
        """The share of traces with each kind of set."""
        error, fine = self.has_error, self.has_fine
        kinds = {"error": error & ~fine, "fine": fine & ~error, "both": error & fine}
        kinds["neither"] = ~error & ~fine
        return {name: float(rows.mean()) if len(rows) else 0.0 for name, rows in kinds.items()}

    def coverage(self, truth: Bools) -> dict[str, float]:
        """Of each class, the share whose set has its label; NaN where there is none of a class."""
        of_class = {"error": self.has_error[truth], "fine": self.has_fine[~truth]}
        return {name: float(x.mean()) if len(x) else float("nan") for name, x in of_class.items()}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A tier decides `error` from `error_from` up and `fine` to `fine_to` down; None is never.

    `n` labels of traces that earlier tiers leave certified it; of those it decides `n_error` and
    `n_fine`. An `agreement_low` is the lower bound of the agreement with people on that side. The
    bounds of all sides and tiers of a cascade hold together at its `1 - alpha`. `share` is of all
    traces. The conformal set has `error` from `set_error_from` up, `fine` to `set_fine_to` down.
    """

    tier: Tier
    error_from: float | None
    fine_to: float | None
    target: float
    n: int = 0
    agreement_low_error: float | None = None
    agreement_low_fine: float | None = None
    n_error: int = 0
    n_fine: int = 0
    share: float = 0.0
    why: str = ""
    set_error_from: float = 0.0
    set_fine_to: float = 1.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is certified, so that the tier decides nothing."""
        return self.error_from is None and self.fine_to is None

    def decides(self, probability: Floats) -> Bools:
        """Which probabilities are past a threshold, of the shape of `probability`."""
        decided = np.zeros(np.shape(probability), bool)
        if self.error_from is not None:
            decided |= probability >= self.error_from
        if self.fine_to is not None:
            decided |= probability <= self.fine_to
        return decided

    def sets(self, probability: Floats) -> Sets:
        """The conformal sets of these probabilities."""
        return Sets(probability >= self.set_error_from, probability <= self.set_fine_to)


@dataclass(frozen=True, slots=True)
class Cascade:
    """The thresholds of the tiers in their order; a tier that is left out is not asked.

    Together wrong with probability `alpha` at most: that is the chance that some decided side
    agrees with people on less than `target` of its traces.
    """

    thresholds: Mapping[Tier, Thresholds] = field(default_factory=lambda: MappingProxyType({}))
    target: float = 0.9
    alpha: float = 0.05

    @property
    def is_empty(self) -> bool:
        """Whether no tier decides anything."""
        return all(one.is_empty for one in self.thresholds.values())

    def decides(self, tier: Tier, probability: Floats) -> Bools:
        """Which probabilities the tier decides by itself; none where it has no threshold."""
        thresholds = self.thresholds.get(tier)
        if thresholds is None:
            return np.zeros(np.shape(probability), bool)
        return thresholds.decides(probability)

    def as_dict(self) -> dict[str, Any]:
        """As values that JSON can hold; `cascade_of` reads them back."""
        return {
            "target": self.target,
            "alpha": self.alpha,
            "thresholds": [asdict(one) for one in self.thresholds.values()],
        }


def thresholds_of(values: Mapping[str, Any]) -> Thresholds:
    """The thresholds that were written by `dataclasses.asdict`."""
    return Thresholds(**values)


def cascade_of(values: Mapping[str, Any]) -> Cascade:
    """The cascade that `Cascade.as_dict` wrote."""
    found = [thresholds_of(one) for one in values["thresholds"]]
    return Cascade({one.tier: one for one in found}, values["target"], values["alpha"])


# What a person wants to see of thresholds, and the rows of `certified_rows` under it.
CERTIFIED = ("tier", "decides", "from", "agreement at least", "labels decided", "of", "share")


def certified_rows(cascade: Cascade | None) -> list[tuple[str, ...]]:
    """What is certified, a row a side of a tier, as text; none where nothing is."""
    rows: list[tuple[str, ...]] = []
    for one in cascade.thresholds.values() if cascade else ():
        sides = (
            ("error", "p >=", one.error_from, one.agreement_low_error, one.n_error),
            ("fine", "p <=", one.fine_to, one.agreement_low_fine, one.n_fine),
        )
        for side, sign, threshold, low, n in sides:
            if threshold is not None and low is not None:
                where, bound, share = f"{sign} {threshold:.3f}", f"{low:.3f}", f"{one.share:.1%}"
                rows.append((one.tier, side, where, bound, str(n), str(one.n), share))
    return rows
