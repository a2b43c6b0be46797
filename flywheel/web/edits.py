"""What two sequences have in common, with a bound on the work.

Sequences in, matching stretches out. The one idea is Myers' greedy search (doi:10.1007/BF01840446):
it takes as many steps as there are differences, squared, and so can be stopped where there are too
many. The standard library's difflib takes 20 s for 1,000 lines that were made for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

# Where it begins in the first sequence, and in the second, and its length.
Match: TypeAlias = tuple[int, int, int]


@dataclass(slots=True)
class Budget:
    """Steps that may still be taken."""

    steps: int


def matches(before: Sequence[str], after: Sequence[str], budget: Budget) -> list[Match]:
    """Matching stretches of both, in order, the last one empty and at their ends.

    What the beginnings and the ends have in common is always found, of the rest nothing where the
    budget does not suffice.
    """
    least = min(len(before), len(after))
    head = next((i for i in range(least) if before[i] != after[i]), least)
    tails = range(1, least - head + 1)
    tail = next((i - 1 for i in tails if before[-i] != after[-i]), least - head)
    n_before, n_after = len(before) - tail, len(after) - tail
    middle = _search(before[head:n_before], after[head:n_after], budget)
    found = [(0, 0, head), *((i + head, j + head, n) for i, j, n in middle)]
    found += [(n_before, n_after, tail), (len(before), len(after), 0)]
    return [match for match in found[:-1] if match[2]] + found[-1:]


def _search(before: Sequence[str], after: Sequence[str], budget: Budget) -> list[Match]:
    """Matches on a shortest way from one to the other, or none where it is too long."""
    n, m = len(before), len(after)
    furthest = {1: 0}
    history: list[dict[int, int]] = []
    for d in range(n + m + 1 if n and m else 0):
        history.append(furthest.copy())
        # A diagonal outside the two leads nowhere.
        for k in range(-d + 2 * max(0, d - m), d - 2 * max(0, d - n) + 1, 2):
            is_down = k == -d or (k != d and furthest.get(k - 1, -1) < furthest.get(k + 1, -1))
            x = start = furthest[k + 1] if is_down else furthest[k - 1] + 1
            while x < n and x - k < m and before[x] == after[x - k]:
                x += 1
            furthest[k] = x
            budget.steps -= 1 + x - start
            if x >= n and x - k >= m:
                return _way_back(history, n, m)
        # The copies that the way back needs are work, and memory, too.
        budget.steps -= d // 8
        if budget.steps < 0:
            break
    return []


def _way_back(history: Sequence[dict[int, int]], x: int, y: int) -> list[Match]:
    found: list[Match] = []
    for d in range(len(history) - 1, -1, -1):
        furthest, k = history[d], x - y
        is_down = k == -d or (k != d and furthest.get(k - 1, -1) < furthest.get(k + 1, -1))
        before_k = k + 1 if is_down else k - 1
        start = furthest[before_k] + (0 if is_down else 1)
        if x > start:
            found.append((start, start - k, x - start))
        x, y = furthest[before_k], furthest[before_k] - before_k
    return found[::-1]
