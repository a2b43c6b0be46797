"""The redactor: a document in, the same document out with masks in place of what is private.

`rules_only` is fast enough for a request; `whole` adds what Presidio finds, for what is about to be
archived. What was masked is counted, and never kept.
"""

from collections import Counter
from functools import lru_cache
from threading import Lock
from typing import TypeVar, cast

from flywheel.redaction.entities import Entities
from flywheel.redaction.fields import Fields
from flywheel.redaction.rules import Rules
from flywheel.redaction.walking import Walk
from flywheel.settings import PrivacySettings

Json = TypeVar("Json")

# Keys are the same in every document, or nearly.
_KEYS_REMEMBERED = 20_000


class Redactor:
    """What the settings take out of a trace; one for a process, used by many threads."""

    def __init__(self, rules: Rules, fields: Fields, entities: Entities):
        self._rules, self._fields, self._entities = rules, fields, entities
        self._counting = Lock()
        self._counts: Counter[str] = Counter()
        self._of_key = lru_cache(maxsize=_KEYS_REMEMBERED)(self._mask_key)

    @classmethod
    def of(cls, settings: PrivacySettings) -> "Redactor":
        """The redactor of `[privacy]`.

        Raises BadSetting on a rule, a field or an entity that cannot be used, and where entities
        are set and Presidio is not installed.
        """
        entities = Entities.of(settings.entities, settings.language, settings.regions)
        return cls(Rules.of(settings.rules), Fields(settings.fields), entities)

    @property
    def is_off(self) -> bool:
        """Whether nothing is taken out of anything."""
        return not (self._rules or self._fields or self._entities)

    @property
    def needs_whole(self) -> bool:
        """Whether `whole` does more than `rules_only`."""
        return bool(self._entities)

    def rules_only(self, document: Json) -> Json:
        """A JSON value with masks by fields and rules; the value itself is not changed.

        Any shape, OTLP's attribute lists too. Ids that join traces are left alone.
        """
        return self._masked(document, is_whole=False) if self._rules or self._fields else document

    def whole(self, document: Json) -> Json:
        """`rules_only`, and what Presidio finds besides."""
        return document if self.is_off else self._masked(document, is_whole=True)

    def counts(self) -> dict[str, int]:
        """How many of what was masked or dropped since this redactor was made, by mask."""
        with self._counting:
            return dict(sorted(self._counts.items()))

    def _masked(self, document: Json, is_whole: bool) -> Json:
        counts: Counter[str] = Counter()
        walk = Walk(document, self._fields, counts, self._of_key)
        texts = self._rules.mask(walk.texts, counts)
        if is_whole:
            texts = self._entities.mask(texts, counts)
        masked = walk.put_together(texts)
        if counts:
            with self._counting:
                self._counts.update(counts)
        return cast(Json, masked)

    def _mask_key(self, key: str) -> str:
        return self._rules.mask([key], Counter())[0]
