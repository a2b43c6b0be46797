"""Tiers 2 and 3, encoder: embeddings of three turns, frozen and with a LoRA adapter.

Reactions in, logits out, tens a second. What goes in matters more than how it is tuned: the user's
turn, the answer and the request before it are embedded apart, and a linear model sees them, their
products and the lexical tier's features side by side.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flywheel.judge.features import RawFeatures, Scale, Sparse, raw_features
from flywheel.judge.judge import array_fingerprint
from flywheel.judge.prototypes import PrototypeCoder, error_logit, prototypes_version
from flywheel.judge.reactions import Floats, Pooling, Reaction
from flywheel.models.embedder import Embedder, Vectors
from flywheel.models.engine import Job
from flywheel.records import Tier

# Products of unit vectors are small beside the vectors; by this they count alike.
PRODUCT_SCALE = 20.0
COSINE_WEIGHT = 0.2
_CLIP = 4.0
# Reactions whose dense features are in memory at once: 3,072 doubles each.
_BATCH = 2048
# What the prototypes are held against, in the order in which it is embedded.
_SIDES = ("text", "request")

Views = NDArray[np.float32]


class TurnEncoder(Protocol):
    """What turns texts into unit vectors."""

    @property
    def version(self) -> str:
        """Names the weights."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 of shape (n_texts, dim)."""


def views_of(encoder: TurnEncoder, reactions: Sequence[Reaction]) -> Views:
    """Embeddings of the user's turn, the answer and the request: shape (n, 3, dim)."""
    return encoder.encode(_texts_of(reactions)).reshape(len(reactions), 3, -1)


def plan_views(embedder: Embedder, groups: Iterable[Sequence[Reaction]]) -> Iterator[list[Job]]:
    """For each group, what `views_of` of one group after the other will have read."""
    return embedder.plan(_texts_of(group) for group in groups)


def _texts_of(reactions: Sequence[Reaction]) -> list[str]:
    return [text for r in reactions for text in (r.text, r.answer, r.request)]


def cosines(views: Views) -> Floats:
    """How alike the three turns are, pair by pair: shape (n, 3)."""
    user, answer, request = views[:, 0], views[:, 1], views[:, 2]
    pairs = ((user, answer), (user, request), (answer, request))
    return np.stack([np.einsum("nd,nd->n", a, b) for a, b in pairs], axis=1).astype(np.float64)


def dense_features(views: Views) -> Floats:
    """The embeddings, their scaled products and two absolute differences: shape (n, 8 * dim)."""
    user, answer, request = (views[:, k].astype(np.float64) for k in range(3))
    return np.hstack(
        [
            user,
            answer,
            request,
            PRODUCT_SCALE * user * answer,
            PRODUCT_SCALE * user * request,
            PRODUCT_SCALE * answer * request,
            np.abs(user - answer),
            np.abs(user - request),
        ]
    )


@dataclass(frozen=True, slots=True)
class EncoderPrototypes:
    """The encoder tier before there are labels: likeness to the prototype turns."""

    embedder: Embedder
    tier: Tier = field(default="frozen", init=False)
    pooling: Pooling = field(default="worst", init=False)

    @property
    def version(self) -> str:
        """Named by the prototypes and the embedder's weights."""
        return f"prototypes-{prototypes_version()}-{self.embedder.version}"

    def read(self, reactions: Sequence[Reaction]) -> tuple[Floats, Floats]:
        """Logits of shape (n,) and code scores of shape (n, 8)."""
        user, request = (
            self.embedder.encode([getattr(r, name) for r in reactions]) for name in _SIDES
        )
        codes = PrototypeCoder(self.embedder).code_scores(user, request)
        return error_logit(codes), codes

    def reading(self, groups: Iterable[Sequence[Reaction]]) -> AbstractContextManager[None]:
        """Within it these groups will be read, one after the other."""
        parts = ([getattr(r, name) for r in group] for group in groups for name in _SIDES)
        jobs = (job for part in self.embedder.plan(parts) for job in part)
        return self.embedder.engine.reading(jobs)


@dataclass(frozen=True, slots=True)
class PairScale:
    """Means and deviations of the cosines, beside the lexical scale."""

    lexical: Scale
    mean: Floats
    deviation: Floats

    def cosines(self, views: Views) -> Floats:
        """The cosines as weighted z-scores, clipped at four deviations."""
        z = np.clip((cosines(views) - self.mean) / self.deviation, -_CLIP, _CLIP)
        return np.asarray(z * COSINE_WEIGHT, np.float64)

    def matrix(self, views: Views, raw: RawFeatures) -> Sparse:
        """All features of a few rows, sparse: dense ones, cosines, words, numbers."""
        import scipy.sparse as sp

        dense = np.hstack([dense_features(views), self.cosines(views)])
        return sp.hstack([sp.csr_matrix(dense), self.lexical.matrix(raw)]).tocsr()


def fit_pair_scale(lexical: Scale, views: Views) -> PairScale:
    """The scale of these rows."""
    found = cosines(views)
    return PairScale(lexical, found.mean(axis=0), found.std(axis=0) + 1e-6)


@dataclass(frozen=True, slots=True)
class FrozenModel:
    """The encoder tier, fitted on frozen embeddings."""

    embedder: Embedder
    scale: PairScale
    coef: Floats
    intercept: float
    pooling: Pooling
    version: str
    tier: Tier = field(default="frozen", init=False)

    def read(self, reactions: Sequence[Reaction]) -> tuple[Floats, Floats]:
        """Logits of shape (n,) and code scores of shape (n, 8)."""
        views = views_of(self.embedder, reactions)
        codes = PrototypeCoder(self.embedder).code_scores(views[:, 0], views[:, 2])
        return self.logits(views, raw_features(reactions)), codes

    def reading(self, groups: Iterable[Sequence[Reaction]]) -> AbstractContextManager[None]:
        """Within it these groups will be read, one after the other."""
        jobs = (job for part in plan_views(self.embedder, groups) for job in part)
        return self.embedder.engine.reading(jobs)

    def logits(self, views: Views, raw: RawFeatures) -> Floats:
        """Logits from embeddings that are there already, shape (n,)."""
        split = 8 * views.shape[2] + 3
        total = self.scale.lexical.logits(raw, self.coef[split:], self.intercept)
        for start in range(0, len(views), _BATCH):
            rows = slice(start, start + _BATCH)
            total[rows] += dense_features(views[rows]) @ self.coef[: split - 3]
        return total + self.scale.cosines(views) @ self.coef[split - 3 : split]


def frozen_model(
    embedder: Embedder, scale: PairScale, coef: Floats, intercept: float, pooling: Pooling
) -> FrozenModel:
    """A frozen tier under the version that its numbers and its embedder give it."""
    words = scale.lexical
    version = array_fingerprint(
        [
            words.idf,
            words.mean,
            words.deviation,
            scale.mean,
            scale.deviation,
            coef,
            np.array([intercept]),
        ],
        pooling,
        embedder.version,
    )
    return FrozenModel(embedder, scale, coef, intercept, pooling, f"frozen-{version}")
