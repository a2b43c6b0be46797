"""The dialects as one table: attributes' names in, what they fill and how sure each is out.

The one idea is that precedence is decided once, when the module is loaded, and what a span's
attributes are for once for all spans that have the same ones.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import TypeAlias

from flywheel.traces.spans.attributes import nested
from flywheel.traces.spans.dialects import Dialect, Field
from flywheel.traces.spans.dialects.adk import ADK
from flywheel.traces.spans.dialects.genai import GENAI
from flywheel.traces.spans.dialects.langfuse import LANGFUSE
from flywheel.traces.spans.dialects.mlflow import MLFLOW
from flywheel.traces.spans.dialects.openinference import OPENINFERENCE, VALUES
from flywheel.traces.spans.dialects.pydantic_ai import PYDANTIC_AI, PYDANTIC_AI_EVENTS
from flywheel.traces.spans.dialects.traceloop import RESOURCE, TRACELOOP
from flywheel.traces.spans.dialects.vercel import VERCEL
from flywheel.traces.spans.json_values import json_in, json_text, value_in
from flywheel.traces.spans.span import SpanKind

# What a tool says in words of its own comes first.
BEFORE_EVENTS = (LANGFUSE, MLFLOW, VERCEL, ADK, PYDANTIC_AI, GENAI, OPENINFERENCE)
AFTER_EVENTS = (PYDANTIC_AI_EVENTS, VALUES, TRACELOOP, RESOURCE)

_MAX_COUNT = 1 << 62
# Of more attributes than these, as long conversations have, two spans seldom have the same.
_MAX_NAMES = 64

# By the place in a list what stands there: the path below it and the name of each attribute.
Places: TypeAlias = list[list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What an attribute fills: the lower the rank, the surer. `read` gives None for no word."""

    rank: int
    field: Field
    read: Callable[[object], object]


def text(value: object) -> str | None:
    """A name or an id."""
    if isinstance(value, str):
        return value or None
    if value is None or isinstance(value, (dict, list)) or value is False:
        return None
    return str(value)


def positive_count(value: object) -> int | None:
    """A number of tokens; 0 is not known to be 0."""
    number = money(value)
    return None if number is None or number >= _MAX_COUNT else int(number) or None


