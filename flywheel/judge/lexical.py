"""Tier 1, lexical: hashed words and cheap numbers under a linear model; it reads every trace.

Reactions in, logits out, tens of thousands a second. Hard to beat at home, weak on an application
that it was not trained on. Before there are labels it stands on the prototype turns alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from sklearn.linear_model import LogisticRegression

from flywheel.judge.features import (
    OVERLAP_WITH_REQUEST,
    WIDTH,
    RawFeatures,
    Scale,
    fit_scale,
    raw_features,
)
from flywheel.judge.judge import array_fingerprint
from flywheel.judge.prototypes import error_logit, prototypes, prototypes_version, weigh_repeats
from flywheel.judge.reactions import Floats, Pooling, Reaction
from flywheel.records import REASON_CODES, Tier

# Weak regularisation: 110 turns, each typical of its code.
_PROTOTYPE_C = 10.0


@dataclass(frozen=True, slots=True)
class LexicalPrototypes:
    """The lexical tier before there are labels."""

    tier: Tier = "lexical"
    pooling: Pooling = "worst"

    @property
    def version(self) -> str:
        """Named by the prototypes."""
        return f"prototypes-{prototypes_version()}"

    def read(self, reactions: Sequence[Reaction]) -> tuple[Floats, Floats]:
        """Logits of shape (n,) and code scores of shape (n, 8)."""
        # Prototypes are single turns: the answers, most of the text, have no say.
        bare = [Reaction(r.conversation, r.position, r.text, "", r.request) for r in reactions]
        codes = _code_scores(raw_features(bare))
        return error_logit(codes), codes


@dataclass(frozen=True, slots=True)
class LexicalModel:
    """The lexical tier, fitted."""

    scale: Scale
    coef: Floats
    intercept: float
    pooling: Pooling
    version: str
    tier: Tier = field(default="lexical", init=False)

    def read(self, reactions: Sequence[Reaction]) -> tuple[Floats, Floats]:
        """Logits of shape (n,) and code scores of shape (n, 8)."""
        raw = raw_features(reactions)
        return self.scale.logits(raw, self.coef, self.intercept), _code_scores(raw)


def lexical_model(scale: Scale, coef: Floats, intercept: float, pooling: Pooling) -> LexicalModel:
    """A lexical tier under the version that its numbers give it."""
    version = array_fingerprint(
        [scale.idf, scale.mean, scale.deviation, coef, np.array([intercept])], pooling
    )
    return LexicalModel(scale, coef, intercept, pooling, f"lexical-{version}")


def _code_scores(raw: RawFeatures) -> Floats:
    idf, coef, intercept = _prototype_model()
    length = np.maximum(np.sqrt(raw.grams @ idf**2), 1e-9)
    by_text = (raw.grams @ (idf[:, None] * coef)) / length[:, None] + intercept
    scores = by_text[raw.turns[:, 0]]
    top = scores.max(axis=1, keepdims=True)
    logs: Floats = scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))
    return weigh_repeats(logs, raw.numbers[:, OVERLAP_WITH_REQUEST])


@cache
def _prototype_model() -> tuple[Floats, Floats, Floats]:
    """Word weights of the prototypes: idf, coefficients of shape (WIDTH, 8), intercepts."""
    raw = raw_features([Reaction(0, 0, text, "", "") for _, text in prototypes()])
    scale = fit_scale(raw)
    codes = [REASON_CODES.index(code) for code, _ in prototypes()]
    model = LogisticRegression(C=_PROTOTYPE_C, max_iter=500)
    model.fit(scale.matrix(raw)[:, :WIDTH], codes)
    return scale.idf[0], np.asarray(model.coef_.T, float), np.asarray(model.intercept_, float)
