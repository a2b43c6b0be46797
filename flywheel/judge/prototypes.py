"""Example turns of each reason code: what the judge knows before anybody has labelled anything.

A file of turns in, two small models out: one over hashed words, one over embeddings. Both also name
the reason code of any reaction later on, whatever judged it.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np

from flywheel.judge.reactions import Floats
from flywheel.models.embedder import Embedder, Vectors
from flywheel.records import ERROR_CODES, REASON_CODES, ReasonCode

_FILE = Path(__file__).with_name("prototypes.jsonl")
# Width of the similarity to a prototype over which its say falls by e; chosen on dialogues of the
# two public label sets' training files, not on any holdout.
TEMPERATURE = 0.07


@cache
def prototypes() -> list[tuple[ReasonCode, str]]:
    """All prototype turns with their reason codes."""
    rows = [json.loads(line) for line in _FILE.read_text(encoding="utf-8").splitlines()]
    return [(row["reason_code"], row["text"]) for row in rows]


@cache
def prototypes_version() -> str:
    """Short hash of the prototypes' file."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()[:12]


IS_ERROR = np.array([code in ERROR_CODES for code in REASON_CODES])


class PrototypeCoder:
    """Reason codes by similarity to prototype turns, in the embedder's space."""

    def __init__(self, embedder: Embedder):
        self._embedder = embedder

    def code_scores(self, vectors: Vectors) -> Floats:
        """Log-likeness to each code of REASON_CODES: shape (n, 8), from unit vectors (n, dim)."""
        examples = self._embedder.encode([text for _, text in prototypes()])
        likeness = vectors.astype(np.float64) @ examples.T.astype(np.float64) / TEMPERATURE
        codes = np.array([REASON_CODES.index(code) for code, _ in prototypes()])
        scores = np.full((len(vectors), len(REASON_CODES)), -np.inf)
        for code in range(len(REASON_CODES)):
            scores[:, code] = _log_mean_exp(likeness[:, codes == code])
        return scores


def error_logit(code_scores: Floats) -> Floats:
    """How much more a reaction is like the errors than like the rest: shape (n,)."""
    return _log_mean_exp(code_scores[:, IS_ERROR]) - _log_mean_exp(code_scores[:, ~IS_ERROR])


def name_code(code_scores: Floats, is_error: bool) -> ReasonCode:
    """The likeliest code of one reaction among those that fit the verdict."""
    allowed = np.where(is_error == IS_ERROR, code_scores, -np.inf)
    return REASON_CODES[int(np.argmax(allowed))]


def _log_mean_exp(values: Floats) -> Floats:
    top = values.max(axis=1, keepdims=True)
    logs: Floats = top + np.log(np.mean(np.exp(values - top), axis=1, keepdims=True))
    return logs[:, 0]