def money(value: object) -> float | None:
    """US dollars; 0 is not known to be 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def any_json(value: object) -> object:
    """A value as it is, and a text that is an object or a list as that."""
    value = json_in(value) if isinstance(value, str) else value
    return value if value or value is False or value == 0 else None


def names(value: object) -> list[str] | None:
    """Tags: a list, JSON of one, or one word."""
    value = any_json(value)
    listed = value if isinstance(value, list) else [value] if value is not None else []
    return [tag if isinstance(tag, str) else json_text(tag) for tag in listed] or None


def mapping(value: object) -> dict[str, object] | None:
    """An object, or JSON of one."""
    value = any_json(value)
    return value if isinstance(value, dict) else None


_READS: dict[Field, Callable[[object], object]] = {
    "input": any_json,
    "output": any_json,
    "system": any_json,
    "calls": any_json,
    "tags": names,
    "prompt_tokens": positive_count,
    "completion_tokens": positive_count,
    "cost_usd": money,
    "usage": mapping,
    "costs": mapping,
}


def _encoded(read: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: read(value_in(value) if isinstance(value, str) else value)


def _made() -> tuple[dict[str, Rule], dict[str, Rule], dict[str, tuple[int, dict[str, SpanKind]]]]:
    rules: dict[str, Rule] = {}
    lists: dict[str, Rule] = {}
    kinds: dict[str, tuple[int, dict[str, SpanKind]]] = {}
    ranks = count()
    for dialect in (*BEFORE_EVENTS, None, *AFTER_EVENTS):
        if dialect is None:
            # The place of what is said in events.
            rules[""] = Rule(next(ranks), "input", any_json)
            continue
        _add(dialect, ranks, rules, lists, kinds)
    return rules, lists, kinds


def _add(
    dialect: Dialect,
    ranks: "count[int]",
    rules: dict[str, Rule],
    lists: dict[str, Rule],
    kinds: dict[str, tuple[int, dict[str, SpanKind]]],
) -> None:
    for key, filled in dialect.lists.items():
        lists[key] = Rule(next(ranks), filled, any_json)
        rules.setdefault(key, lists[key])
    for key, filled in dialect.fields.items():
        read = _READS.get(filled, text)
        rules[key] = Rule(next(ranks), filled, _encoded(read) if dialect.is_encoded else read)
    for key, meanings in dialect.kinds.items():
        kinds[key] = (next(ranks), dict(meanings))


RULES, LISTS, KINDS = _made()
# What is said in events; the field is whichever they speak of.
EVENTS = RULES.pop("")
ANNOTATIONS = frozenset(
    f"{of}{what}" for of in ("", "trace.", "session.") for what in ("annotations", "evaluations")
)
# `llm.input_messages.0.message.role`: the list, the place in it, and the path below that.
_INDEXED = re.compile(
    "("
    + "|".join(re.escape(key) for key in (*LISTS, *sorted(ANNOTATIONS)))
    + r")\.(\d{1,9})(?:\.(.+))?\Z"
)


@lru_cache(8192)
def place_of(key: str) -> tuple[str, int, str] | None:
    """The list that an attribute is of, its place there and the path below; None for any other."""
    found = _INDEXED.match(key)
    return None if found is None else (found[1], int(found[2]), found[3] or "")


@dataclass(frozen=True, slots=True)
class Offer:
    """Attributes that could fill a field: one, or with `places` those that spell out a list."""

    rule: Rule
    names: list[str]
    places: Places | None = None

    def value_in(self, attributes: Mapping[str, object]) -> object:
        """What it offers."""
        if self.places is None:
            return attributes[self.names[0]]
        return values_in(self.places, attributes)

    def named_in(self, attributes: Mapping[str, object]) -> dict[str, object]:
        """What it is made of, by name."""
        return {name: attributes[name] for name in self.names}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the attributes of a span are for.

    Offers, the surest first, those that are surer than events apart; annotations by the name of
    their list; what tells the kind, the surest first; and what is for the metadata, as that is too.
    """

    before_events: list[Offer]
    after_events: list[Offer]
    annotations: dict[str, Places]
    kinds: list[tuple[Mapping[str, SpanKind], str]]
    rest: list[str]


def layout_of(attributes: Mapping[str, object]) -> Layout:
    """What these attributes are for, by their names alone."""
    names = tuple(attributes)
    return _known_layout(names) if len(names) <= _MAX_NAMES else _layout(names)


def values_in(places: Places, attributes: Mapping[str, object]) -> list[object]:
    """The list that these attributes spell out."""
    return [nested([(path, attributes[name]) for path, name in place]) for place in places]


def _layout(names: Iterable[str]) -> Layout:
    offers: list[Offer] = []
    rest: list[str] = []
    # Of each list the names as they come, and by the place in it.
    listed: dict[str, tuple[list[str], dict[int, list[tuple[str, str]]]]] = {}
    for name in names:
        if (rule := RULES.get(name)) is not None:
            offers.append(Offer(rule, [name]))
        elif name not in KINDS and (place := place_of(name)) is not None:
            own, places = listed.setdefault(place[0], ([], {}))
            own.append(name)
            places.setdefault(place[1], []).append((place[2], name))
        else:
            rest.append(name)
    annotations: dict[str, Places] = {}
    for key, (own, places) in listed.items():
        in_order = [places[number] for number in sorted(places)]
        if key in ANNOTATIONS:
            annotations[key] = in_order
        else:
            offers.append(Offer(LISTS[key], own, in_order))
    offers.sort(key=lambda offer: offer.rule.rank)
    kinds = sorted((name for name in rest if name in KINDS), key=lambda name: KINDS[name][0])
    return Layout(
        [offer for offer in offers if offer.rule.rank < EVENTS.rank],
        [offer for offer in offers if offer.rule.rank > EVENTS.rank],
        annotations,
        [(KINDS[name][1], name) for name in kinds],
        rest,
    )


_known_layout = lru_cache(1024)(_layout)
