"""Which examples to show: similar, recent, and such that the judge got them wrong.

Candidates in, their order out; nothing but numpy. After Shankar, "Data Flywheels for LLM
Applications" (2024): three wishes in one score, then maximal marginal relevance (Carbonell and
Goldstein 1998), so that five examples are not one example five times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flywheel.models.embedder import Vectors
from flywheel.records import Hit
from flywheel.settings import RetrievalSettings

# What the score is made of: all of it, the cosine alone, the cosine with the age; or chance.
Policy = Literal["full", "similarity", "recency", "random"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Examples to choose from, one entry each; `vectors` has shape (n, dim), of unit length.

    `closeness` is that of `places`, in [0, 1]: 0 for all where no node asks.
    """

    ids: Integers
    similarity: Floats
    age_days: Floats
    disagreement: Bools
    perceived_error: Bools
    vectors: Vectors
    closeness: Floats

    def take(self, where: Integers | Bools) -> "Candidates":
        """These entries alone, in this order."""
        return Candidates(
            self.ids[where],
            self.similarity[where],
            self.age_days[where],
            self.disagreement[where],
            self.perceived_error[where],
            self.vectors[where],
            self.closeness[where],
        )


def score_examples(
    candidates: Candidates, settings: RetrievalSettings, policy: Policy = "full"
) -> Floats:
    """max(0, cos) * 2^(-age / half_life) * (1 + gamma * disagreement) * node_boost^closeness.

    In [0, (1 + gamma) * node_boost]; with a boost of 1, or where no node asks, the last factor
    is 1.
    """
    score = np.maximum(0.0, candidates.similarity)
    if policy in ("recency", "full"):
        score = score * np.exp2(-candidates.age_days / settings.half_life_days)
    if policy == "full":
        score = score * (1.0 + settings.gamma * candidates.disagreement)
        score = score * settings.node_boost**candidates.closeness
    return score


def rank_examples(
    candidates: Candidates, settings: RetrievalSettings, policy: Policy = "full"
) -> list[int]:
    """Indices of at most `k` candidates, best first, both classes among them where both are there.

    Candidates without a positive similarity are left out. Maximal marginal relevance weighs a
    score, as a share of the best one, against the cosine to what is chosen already, so that old
    examples are not all equally worthless. Ties keep the newer example.
    """
    order = np.lexsort((candidates.ids, candidates.age_days))
    order = order[candidates.similarity[order] > 0]
    sorted_ = candidates.take(order)
    score = score_examples(sorted_, settings, policy)
    # Half-lives long past underflow to 0; then all are equal, and the newer come first.
    relevance = score / score.max() if len(score) and score.max() > 0 else score
    chosen = _diverse(sorted_, relevance, settings.k, settings.diversity)
    return [int(order[i]) for i in chosen]


def nearest_label_feature(hits: Sequence[Hit]) -> float:
    """The label of the examples found, weighted by similarity, in [0, 1]; 0 without any."""
    weights = [max(0.0, hit.similarity) for hit in hits]
    total = sum(weights)
    if total <= 0:
        return 0.0
    return sum(w for w, hit in zip(weights, hits, strict=True) if hit.perceived_error) / total


def _diverse(candidates: Candidates, relevance: Floats, k: int, weight: float) -> list[int]:
    is_left = np.ones(len(relevance), bool)
    closeness = np.zeros(len(relevance))
    chosen: list[int] = []
    while len(chosen) < k and is_left.any():
        allowed = is_left
        if chosen and len(chosen) == k - 1:
            allowed = _of_missing_class(candidates.perceived_error, chosen, is_left)
        value = weight * relevance - (1.0 - weight) * closeness
        best = int(np.argmax(np.where(allowed, value, -np.inf)))
        chosen.append(best)
        is_left[best] = False
        # Not `@`: on a busy machine the threads that it starts cost more than they save.
        products = np.einsum("nd,d->n", candidates.vectors, candidates.vectors[best])
        closeness = np.maximum(closeness, products)
    return chosen


def _of_missing_class(is_error: Bools, chosen: Sequence[int], is_left: Bools) -> Bools:
    present = is_error[list(chosen)]
    if present.any() and not present.all():
        return is_left
    other = is_left & (is_error != present[0])
    return other if other.any() else is_left
