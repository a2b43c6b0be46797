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
# A turn repeats a request only where it is like it: what likeness of the two turns adds to the say
# of that code, per unit and from a likeness of .6 on, and at most.
REPEAT_SLOPE, REPEAT_FROM, REPEAT_MOST = 10.0, 0.6, 3.0
_REPEATED = REASON_CODES.index("repeated_request")


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

    def code_scores(self, user: Vectors, request: Vectors) -> Floats:
        """Log-likeness to each code of REASON_CODES: shape (n, 8), from unit vectors (n, dim).

        `user` are the turns judged, `request` those that the answers before them were given to.
        """
        examples = self._embedder.encode([text for _, text in prototypes()])
        likeness = user.astype(np.float64) @ examples.T.astype(np.float64) / TEMPERATURE
        codes = np.array([REASON_CODES.index(code) for code, _ in prototypes()])
        scores = np.full((len(user), len(REASON_CODES)), -np.inf)
        for code in range(len(REASON_CODES)):
            scores[:, code] = _log_mean_exp(likeness[:, codes == code])
        return weigh_repeats(scores, np.einsum("nd,nd->n", user, request))


def weigh_repeats(code_scores: Floats, likeness: Floats) -> Floats:
    """The scores with that of `repeated_request` moved by how like the request the turn is."""
    moved = np.clip(REPEAT_SLOPE * (likeness - REPEAT_FROM), -REPEAT_MOST, REPEAT_MOST)
    code_scores[:, _REPEATED] += moved
    return code_scores


def error_logit(code_scores: Floats) -> Floats:
    """How much more a reaction is like the errors than like the rest: shape (n,)."""
    return _log_mean_exp(code_scores[:, IS_ERROR]) - _log_mean_exp(code_scores[:, ~IS_ERROR])


def name_codes(code_scores: Floats, is_error: bool) -> list[ReasonCode]:
    """The likeliest code of each reaction among those that fit the verdict."""
    allowed = np.flatnonzero(is_error == IS_ERROR)
    likeliest = allowed[code_scores[:, allowed].argmax(axis=1)]
    return [REASON_CODES[code] for code in likeliest.tolist()]


def _log_mean_exp(values: Floats) -> Floats:
    top = values.max(axis=1, keepdims=True)
    logs: Floats = top + np.log(np.mean(np.exp(values - top), axis=1, keepdims=True))
    return logs[:, 0]
