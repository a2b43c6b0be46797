"""Formats whose rows are spans: one module a format, found by looking into this folder.

A row of a file in (a JSON object), `Span`s and `FeedbackRow`s out. The one idea is that a format is
one module with a constant `FORMAT`; nothing else has to know of it.
"""

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from flywheel.traces.feedback import FeedbackRow
from flywheel.traces.spans.span import Span


@dataclass(frozen=True, slots=True)
class SpanFormat:
    """One format: `keys` are its fingerprints, each a set of keys that a row has all of.

    A key is one of the row's, or `key.inner` for one of an object in it (of a list, the first).
    `read` gives the spans and the feedback of one row, which may be a span or a whole tree of them;
    it raises BadInput with the reason where the row cannot be used, and then nothing of it is kept.
    """

    name: str
    keys: tuple[frozenset[str], ...]
    read: Callable[[Mapping[str, object]], Iterable[Span | FeedbackRow]]

    def matches(self, keys: frozenset[str]) -> int:
        """How many keys the most specific fingerprint has that the row has too; 0 for none."""
        return max((len(own) for own in self.keys if own <= keys), default=0)


@cache
def span_formats() -> dict[str, SpanFormat]:
    """Every format of this folder, by its name."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__))
    found = [import_module(f"{__name__}.{name}").FORMAT for name in modules]
    return {made.name: made for made in found}
