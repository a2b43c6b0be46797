"""What must not stand in a proposal: words copied from a trace, and what names a person.

A proposed text and the traces that were shown to its author in, what is wrong with it out. The one
idea is that a model which has read traces may learn from them and may not repeat them: a proposal
becomes a file that is kept, shared and read long after a trace is forgotten.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from flywheel.errors import BadInput
from flywheel.redaction import RULES, Redactor
from flywheel.redaction.rules import Rules
from flywheel.safety import injected_instruction, quote
from flywheel.settings import PrivacySettings

# Shorter runs are turns of phrase that anybody writes: of twelve words few come twice by chance.
MIN_WORDS = 12
# A sign of a script without spaces is a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_QUOTED_CHARACTERS = 160


def copied_from(text: str, sources: Iterable[str], words: int = MIN_WORDS) -> str | None:
    """The first run of `words` words or more that also stands in a source, as `text` has it.

    None where there is none. Case, punctuation and spaces do not count, so that quotes, line breaks
    or the joining of strings in SQL hide nothing.
    """
    places = [(found.start(), found.end()) for found in _WORD.finditer(text)]
    own = [_folded(text[start:end]) for start, end in places]
    runs = {tuple(own[i : i + words]): i for i in reversed(range(len(own) - words + 1))}
    if not runs:
        return None
    at: set[int] = set()
    for source in sources:
        theirs = [_folded(word) for word in _WORD.findall(source)]
        whole = (tuple(theirs[i : i + words]) for i in range(len(theirs) - words + 1))
        at.update(runs[run] for run in whole if run in runs)
    if not at:
        return None
    first = last = min(at)
    while last + 1 in at:
        last += 1
    return text[places[first][0] : places[last + words - 1][1]]


def personal_in(text: str, privacy: PrivacySettings) -> str | None:
    """What kind of personal data stands in the text, such as EMAIL_ADDRESS; None where none does.

    By every built-in rule, whether or not the project masks by it, and by all of `[privacy]`.
    """
    counts: Counter[str] = Counter()
    Rules.of(list(RULES)).mask([text], counts)
    redactor = Redactor.of(privacy)
    redactor.whole(text)
    found = sorted(counts) or sorted(redactor.counts())
    return found[0] if found else None


def check_own_words(text: str, sources: Iterable[str], privacy: PrivacySettings) -> None:
    """Raise BadInput where a text repeats a trace, holds personal data or instructs a model."""
    if run := copied_from(text, sources):
        raise BadInput(
            f"repeats {MIN_WORDS} words or more of a trace, {quote(run, _QUOTED_CHARACTERS)}; "
            "say it in words of its own"
        )
    if kind := personal_in(text, privacy):
        raise BadInput(f"holds what looks like personal data, {kind}; leave it out")
    if phrase := injected_instruction(text):
        raise BadInput(f"instructs a model, {quote(phrase)}; say what is to be found instead")


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()
