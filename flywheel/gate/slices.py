"""Slices of the holdout: application, reason code, language and length, and who is worse off there.

Items in, a `Slice` for each value of each kind out; the one idea is that a challenger that is
better in the mean may still harm some, and that looking at many slices finds harm by chance: so
their p-values are adjusted for their number, all kinds together.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from flywheel import statistics
from flywheel.gate.items import GateItem, discordant
from flywheel.records import Interval
from flywheel.statistics import Floats
from flywheel.statistics.paired import success_difference_draws

SliceKind = Literal["app", "reason_code", "language", "length"]
DRAWS = 2_000
# Languages of fewer items are one slice together: of short texts some are always misread.
_OF_LANGUAGE = 10
# Below this, thirds of the holdout by length are too small to be told apart.
_OF_LENGTHS = 30


@dataclass(frozen=True, slots=True)
class Slice:
    """The two sides on one part of the holdout; `harm_p` is None where too little differs.

    `wins` and `losses` count sessions; `difference` is of the shares of items that are right,
    weighted, challenger minus champion. `harm_p` is one-sided, and adjusted for all slices.
    """

    kind: SliceKind
    name: str
    n: int
    positives: int
    wins: int
    losses: int
    difference: Interval
    harm_p: float | None

    @property
    def title(self) -> str:
        """Kind and name, in words."""
        names = {"app": "app", "reason_code": "reason code", "language": "language"}
        return f"{names.get(self.kind, 'length')} {self.name!r}"


def slices_of(items: Sequence[GateItem], weight: Floats, min_discordant: int) -> tuple[Slice, ...]:
    """Every slice, those of one kind together; a kind with one value alone is the whole holdout.

    Where at least `min_discordant` sessions of the uniform audit differ, exact McNemar on it;
    elsewhere, where so many differ at all, the weighted bootstrap; elsewhere nothing is tested.
    """
    found = [
        _slice(kind, name, [items[k] for k in rows], weight[rows], min_discordant)
        for kind in get_args(SliceKind)
        for name, rows in _parts(kind, items)
    ]
    tested = [one.harm_p for one in found if one.harm_p is not None]
    adjusted = iter(statistics.holm(tested))
    return tuple(s if s.harm_p is None else replace(s, harm_p=next(adjusted)) for s in found)


def _slice(
    kind: SliceKind, name: str, inside: Sequence[GateItem], weight: Floats, min_discordant: int
) -> Slice:
    wins, losses = discordant(inside)
    audit_wins, audit_losses = discordant(i for i in inside if i.is_audit)
    difference, draws = success_difference_draws(
        [i.champion_right for i in inside],
        [i.challenger_right for i in inside],
        [i.session_id for i in inside],
        weight.tolist(),
        DRAWS,
    )
    p = None
    if audit_wins + audit_losses >= min_discordant:
        p = statistics.mcnemar_exact(audit_losses, audit_wins, "greater")
    elif wins + losses >= min_discordant:
        p = statistics.bootstrap_p(draws, "less")
    positives = sum(i.truth for i in inside)
    return Slice(kind, name, len(inside), positives, wins, losses, difference, p)


def _parts(kind: SliceKind, items: Sequence[GateItem]) -> Iterator[tuple[str, list[int]]]:
    """The names of a kind's slices and the places of their items; none where there is one alone."""
    name_of = _NAMING[kind](items)
    rows: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        if name := name_of(item):
            rows.setdefault(name, []).append(place)
    first = {name: items[places[0]].n_chars for name, places in rows.items()}
    if len(rows) > 1:
        for name in sorted(rows, key=lambda name: (kind == "length" and first[name], name)):
            yield name, rows[name]


Naming = Callable[[Sequence[GateItem]], Callable[[GateItem], str | None]]


def _by_language(items: Sequence[GateItem]) -> Callable[[GateItem], str | None]:
    counted = Counter(item.language for item in items)
    often = {code for code, n in counted.items() if n >= _OF_LANGUAGE}
    return lambda item: item.language if item.language in often or not item.language else "other"


def _by_length(items: Sequence[GateItem]) -> Callable[[GateItem], str | None]:
    """Thirds of the holdout by its own lengths, which say nothing of who is right."""
    lengths = [item.n_chars for item in items]
    if len(items) < _OF_LENGTHS or not all(lengths):
        return lambda _: None
    low, high = (int(edge) for edge in np.quantile(lengths, [1 / 3, 2 / 3]))

    def name_of(item: GateItem) -> str:
        if item.n_chars <= low:
            return f"up to {low} characters"
        return f"{low + 1} to {high} characters" if item.n_chars <= high else f"over {high}"

    return name_of


_NAMING: dict[SliceKind, Naming] = {
    "app": lambda _: lambda item: item.app,
    "reason_code": lambda _: lambda item: item.reason_code,
    "language": _by_language,
    "length": _by_length,
}
