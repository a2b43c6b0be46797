"""Entities: what Presidio finds in a text, before the text reaches the archive or the warehouse.

Texts in, texts with masks out. Presidio's pattern recognizers run without a model and fetch
nothing; names of people and places, which take a model, are not found.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING

from flywheel.errors import BadSetting

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer

# Presidio's score, at least: what a pattern alone says of a number without a word beside it.
MIN_SCORE = 0.4
# Recognizers that go by the shape alone.
_ANY_LANGUAGE = {
    *("CREDIT_CARD", "CRYPTO", "DATE_TIME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS"),
    *("MAC_ADDRESS", "MEDICAL_LICENSE", "PHONE_NUMBER", "URL", "UUID"),
}


class Entities:
    """The recognizers of `privacy.entities`, in one language."""

    def __init__(self, recognizers: "Sequence[tuple[str, EntityRecognizer]]" = ()):
        self._recognizers = tuple(recognizers)

    def __bool__(self) -> bool:
        return bool(self._recognizers)

    @classmethod
    def of(cls, names: Iterable[str], language: str, regions: Sequence[str]) -> "Entities":
        """The recognizers of these entities, such as EMAIL_ADDRESS; phone numbers of `regions`.

        Raises BadSetting on a name that Presidio has no recognizer of, and where it is missing.
        """
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return cls()
        known = _known(language, tuple(regions))
        for name in wanted:
            if name not in known:
                near = get_close_matches(name.upper(), known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise BadSetting(
                    f"privacy.entities: {name!r} is not found without a model in the language "
                    f"{language!r}; {hint}"
                )
        return cls([(name, recognizer) for name in wanted for recognizer in known[name]()])

    def mask(self, texts: list[str], counts: Counter[str]) -> list[str]:
        """The texts with masks; what was masked is added to `counts`."""
        return [self._masked(text, counts) for text in texts] if self._recognizers else texts

    def _masked(self, text: str, counts: Counter[str]) -> str:
        """Where two entities claim a place, the likelier has it; a mask is no text."""
        found = [
            (-result.score, result.start, -result.end, name)
            for name, recognizer in self._recognizers
            for result in recognizer.analyze(text, [name]) or ()
            if result.score >= MIN_SCORE
        ]
        taken: list[tuple[int, int, str]] = []
        for _, start, minus_end, name in sorted(found):
            end = -minus_end
            if all(end <= low or start >= high for low, high, _ in taken):
                taken.append((start, end, name))
        for start, end, name in sorted(taken, reverse=True):
            counts[name] += 1
            text = f"{text[:start]}<{name}>{text[end:]}"
        return text


def _known(
    language: str, regions: tuple[str, ...]
) -> "dict[str, Callable[[], list[EntityRecognizer]]]":
    """How to make the recognizers of every entity that is found by patterns, by its name."""
    try:
        from presidio_analyzer import Pattern, PatternRecognizer
        from presidio_analyzer import predefined_recognizers as presidio
    except ModuleNotFoundError as error:
        raise BadSetting(
            "privacy.entities needs presidio-analyzer: pip install 'flywheel-loop[privacy]'"
        ) from error
    of_entity: defaultdict[str, list[Callable[[], EntityRecognizer]]] = defaultdict(list)
    for name in presidio.__all__:
        made = getattr(presidio, name)
        if not isinstance(made, type) or not issubclass(made, PatternRecognizer):
            continue
        defaults = signature(made).parameters
        entity = str(defaults["supported_entity"].default)
        if entity in _ANY_LANGUAGE or defaults["supported_language"].default == language:
            of_entity[entity].append(made)
    emails = [
        # The part before @ has at most 64 characters (RFC 5321); without that bound a long word
        # takes time with the square of its length.
        Pattern(one.name, one.regex.replace("{0,}", "{0,62}"), one.score)
        for one in presidio.EmailRecognizer.PATTERNS
    ]
    # Presidio's own would fetch a list of domains from the net to confirm an address.
    of_entity["EMAIL_ADDRESS"] = [partial(PatternRecognizer, "EMAIL_ADDRESS", patterns=emails)]
    of_entity["PHONE_NUMBER"] = [partial(presidio.PhoneRecognizer, supported_regions=regions)]
    return {name: partial(_made, makers) for name, makers in sorted(of_entity.items())}


def _made(makers: "list[Callable[[], EntityRecognizer]]") -> "list[EntityRecognizer]":
    return [make() for make in makers]
