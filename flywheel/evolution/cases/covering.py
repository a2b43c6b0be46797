"""Every two values of different dimensions together in some case: a pairwise covering array.

Dimensions and what must not stand together in, rows of one value each out. The one idea is that
most faults need two conditions at once and few need three, so that pairs are what a small set of
cases should cover; whether it does is counted again afterwards, and not believed.

Source: Cohen et al., "The AETG System" (1997): of several rows made greedily, the one that covers
the most new pairs. What must not stand together is kept by looking ahead.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flywheel.errors import BadInput

# A value of each dimension, by the dimension's name.
Row = Mapping[str, str]
# Two values of two dimensions, in the order in which the dimensions are declared.
Pair = tuple[tuple[str, str], tuple[str, str]]
# Values by dimension that must not all stand in one row.
Rule = Mapping[str, frozenset[str]]

# Rows made for each that is taken: more make little difference (Cohen et al., figure 2).
_CANDIDATES = 30
_MOST_STEPS = 20_000


@dataclass(frozen=True, slots=True)
class Covering:
    """Rows that cover every pair that can be; `impossible` are those that the rules leave none."""

    rows: tuple[dict[str, str], ...]
    impossible: frozenset[Pair]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the pairs that can be are covered, and which are not, in their order."""

    covered: int
    of: int
    missing: tuple[Pair, ...]


def covering_array(
    dimensions: Mapping[str, Sequence[str]],
    never: Sequence[Rule] = (),
    present: Iterable[Row] = (),
    seed: int = 0,
) -> Covering:
    """Rows that together with those `present` cover every pair that the rules allow.

    The same arguments give the same rows. Raises BadInput where the rules are so many and so
    tangled that whether a row can be is not found out.
    """
    space = _Space(dimensions, never, random.Random(seed))
    open_pairs = dict.fromkeys(_pairs(dimensions))
    for row in present:
        for pair in pairs_in(row, dimensions):
            open_pairs.pop(pair, None)
    rows: list[dict[str, str]] = []
    impossible: set[Pair] = set()
    while open_pairs:
        best = space.best(open_pairs)
        if best is None:
            # The first pair has no row by itself.
            impossible.add(next(iter(open_pairs)))
            del open_pairs[next(iter(open_pairs))]
            continue
        rows.append(best)
        for pair in pairs_in(best, dimensions):
            open_pairs.pop(pair, None)
    return Covering(tuple(rows), frozenset(impossible))


def coverage(
    dimensions: Mapping[str, Sequence[str]], rows: Iterable[Row], impossible: Iterable[Pair] = ()
) -> Coverage:
    """The pairs that rows cover, counted one by one; those that cannot be are none."""
    wanted = dict.fromkeys(_pairs(dimensions))
    for pair in impossible:
        wanted.pop(pair, None)
    of = len(wanted)
    for row in rows:
        for pair in pairs_in(row, dimensions):
            wanted.pop(pair, None)
    return Coverage(of - len(wanted), of, tuple(wanted))


def pairs_in(row: Row, dimensions: Iterable[str]) -> Iterator[Pair]:
    """The pairs of a row, in the order of the dimensions; of those that it has a value of."""
    given = [(name, row[name]) for name in dimensions if name in row]
    yield from itertools.combinations(given, 2)


def is_allowed(row: Row, never: Sequence[Rule]) -> bool:
    """Whether no rule has all of its dimensions in the row, each with a value that it names."""
    return not any(all(row.get(name) in values for name, values in rule.items()) for rule in never)


def _pairs(dimensions: Mapping[str, Sequence[str]]) -> Iterator[Pair]:
    for (one, ones), (other, others) in itertools.combinations(dimensions.items(), 2):
        for value, second in itertools.product(ones, others):
            yield (one, value), (other, second)


class _Space:
    """All rows that there can be."""

    def __init__(
        self, dimensions: Mapping[str, Sequence[str]], never: Sequence[Rule], draw: random.Random
    ):
        self._dimensions, self._never, self._draw = dimensions, never, draw

    def best(self, open_pairs: Mapping[Pair, None]) -> dict[str, str] | None:
        """Of some rows around open pairs, the one that covers the most; None where the first of
        the pairs stands in no row.
        """
        pairs = list(open_pairs)
        starts = [pairs[0], *self._draw.choices(pairs, k=_CANDIDATES - 1)]
        made = [self._around(start, open_pairs) for start in starts]
        if made[0] is None:
            return None
        rows = [row for row in made if row is not None]
        return max(rows, key=lambda row: self._gain(row, open_pairs))

    def _gain(self, row: Row, open_pairs: Mapping[Pair, None]) -> int:
        return sum(pair in open_pairs for pair in pairs_in(row, self._dimensions))

    def _around(self, pair: Pair, open_pairs: Mapping[Pair, None]) -> dict[str, str] | None:
        rest = [name for name in self._dimensions if name not in dict(pair)]
        self._draw.shuffle(rest)
        self._steps = 0
        return self._completed(dict(pair), rest, open_pairs)

    def _completed(
        self, row: dict[str, str], rest: Sequence[str], open_pairs: Mapping[Pair, None]
    ) -> dict[str, str] | None:
        """The row with a value of each of the rest, the likeliest first; None where none can be."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise BadInput(
                "the rules of what never stands together leave too few rows to find; take some out"
            )
        if not is_allowed(row, self._never):
            return None
        if not rest:
            return {name: row[name] for name in self._dimensions}
        name, later = rest[0], rest[1:]
        values = list(self._dimensions[name])
        self._draw.shuffle(values)
        values.sort(key=lambda value: -self._gain(row | {name: value}, open_pairs))
        for value in values:
            if found := self._completed(row | {name: value}, later, open_pairs):
                return found
        return None
