"""How large an adapter is, by its data; and how much memory its training takes, before it starts.

Bits that have to be learnt in, a rank out; layers and batches in, megabytes out.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.training.causal.rows import Row

# What a number of an adapter can hold (Schulman et al., "LoRA Without Regret", 2025, after
# Allen-Zhu and Li, 2404.05405).
_BITS_A_NUMBER = 2.0
_RANKS = (8, 256)
# Activations that are kept for the way back, over the numbers that go into and out of the layers
# with an adapter: inputs are shared, and norms and products are kept besides. Measured on SmolLM2.
_KEPT = 1.25
# Logits, their odds, and the gradients of both, some of them in half as many bytes.
_LOGITS = 4


@dataclass(frozen=True, slots=True)
class Memory:
    """What a training holds at most, in megabytes: an estimate."""

    base_mb: float
    adapter_mb: float
    activations_mb: float
    logits_mb: float

    @property
    def total_mb(self) -> float:
        """All of it."""
        return self.base_mb + self.adapter_mb + self.activations_mb + self.logits_mb

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"about {self.total_mb:,.0f} MB of memory: {self.base_mb:,.0f} for the base, "
            f"{self.adapter_mb:,.0f} for the adapter and its optimiser, "
            f"{self.activations_mb + self.logits_mb:,.0f} for a batch"
        )


def numbers_a_rank(layers: Iterable[Any]) -> int:
    """How many numbers an adapter on these layers has for each rank."""
    # A layer's two matrices have one row or column a rank for each of its inputs and outputs.
    return sum(int(sum(layer.weight.shape)) for layer in layers)


def rank_for(bits: float, of_each_rank: int) -> int:
    """The least power of two whose adapter can hold so many bits, within 8 and 256."""
    least, most = _RANKS
    wanted = bits / (_BITS_A_NUMBER * max(1, of_each_rank))
    return min(most, max(least, 1 << math.ceil(math.log2(max(1.0, wanted)))))


def bits_of(loss: float, n_learnt: int) -> float:
    """What so many tokens tell a model that gives them this mean log loss, in nats: in bits."""
    return loss / math.log(2) * n_learnt


def memory_for(
    base_bytes: int, of_each_rank: int, rank: int, parts: Sequence[Sequence[Row]], n_words: int
) -> Memory:
    """The most that a training with these parts of batches holds at once; `n_words` are known."""
    tokens = max((len(part) * max(row.n_tokens for row in part) for part in parts), default=0)
    learnt = max((sum(row.n_learnt for row in part) for part in parts), default=0)
    # Itself, its gradient, two moments and the best so far, in float32.
    adapter = 5 * 4 * rank * of_each_rank
    activations = 4 * _KEPT * tokens * of_each_rank
    logits = 4 * _LOGITS * learnt * n_words
    return Memory(*(round(n / 1e6, 1) for n in (base_bytes, adapter, activations, logits)))
