"""What was measured of a proposal, in one shape that a page, a command and the log can show.

Figures in, JSON in the ledger, and the same figures out. Every estimate has its interval and says
of how many.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from flywheel.records import Interval

# How a figure is written: a share in per cent, a number as it is, a count without decimals.
Unit = Literal["share", "number", "count", "usd", "ms"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure, before the change and after it, each with its 95 % interval where it has one.

    `n` is of how many; `before` is None where there was nothing before.
    """

    name: str
    after: Interval | None
    before: Interval | None = None
    n: int = 0
    unit: Unit = "share"


@dataclass(frozen=True, slots=True)
class Check:
    """Something that holds or does not, with a sentence."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured of a proposal before anybody saw it."""

    sentence: str
    figures: tuple[Figure, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return asdict(self)


def evidence_of(stored: Mapping[str, Any]) -> Evidence:
    """The evidence that `as_json` wrote."""
    figures = [
        Figure(
            one["name"], _interval(one["after"]), _interval(one["before"]), one["n"], one["unit"]
        )
        for one in stored["figures"]
    ]
    checks = [Check(**one) for one in stored["checks"]]
    return Evidence(stored["sentence"], tuple(figures), tuple(checks), tuple(stored["notes"]))


def _interval(stored: Mapping[str, float] | None) -> Interval | None:
    return None if stored is None else Interval(**stored)
