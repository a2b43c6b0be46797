"""The tree of a trace's spans, out of parents that may be missing, late or in a circle.

Spans of one trace in, its root and its sums out. The one idea is that nothing here recurses and
nothing is refused: a span whose parent never came is a root too, a circle is cut at its first span.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flywheel.traces.spans.rows import StoredSpan

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Tree:
    """Spans of one trace; `order` are their places, parents before children, and `children` theirs.

    `root` is the first span without a parent, else the first whose parent is missing; `is_whole`
    says that it has none because it needs none.
    """

    spans: Sequence[StoredSpan]
    root: StoredSpan
    is_whole: bool
    order: list[int]
    children: list[list[int]]

    def below(self, *kinds: str) -> set[str]:
        """Ids of the spans that have one of these kinds above them."""
        found: set[str] = set()
        for place in self.order:
            span = self.spans[place]
            if span.kind in kinds or span.span_id in found:
                found.update(self.spans[child].span_id for child in self.children[place])
        return found

    def total(self, of: Callable[[StoredSpan], T | None]) -> T | None:
        """The sum over the lowest spans that know a value; None where none does.

        What a span says counts only where nothing below it says anything: parents repeat what
        their children used.
        """
        sums: list[T | None] = [None] * len(self.spans)
        tops: T | None = None
        below = [False] * len(self.spans)
        for place in reversed(self.order):
            known = [part for child in self.children[place] if (part := sums[child]) is not None]
            sums[place] = sum(known[1:], known[0]) if known else of(self.spans[place])
            for child in self.children[place]:
                below[child] = True
        for place in self.order:
            value = sums[place]
            if not below[place] and value is not None:
                tops = value if tops is None else tops + value
        return tops


def tree_of(spans: Sequence[StoredSpan]) -> Tree:
    """The tree of at least one span, which are in the order in which they began."""
    places: dict[str, int] = {}
    for place, span in enumerate(spans):
        places.setdefault(span.span_id, place)
    children: list[list[int]] = [[] for _ in spans]
    above = [places.get(span.parent_id) if span.parent_id else None for span in spans]
    starts: list[int] = []
    for place, parent in enumerate(above):
        if parent is None or parent == place:
            starts.append(place)
        else:
            children[parent].append(place)
    order, seen = _walked(starts, children, [False] * len(spans))
    for place in range(len(spans)):
        if not seen[place]:
            # The first of a circle: nothing above it leads to a root.
            parent = above[place]
            assert parent is not None
            children[parent].remove(place)
            more, seen = _walked([place], children, seen)
            order += more
    first = next((place for place in starts if not spans[place].parent_id), None)
    root = first if first is not None else starts[0] if starts else order[0]
    return Tree(spans, spans[root], first is not None, order, children)


def _walked(
    starts: Sequence[int], children: Sequence[list[int]], seen: list[bool]
) -> tuple[list[int], list[bool]]:
    """Places in the order in which they are reached from `starts`, parents first."""
    order: list[int] = []
    waiting = list(reversed(starts))
    while waiting:
        place = waiting.pop()
        if seen[place]:
            continue
        seen[place] = True
        order.append(place)
        waiting += reversed(children[place])
    return order, seen
