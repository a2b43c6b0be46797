"""Conversations that say nearly the same, so that a training set holds each of them once.

Texts in, the places of those to leave out. The one idea is that what is like a conversation of the
holdout goes as well: else the gate would ask what the challenger has learnt by heart.

Source: Lee et al., "Deduplicating Training Data Makes Language Models Better" (2107.06499): runs
of five words, near where the Jaccard index is .8 or more, found by MinHash (Broder, 1997).
"""

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

NEAR = 0.8
_WIDTH = 5
# Of shorter conversations many are alike by chance: greetings, thanks, a question of two words.
MIN_WORDS = 30
# At .8 one of these bands is shared with probability .9998, at .3 with .12.
_BANDS, _ROWS = 16, 4
# A sign of a script without spaces is a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")

Hashes = NDArray[np.uint64]


def _odd_numbers(n: int, seed: int) -> Hashes:
    drawn = np.random.default_rng(seed).integers(1, 1 << 63, n, np.uint64)
    return drawn | np.uint64(1)


_MIX = _odd_numbers(_WIDTH, 1)
_TIMES, _PLUS = _odd_numbers(_BANDS * _ROWS, 2), _odd_numbers(_BANDS * _ROWS, 3)


@dataclass(frozen=True, slots=True)
class Screened:
    """Places of the texts that stay, and how many went for which reason."""

    kept: list[int]
    near_duplicates: int
    like_holdout: int

    @property
    def left_out(self) -> dict[str, int]:
        """The counts by their reason, as a training set keeps them."""
        counts = {"near-duplicate": self.near_duplicates, "like the holdout": self.like_holdout}
        return {why: n for why, n in counts.items() if n}


def screen(
    texts: Sequence[str],
    classes: Sequence[Hashable],
    holdout: Iterable[str],
    min_words: int = MIN_WORDS,
) -> Screened:
    """Leave out what is like a text of the holdout, and what is like an earlier text of its class.

    Near-duplicates of different classes both stay: what tells them apart is what is to be learnt.
    Texts of fewer than `min_words` words, five at least, are like none.
    """
    held, known = _Seen(), _Seen()
    for text in holdout:
        held.add(_hashes(text, min_words), None)
    kept: list[int] = []
    n_held = n_near = 0
    for place, (text, of_class) in enumerate(zip(texts, classes, strict=True)):
        hashes = _hashes(text, min_words)
        if held.has_like(hashes, None):
            n_held += 1
        elif known.has_like(hashes, of_class):
            n_near += 1
        else:
            known.add(hashes, of_class)
            kept.append(place)
    return Screened(kept, n_near, n_held)


@dataclass(slots=True)
class _Seen:
    """Sets of hashes by their bands, in which those that are alike meet."""

    buckets: dict[tuple[Hashable, int, bytes], list[Hashes]] = field(default_factory=dict)

    def add(self, hashes: Hashes, of_class: Hashable) -> None:
        for band in _bands(hashes):
            self.buckets.setdefault((of_class, *band), []).append(hashes)

    def has_like(self, hashes: Hashes, of_class: Hashable) -> bool:
        return any(
            _jaccard(hashes, other) >= NEAR
            for band in _bands(hashes)
            for other in self.buckets.get((of_class, *band), ())
        )


def _hashes(text: str, min_words: int) -> Hashes:
    """Distinct hashes of the stretches of five words; none where the text has too few words."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    if len(words) < max(min_words, _WIDTH):
        return np.empty(0, np.uint64)
    numbers = np.array([_number(word) for word in words], np.uint64)
    return np.unique((sliding_window_view(numbers, _WIDTH) * _MIX).sum(axis=1, dtype=np.uint64))


@lru_cache(maxsize=100_000)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(errors="replace"), digest_size=8).digest())


def _bands(hashes: Hashes) -> list[tuple[int, bytes]]:
    if not len(hashes):
        return []
    # Multiply and shift: its high bits are as good as a permutation's.
    least = ((hashes[:, None] * _TIMES + _PLUS) >> np.uint64(32)).min(axis=0)
    return [(i, least[i * _ROWS : (i + 1) * _ROWS].tobytes()) for i in range(_BANDS)]


def _jaccard(one: Hashes, other: Hashes) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
