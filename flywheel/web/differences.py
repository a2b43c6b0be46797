"""What a correction changed, as HTML: words taken out and words put in.

Two texts in, markup out. Lines are compared first, then words inside the lines that changed; what
differs too much to be compared within a bounded time is shown as taken out and put in.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flywheel.safety import marked
from flywheel.web.edits import Budget, matches

# Unchanged lines that are shown beside a change, and the fewest that a fold stands for.
CONTEXT_LINES = 3
MIN_FOLDED = 5
# The same for a long line.
CONTEXT_CHARACTERS = 400
# Steps of the comparison of lines, and of that of all words: half a second each, measured.
MAX_STEPS = 1_000_000
# Characters of one changed place whose words are compared.
MAX_COMPARED = 200_000
# Changed lines with less than this in common are easier to read one after the other.
MIN_IN_COMMON = 0.25

# Letters of scripts without spaces are words of their own; what joins letters belongs to its word.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_JOINED = "\u0300-\u036f\u200c\u200d\ufe0f"
_WORD = re.compile(rf"[{_CJK}]|(?:[^\W{_CJK}]|[{_JOINED}])+|[^\S\n]+|\n|.")


@dataclass(frozen=True, slots=True)
class _Piece:
    """What was taken out in one place, what was put in there, and what follows unchanged."""

    removed: str
    added: str
    equal: str

    @property
    def is_change(self) -> bool:
        return bool(self.removed or self.added)


def diff_html(original: str, edited: str) -> Markup:
    """What was taken out of `original` and put in to make `edited`; empty where they are the same.

    Long stretches that did not change are folded. For those who listen, each change says what it
    is in words of the class `hidden-words`.
    """
    before, after = marked(original), marked(edited)
    if before == after:
        return Markup("")
    lines = _pieces(
        before.splitlines(keepends=True), after.splitlines(keepends=True), Budget(MAX_STEPS)
    )
    pieces = _united(_by_words(lines))
    shown = Markup("")
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        shown += _changed(piece) + _folded(piece.equal, not piece.is_change, is_last)
    return Markup('<div class="diff-text">{}</div>').format(shown)


def _pieces(before: Sequence[str], after: Sequence[str], budget: Budget) -> Iterator[_Piece]:
    i = j = 0
    for start, other, n in matches(before, after, budget):
        same = "".join(before[start : start + n])
        yield _Piece("".join(before[i:start]), "".join(after[j:other]), same)
        i, j = start + n, other + n


def _by_words(lines: Iterable[_Piece]) -> Iterator[_Piece]:
    budget = Budget(MAX_STEPS)
    for piece in lines:
        yield from _compared(piece.removed, piece.added, budget)
        yield _Piece("", "", piece.equal)


def _compared(removed: str, added: str, budget: Budget) -> list[_Piece]:
    """The words of a changed place, or all of it where they have too little in common."""
    whole = [_Piece(removed, added, "")]
    if not removed or not added or max(len(removed), len(added)) > MAX_COMPARED:
        return whole
    words = _united(_pieces(_WORD.findall(removed), _WORD.findall(added), budget))
    n_equal = sum(len(piece.equal) for piece in words)
    return words if n_equal >= MIN_IN_COMMON * min(len(removed), len(added)) else whole


def _united(pieces: Iterable[_Piece]) -> list[_Piece]:
    """The pieces without empty ones, and phrases whole: a space between two changes is changed."""
    united: list[_Piece] = []
    for piece in pieces:
        last = united[-1] if united else _Piece("", "", "")
        if united and not piece.is_change:
            united[-1] = _Piece(last.removed, last.added, last.equal + piece.equal)
        elif united and last.is_change and not last.equal.strip(" \t"):
            gap = last.equal
            united[-1] = _Piece(
                last.removed + gap + piece.removed, last.added + gap + piece.added, piece.equal
            )
        elif piece.is_change or piece.equal:
            united.append(piece)
    return united


def _changed(piece: _Piece) -> Markup:
    shown = Markup("")
    if piece.removed:
        words = Markup('<del><span class="hidden-words">removed: </span>{}</del>')
        shown += words.format(piece.removed)
    if piece.added:
        words = Markup('<ins><span class="hidden-words">added: </span>{}</ins>')
        shown += words.format(piece.added)
    return shown


def _folded(text: str, is_first: bool, is_last: bool) -> Markup:
    """Unchanged text as it is near a change, and how much lies further away."""
    lines = text.splitlines(keepends=True)
    head = 0 if is_first else CONTEXT_LINES
    tail = 0 if is_last else CONTEXT_LINES
    n_folded = len(lines) - head - tail
    if n_folded < MIN_FOLDED:
        return _shortened(text, is_first, is_last)
    start, end = "".join(lines[:head]), "".join(lines[len(lines) - tail :])
    fold = Markup('<span class="unchanged">… {:,} lines unchanged …</span>\n').format(n_folded)
    return _shortened(start, False, True) + fold + _shortened(end, True, False)


def _shortened(text: str, is_first: bool, is_last: bool) -> Markup:
    """The same for lines so long that even few of them are too much."""
    head = 0 if is_first else CONTEXT_CHARACTERS
    tail = 0 if is_last else CONTEXT_CHARACTERS
    n_folded = len(text) - head - tail
    if n_folded <= 2 * CONTEXT_CHARACTERS:
        return Markup("{}").format(text)
    fold = Markup('<span class="unchanged">… {:,} characters unchanged …</span>').format(n_folded)
    return Markup("{}{}{}").format(text[:head], fold, text[len(text) - tail :])
