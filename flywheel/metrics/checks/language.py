"""Which language a text is in, by py3langid (bundled weights, 97 languages, no network)."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from flywheel.metrics.checks.check import Answer, Check, CheckRefused, DayView, Finding, Text
from flywheel.metrics.metric import Level, Node

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Code, addresses and names of files are in no language. A name is looked for from the start of a
# word alone: from each of its letters, a long word would be read as often as it has letters.
_NO_LANGUAGE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|(?<![^\s`])\S*[/\\_=<>{}]\S*", re.S
)
_MAX_CHARS = 2_000


class Read(NamedTuple):
    """The language of a text by its ISO 639-1 code, and how sure that is, in [0, 1]."""

    code: str
    confidence: float


class Language(Check):
    """Whether texts are in another language than expected."""

    expected: list[str] = Field(
        [], description="ISO 639-1 codes; empty is the language of the trace's own user."
    )
    candidates: list[str] = Field([], description="Codes to choose from; empty is all 97.")
    min_letters: int = Field(25, ge=5, description="A text with fewer has no value.")
    min_confidence: float = Field(0.9, ge=0, le=1, description="Below it there is no value.")

    def answers(self, view: DayView, node: Node, level: Level) -> Iterator[Answer]:
        """See `Check`; of a trace, all texts of the node together."""
        model = _identifier(tuple(self.candidates))
        unknown = sorted({*self.expected} - {str(label) for label in model.labels})
        if unknown:
            raise CheckRefused(f"knows no language {unknown[0]!r}; codes are those of ISO 639-1")
        wanted: Node = node if self.expected else "trace"
        for trace_id, texts in view.texts_by_trace(wanted, self.share):
            expected = self.expected or self._of_user(model, texts)
            ours = [text for text in texts if node in ("trace", text.node)]
            if not expected or not ours:
                continue
            for part in [[text] for text in ours] if level == "turn" else [ours]:
                read = self._read(model, part)
                if read is not None:
                    yield Answer(trace_id, _finding(read, expected), part[0].position)

    def _of_user(self, model: "LanguageIdentifier", texts: list[Text]) -> list[str]:
        read = self._read(model, [text for text in texts if text.node == "input"])
        return [read.code] if read else []

    def _read(self, model: "LanguageIdentifier", texts: list[Text]) -> Read | None:
        said = [text.content for text in texts]
        return _read(model, said, self.min_letters, self.min_confidence)


def languages_of(texts: Iterable[str]) -> list[str | None]:
    """The language of each text by its ISO 639-1 code; None where that is not plain to see.

    Raises CheckRefused where the extra that reads languages is not installed.
    """
    model, settings = _identifier(()), Language.model_construct()
    found = (_read(model, [t], settings.min_letters, settings.min_confidence) for t in texts)
    return [read.code if read else None for read in found]


def _read(
    model: "LanguageIdentifier", texts: Iterable[str], min_letters: int, min_confidence: float
) -> Read | None:
    joined = "\n".join(_NO_LANGUAGE.sub(" ", text[:_MAX_CHARS]) for text in texts)
    prose = joined[:_MAX_CHARS]
    if sum(map(str.isalpha, prose)) < min_letters:
        return None
    read = Read(*model.classify(prose))
    # zxx: no linguistic content.
    return read if read.confidence >= min_confidence and read.code != "zxx" else None


def _finding(read: Read, expected: list[str]) -> Finding:
    is_other = read.code not in expected
    return Finding(
        float(is_other),
        is_other,
        f"Reads as {read.code} ({read.confidence:.0%}), expected: {', '.join(expected)}",
    )


@cache
def _identifier(candidates: tuple[str, ...]) -> "LanguageIdentifier":
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError as error:
        raise CheckRefused("needs py3langid: pip install 'flywheel-loop[language]'") from error
    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if candidates:
        try:
            made.set_languages(list(candidates))
        except ValueError as error:
            raise CheckRefused(f"cannot choose among {', '.join(candidates)}: {error}") from error
    return made
