"""What a reaction looks like in words and numbers; the ground of the lexical tier.

Reactions in, hashed words of three turns and 21 cheap numbers out. The three turns are the user's,
the answer it reacts to and the request before that; their words go into blocks of their own,
because “sorry” from the assistant is another thing than from the user. Everything is worked out
once a text, in arrays, since a turn is the answer of one reaction and stands in others as well.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from flywheel.judge.reactions import Floats, Reaction

# Columns of a block of hashed words and word pairs; 700 short traces fill a fifth of them.
WIDTH = 1 << 15
# Which of the 21 numbers is the share of words that a turn has in common with the request.
OVERLAP_WITH_REQUEST = 4
# Of the user's turn, the answer and the request before; chosen by cross-validation on the training
# files of the two public label sets, as were all the weights of this module.
BLOCK_WEIGHTS = (1.0, 0.7, 0.7)
NUMBER_WEIGHT = 0.2
_CLIP = 4.0

# Punctuation parts words; an apostrophe stays inside one. Several times as fast as a pattern, and
# for ASCII, as bytes, as fast again.
_PARTING = '.,;:-_()[]{}<>/\\|"`~@#$%^&*+=“”„«»…–—¿¡'
_TO_SPACE = str.maketrans(dict.fromkeys(_PARTING, " ") | {"’": "'"})
_BYTES_TO_SPACE = bytes(
    ord(" ") if chr(code) in _PARTING or chr(code).isspace() else code for code in range(256)
)
# Odd multipliers that spread a pair of columns over all columns.
_PAIR = (40503, 30011)
_MAX_REMEMBERED = 1_000_000

_USER_CUES = (
    "no not don't didn't doesn't isn't wasn't wrong incorrect mistake mean meant actually instead "
    "rather but never nope nein falsch nicht incorrecto non pas faux",
    "what huh why understand confused confusing sense pardon sorry weird strange odd",
    "again already still said asked told repeat same check sure certain nochmal otra encore",
    "bad stupid useless terrible rude dumb annoying ridiculous hate stop crazy silly",
    "thanks thank thx great good perfect nice yes yeah ok okay cool awesome love lovely wonderful "
    "fine please danke gracias merci obrigado bedankt super",
)
_ANSWER_CUES = (
    "sorry unfortunately apologies apologize apologise afraid unable cannot can't",
    "no not don't didn't none",
    "?",
)

Sparse = Any  # scipy.sparse.csr_matrix; the package has no type stubs
Integers = NDArray[np.int64]


class _Columns(dict[bytes, int]):
    """The column of a word, remembered; crc32, so that it is the same in every process."""

    def __missing__(self, word: bytes) -> int:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        column = self[word] = zlib.crc32(word) % WIDTH
        return column


_columns = _Columns()


@dataclass(frozen=True, slots=True)
class RawFeatures:
    """Features before any fitting.

    `grams` is the presence of words and word pairs, sparse of shape (n_texts, WIDTH); `turns` says
    which text is the user's turn, the answer and the request, shape (n, 3); `numbers` is (n, 21).
    """

    grams: Sparse
    turns: Integers
    numbers: Floats

    def take(self, rows: Integers) -> "RawFeatures":
        """The features of these reactions alone."""
        return replace(self, turns=self.turns[rows], numbers=self.numbers[rows])


def raw_features(reactions: Sequence[Reaction]) -> RawFeatures:
    """The features of reactions, every distinct text split once."""
    place: dict[str, int] = {}
    texts = [text for r in reactions for text in (r.text, r.answer, r.request)]
    turns = np.array([place.setdefault(text, len(place)) for text in texts], np.int64)
    turns = turns.reshape(len(reactions), 3)
    columns: list[int] = []
    lengths = []
    for text in place:
        words = _words(text)
        columns.extend(map(_columns.__getitem__, words))
        lengths.append(len(words))
    flat, length = np.array(columns, np.int64), np.array(lengths, np.int64)
    rows = np.repeat(np.arange(len(place)), length)
    inside = rows[1:] == rows[:-1]
    pairs = (flat[:-1] * _PAIR[0] + flat[1:] * _PAIR[1]) % WIDTH
    words_of = _presence(flat, length)
    pairs_of = _presence(pairs[inside], np.maximum(length - 1, 0))
    numbers = _numbers(words_of, rows, flat, length, turns)
    return RawFeatures(words_of.maximum(pairs_of), turns, numbers)


@dataclass(frozen=True, slots=True)
class Scale:
    """What fitting learns of the features.

    `idf` are inverse document frequencies of shape (3, WIDTH), `mean` and `deviation` those of the
    numbers.
    """

    idf: Floats
    mean: Floats
    deviation: Floats

    def matrix(self, raw: RawFeatures) -> Sparse:
        """All features, sparse of shape (n, 3 * WIDTH + 21): word blocks of unit rows, numbers."""
        blocks = []
        for k, weight in enumerate(BLOCK_WEIGHTS):
            block = (raw.grams @ sp.diags(self.idf[k])).tocsr()
            scaled = sp.diags(weight / self._length(raw, k)) @ block
            blocks.append(scaled.tocsr()[raw.turns[:, k]])
        return sp.hstack([*blocks, sp.csr_matrix(self.numbers(raw))]).tocsr()

    def logits(self, raw: RawFeatures, coef: Floats, intercept: float) -> Floats:
        """`matrix(raw) @ coef + intercept`, without making the matrix."""
        total = self.numbers(raw) @ coef[3 * WIDTH :] + intercept
        for k, weight in enumerate(BLOCK_WEIGHTS):
            part = raw.grams @ (self.idf[k] * coef[k * WIDTH : (k + 1) * WIDTH])
            total += (weight * part / self._length(raw, k))[raw.turns[:, k]]
        return np.asarray(total, np.float64)

    def numbers(self, raw: RawFeatures) -> Floats:
        """The numbers as weighted z-scores, clipped at four deviations."""
        z = np.clip((raw.numbers - self.mean) / self.deviation, -_CLIP, _CLIP)
        return np.asarray(z * NUMBER_WEIGHT, np.float64)

    def _length(self, raw: RawFeatures, block: int) -> Floats:
        return np.asarray(np.maximum(np.sqrt(raw.grams @ self.idf[block] ** 2), 1e-9), np.float64)


def fit_scale(raw: RawFeatures) -> Scale:
    """The scale of these rows: smoothed inverse document frequencies, means and deviations."""
    n = len(raw.turns)
    counts = [np.asarray(raw.grams[raw.turns[:, k]].sum(axis=0)).ravel() for k in range(3)]
    idf = np.log((1 + n) / (1 + np.array(counts))) + 1
    return Scale(idf, raw.numbers.mean(axis=0), raw.numbers.std(axis=0) + 1e-6)


def _words(text: str) -> list[bytes]:
    apart = text.lower().replace("?", " ? ").replace("!", " ! ")
    if apart.isascii():
        return apart.encode().translate(_BYTES_TO_SPACE).split()
    return [word.encode("utf-8", "replace") for word in apart.translate(_TO_SPACE).split()]


def _presence(columns: Integers, length: Integers) -> Sparse:
    """One in each of the columns, of which a row has `length` after those of the row before."""
    starts = np.concatenate([[0], np.cumsum(length)])
    found = sp.csr_matrix((np.ones(len(columns)), columns, starts), shape=(len(length), WIDTH))
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def _numbers(
    words: Sparse, rows: Integers, flat: Integers, length: Integers, turns: Integers
) -> Floats:
    user, answer, request = turns.T
    size = np.asarray(words.sum(axis=1)).ravel()

    def marks(mark: bytes) -> Floats:
        return np.bincount(rows[flat == _columns[mark]], minlength=len(length)).astype(float)

    def overlap(first: Integers, second: Integers) -> Floats:
        common = np.asarray(words[first].multiply(words[second]).sum(axis=1)).ravel()
        return np.asarray(common / (1 + np.minimum(size[first], size[second])), np.float64)

    user_cues = np.minimum(2, words @ _cue_columns(_USER_CUES))
    answer_cues = np.minimum(2, words @ _cue_columns(_ANSWER_CUES))
    return np.column_stack(
        [
            np.log1p(length[user]),
            np.log1p(length[answer]),
            marks(b"?")[user],
            marks(b"!")[user],
            overlap(user, request),
            overlap(user, answer),
            overlap(answer, request),
            user == request,
            user_cues[user],
            answer_cues[answer],
            user_cues[request],
        ]
    ).astype(np.float64)


@cache
def _cue_columns(cues: tuple[str, ...]) -> Floats:
    chosen = np.zeros((WIDTH, len(cues)))
    for k, words in enumerate(cues):
        chosen[[_columns[word] for word in words.encode().split()], k] = 1.0
    return chosen
