"""An embedder that needs no model: a text is the sum of its words' random directions."""

import hashlib
from collections.abc import Sequence

import numpy as np

from flywheel.models.embedder import Vectors


class HashingEmbedder:
    """A test double: a text is the sum of its words' random directions; counts what it embeds."""

    def __init__(self, version: str = "hashing-1", dim: int = 384):
        self.version = version
        self.threads = 1
        self.dim = dim
        self.embedded: list[str] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        if not texts:
            return np.empty((0, 0), np.float32)
        sums = [sum(self._direction(word) for word in text.lower().split()) for text in texts]
        return np.stack([v / np.linalg.norm(v) for v in sums]).astype(np.float32)

    def _direction(self, word: str) -> Vectors:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big")
        return np.random.default_rng(seed).normal(size=self.dim)
