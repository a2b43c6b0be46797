"""Groups of conversations that fail alike, and the rest, which fail each in its own way.

Vectors in, a group of each out. The one idea is that a group which does not come again when a part
of the conversations is left out is no finding, and is not called one.

Source: average linkage (Sokal and Michener 1958); stability of a cluster by Jaccard's index over
subsamples (Hennig 2007, 10.1016/j.csda.2006.11.025).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.statistics import Floats

Ints = NDArray[np.int64]

# Cosine distance, in the mean, at which two groups are no longer one. Of five made-up ways to fail
# among 80 conversations with chatbots, .65 gave groups of one kind each and left all but 6 of the
# others out; .55 broke them into twelve.
APART = 0.65
# A smaller group is an anecdote; and its name must not be made of what one person said.
MIN_TRACES, MIN_SESSIONS = 5, 3
# Below it a cluster is not to be trusted, by Hennig; of groups cut out of an even cloud most are.
MIN_STABILITY = 0.6
_SUBSAMPLES, _KEPT = 10, 0.8
# What belongs to no group.
NO_GROUP = -1


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that fail alike, and how surely they are found again: 1 is always."""

    rows: Ints
    stability: float


def find_groups(vectors: Floats, sessions: Sequence[str], seed: int = 0) -> list[Group]:
    """The groups among unit vectors of shape (n, dim), the largest first."""
    if len(vectors) < MIN_TRACES:
        return []
    distances = np.clip(1 - vectors @ vectors.T, 0, 2)
    codes = np.unique(np.asarray(sessions, str), return_inverse=True)[1]
    found = [rows for rows in _linked(distances, np.arange(len(vectors))) if _is_many(rows, codes)]
    stability = _stability(distances, found, seed)
    groups = [Group(*pair) for pair in zip(found, stability, strict=True)]
    kept = [group for group in groups if group.stability >= MIN_STABILITY]
    return sorted(kept, key=lambda group: (-len(group.rows), int(group.rows[0])))


def middle_of(vectors: Floats) -> Floats:
    """The middle of unit vectors, of unit length."""
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length else mean)


def _is_many(rows: Ints, codes: Ints) -> bool:
    return len(rows) >= MIN_TRACES and len(np.unique(codes[rows])) >= MIN_SESSIONS


def _linked(distances: Floats, rows: Ints) -> list[Ints]:
    """What average linkage joins of these rows, before it would join what is apart."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(rows) < 2:
        return [rows]
    part = distances[np.ix_(rows, rows)]
    joined = linkage(squareform(part, checks=False), "average")
    labels = fcluster(joined, APART, "distance")
    return [rows[labels == label] for label in np.unique(labels)]


def _stability(distances: Floats, groups: Sequence[Ints], seed: int) -> list[float]:
    """Of each group, how alike the nearest group of a subsample is to what is left of it."""
    rng, n = np.random.default_rng(seed), len(distances)
    alike: list[list[float]] = [[] for _ in groups]
    for _ in range(_SUBSAMPLES if groups else 0):
        drawn = np.sort(rng.choice(n, max(2, int(_KEPT * n)), replace=False))
        again = np.full(n, NO_GROUP)
        sizes = []
        for number, rows in enumerate(_linked(distances, drawn)):
            again[rows] = number
            sizes.append(len(rows))
        for own, group in zip(alike, groups, strict=True):
            left = group[again[group] != NO_GROUP]
            if len(left):
                own.append(_nearest(again[left], np.asarray(sizes), len(left)))
    return [float(np.mean(own)) if own else 0.0 for own in alike]


def _nearest(labels: Ints, sizes: Ints, n: int) -> float:
    """Jaccard's index of n rows with the group that has most of it in common."""
    common = np.bincount(labels, minlength=len(sizes))
    return float((common / (n + sizes - common)).max())
