"""Kinds of personal data in a text, by the pattern recognizers of Presidio.

No model is loaded and nothing is fetched: names and places, which take a model, are not found. What
was found is counted and never kept.
"""

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from flywheel.metrics.checks.check import CheckRefused, Finding, TextCheck

if TYPE_CHECKING:
    from presidio_analyzer import PatternRecognizer
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

Kind = Literal["email", "phone", "credit_card", "iban", "ip_address", "us_ssn", "crypto_wallet"]
_ENTITIES: dict[Kind, str] = {
    "email": "EMAIL_ADDRESS",
    "phone": "PHONE_NUMBER",
    "credit_card": "CREDIT_CARD",
    "iban": "IBAN_CODE",
    "ip_address": "IP_ADDRESS",
    "us_ssn": "US_SSN",
    "crypto_wallet": "CRYPTO",
}
# Most texts hold neither an address nor seven digits, and none of these without one.
_MAY_HOLD = re.compile(
    r"@|(?:\d[\s().:/-]{0,3}){7}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:]{3}|(?:\d+\.){3}\d"
)
_WALLET = re.compile(r"\b(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25,59}\b")


class PersonalData(TextCheck):
    """How many pieces of personal data a text holds, and of which kinds."""

    kinds: list[Kind] = Field(
        ["email", "phone", "credit_card", "iban", "us_ssn"], description="Those looked for."
    )
    regions: list[str] = Field(["US"], description="Of phone numbers that are written without +.")
    min_score: float = Field(0.4, ge=0, le=1, description="Presidio's score, at least.")

    def prepare(self) -> None:
        """See `TextCheck`."""
        _recognizers(tuple(self.kinds), tuple(self.regions))

    def finding(self, text: str) -> Finding | None:
        """See `TextCheck`."""
        counts: Counter[str] = Counter()
        if _MAY_HOLD.search(text) or ("crypto_wallet" in self.kinds and _WALLET.search(text)):
            counts = self._counts(text)
        n = sum(counts.values())
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        return Finding(float(n), n > 0, f"Holds {kinds}" if n else "None of the known patterns")

    def _counts(self, text: str) -> Counter[str]:
        """How many of each kind; where two kinds claim a place, the likelier has it."""
        found = [
            (result.score, result.start, result.end, kind)
            for kind, recognizer in _recognizers(tuple(self.kinds), tuple(self.regions))
            for result in recognizer.analyze(text, [_ENTITIES[kind]]) or ()
            if result.score >= self.min_score
        ]
        taken: list[tuple[int, int]] = []
        counts: Counter[str] = Counter()
        for _, start, end, kind in sorted(found, key=lambda one: (-one[0], one[1], -one[2])):
            if all(end <= low or start >= high for low, high in taken):
                taken.append((start, end))
                counts[kind] += 1
        return counts


@cache
def _recognizers(
    kinds: tuple[Kind, ...], regions: tuple[str, ...]
) -> "list[tuple[Kind, PatternRecognizer | PhoneRecognizer]]":
    try:
        from presidio_analyzer import Pattern, PatternRecognizer
        from presidio_analyzer import predefined_recognizers as known
    except ModuleNotFoundError as error:
        why = "needs presidio-analyzer: pip install 'flywheel-loop[privacy]'"
        raise CheckRefused(why) from error
    emails = [
        # The part before @ has at most 64 characters (RFC 5321); without that bound a long word
        # takes time with the square of its length.
        Pattern(one.name, one.regex.replace("{0,}", "{0,62}"), one.score)
        for one in known.EmailRecognizer.PATTERNS
    ]
    made: dict[Kind, PatternRecognizer | PhoneRecognizer] = {
        # Presidio's own would fetch a list of domains from the net to confirm an address.
        "email": PatternRecognizer("EMAIL_ADDRESS", patterns=emails),
        "phone": known.PhoneRecognizer(supported_regions=regions),
        "credit_card": known.CreditCardRecognizer(),
        "iban": known.IbanRecognizer(),
        "ip_address": known.IpRecognizer(),
        "us_ssn": known.UsSsnRecognizer(),
        "crypto_wallet": known.CryptoRecognizer(),
    }
    return [(kind, made[kind]) for kind in kinds]
