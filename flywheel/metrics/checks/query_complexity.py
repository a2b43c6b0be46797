"""How much is asked of the application at once, as a number that can be worked out by hand."""

import math
import re

from pydantic import Field

from flywheel.metrics.checks.check import Finding, TextCheck

_WORD = re.compile(r"\w+")
# Not \s before an item: it would read every run of blank lines again from each of them.
_ASK = re.compile(
    r"(?i)[?？]|^[^\S\n]*(?:\d{1,2}[.)]|[-*•])\s|\b(?:and then|after that|then also|additionally|"
    r"as well as|furthermore)\b",
    re.MULTILINE,
)
_CONDITION = re.compile(
    r"(?i)\b(?:if|unless|except|only|without|must|at least|at most|between|before|until|instead|"
    r"not|no more than|less than|more than|exactly)\b"
)


class QueryComplexity(TextCheck):
    """`log2(1 + words) + asks + conditions / 2`.

    Asks are question marks, items of a list and words that add a step; conditions are words that
    narrow what is asked. Those words are English; in other languages the rest still counts.
    """

    complex_from: float | None = Field(None, gt=0, description="From here on a query is labelled.")

    def finding(self, text: str) -> Finding | None:
        """See `TextCheck`."""
        words = sum(1 for _ in _WORD.finditer(text))
        if not words:
            return None
        asks = sum(1 for _ in _ASK.finditer(text))
        conditions = sum(1 for _ in _CONDITION.finditer(text))
        value = math.log2(1 + words) + asks + conditions / 2
        label = None if self.complex_from is None else value >= self.complex_from
        return Finding(value, label, f"{words} words, {asks} asks, {conditions} conditions")
