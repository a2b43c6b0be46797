"""A JSON document taken apart and put together again: which of its strings are texts, and where.

A value in, a copy of it with its texts in a list out; the one idea is that masking works on the
list, so that a rule is run once a document and not once a string. JSON inside of strings is gone
into as well, or a mask would eat half of an escape.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from flywheel.redaction.fields import Fields, mask_of

# JSON in a string in JSON in a string: what is nested deeper is a text.
_DEEPEST = 4
# OTLP's wrappers of a value: they are no names, and what stands in them is the attribute's.
_WRAPPERS = {
    *("stringValue", "arrayValue", "kvlistValue", "values", "value", "attributes"),
    *("string_value", "array_value", "kvlist_value"),
}
_NUMBERS = {"intValue", "doubleValue", "boolValue", "int_value", "double_value", "bool_value"}
# By these, traces, spans, people and calls are joined: a rule never changes them, a field may.
_JOINING = {
    *("id", "traceid", "spanid", "parentid", "parentspanid", "rootspanid", "observationid"),
    *("parentobservationid", "runid", "parentrunid", "sessionid", "threadid", "conversationid"),
    *("userid", "enduserid", "toolcallid", "callid", "requestid", "responseid", "projectid"),
    *("dottedorder", "traceids", "contenthash", "langfuseuserid", "langfusesessionid"),
    *("genaiconversationid", "genairesponseid", "genaitoolcallid", "traceloopentityid"),
}
# Of these one mask for all would make one person, or one conversation, of many.
_OF_PEOPLE = ("userid", "sessionid", "conversationid", "threadid", "enduserid")
_MOMENT = re.compile(r"(?:unixnano|time|timestamp|at|date|day)$")
_LIKE_MOMENT = re.compile(r"[\d\-+:.TZ ]{8,40}")
_PATHS_REMEMBERED = 20_000
_SEPARATORS = re.compile(r"[._\-]")


KeyMask = Callable[[str], str]


class _Place(NamedTuple):
    """Where a copied value goes: into `holder[key]`; and how it is reached.

    `inside` is the number of the JSON string that it stands in, or -1.
    """

    holder: Any
    key: Any
    path: str
    inside: int
    depth: int


@dataclass(slots=True)
class _Inner:
    """JSON that stood in a string: where, what it is now, and whether that is another."""

    place: _Place
    value: list[object]
    is_changed: bool = False


class Walk:
    """A copy of a document; `texts` are the strings in it that may be masked."""

    def __init__(self, document: object, fields: Fields, counts: Counter[str], of_key: KeyMask):
        self.texts: list[str] = []
        self._fields = fields
        self._has_fields = bool(fields)
        self._counts = counts
        self._of_key = of_key
        self._inners: list[_Inner] = []
        self._places: list[_Place] = []
        self._root: list[object] = [None]
        # A stack of its own: documents from outside may be deeper than Python's.
        self._open: list[tuple[object, _Place]] = [(document, _Place(self._root, 0, "", -1, 0))]
        while self._open:
            self._copy(*self._open.pop())

    def put_together(self, masked: Sequence[str]) -> object:
        """The document with these texts in place of its own."""
        for place, before, after in zip(self._places, self.texts, masked, strict=True):
            if after != before:
                place.holder[place.key] = after
                self._change(place.inside)
        for inner in reversed(self._inners):
            if inner.is_changed:
                inner.place.holder[inner.place.key] = json.dumps(inner.value[0], ensure_ascii=False)
        return self._root[0]

    def _change(self, inside: int) -> None:
        while inside >= 0 and not self._inners[inside].is_changed:
            self._inners[inside].is_changed = True
            inside = self._inners[inside].place.inside

    def _copy(self, value: object, to: _Place) -> None:
        if isinstance(value, str):
            self._copy_text(value, to)
        elif isinstance(value, dict):
            self._copy_object(value, to)
        elif isinstance(value, list):
            copied: list[object] = []
            to.holder[to.key] = copied
            for part in value:
                self._copy_part(part, to, copied)
        else:
            to.holder[to.key] = value

    def _copy_part(self, part: object, to: _Place, copied: list[object]) -> None:
        """A part of a list: one of OTLP's attributes has a name, and so it may be a field."""
        named = _attribute(part)
        path = to.path if named is None else _joined(to.path, named)
        action = self._fields.action(path) if named and self._has_fields else None
        if action in ("mask", "drop"):
            self._note(path, to.inside)
            if action == "mask" and not _is_of_people(path):
                assert isinstance(part, dict)
                key = "string_value" if "string_value" in part["value"] else "stringValue"
                copied.append(part | {"value": {key: mask_of(path)}})
        elif action == "off":
            copied.append(part)
        elif named is None or not self._copy_plain(part, path, to, copied):
            copied.append(None)
            self._open.append((part, _Place(copied, len(copied) - 1, path, to.inside, to.depth)))

    def _copy_plain(self, part: object, path: str, to: _Place, copied: list[object]) -> bool:
        """The short way for what most of a request is: attributes that are a text or a number."""
        assert isinstance(part, dict)
        value = part["value"]
        if len(value) != 1:
            return False
        ((kind, text),) = value.items()
        if kind == "stringValue" and isinstance(text, str):
            holder: dict[str, object] = {}
            copied.append({"key": part["key"], "value": holder})
            self._copy_text(text, _Place(holder, kind, path, to.inside, to.depth))
        elif kind in _NUMBERS:
            copied.append(part)
        else:
            return False
        return True

    def _copy_object(self, value: dict[str, object], to: _Place) -> None:
        copied: dict[str, object] = {}
        to.holder[to.key] = copied
        is_attribute = _attribute(value) is not None
        for name, part in value.items():
            if is_attribute and name == "key":
                copied[name] = part
                continue
            path = to.path if name in _WRAPPERS else _joined(to.path, name)
            is_named = self._has_fields and path != to.path
            action = self._fields.action(path) if is_named else None
            if action in ("mask", "drop"):
                self._note(path, to.inside)
                if action == "mask" and not _is_of_people(path):
                    copied[name] = mask_of(path)
                continue
            shown = self._of_key(name)
            if shown != name:
                self._change(to.inside)
                shown = _free(shown, copied, value)
            copied[shown] = part
            if action != "off" and name not in _NUMBERS:
                self._open.append((part, _Place(copied, shown, path, to.inside, to.depth)))

    def _copy_text(self, text: str, to: _Place) -> None:
        to.holder[to.key] = text
        if not text or _is_joining(to.path, text):
            return
        if to.depth < _DEEPEST and text[0] in '{["' and text[-1] in '}]"':
            found = _parsed(text)
            if found is not None:
                inner = _Inner(to, [None])
                self._inners.append(inner)
                number = len(self._inners) - 1
                self._open.append((found, _Place(inner.value, 0, to.path, number, to.depth + 1)))
                return
        self._places.append(to)
        self.texts.append(text)

    def _note(self, path: str, inside: int) -> None:
        """Count what a field rule took away."""
        self._counts[mask_of(path)] += 1
        self._change(inside)


def _attribute(value: object) -> str | None:
    """The name of one of OTLP's attributes, `{"key": ..., "value": {...}}`; None for others."""
    if isinstance(value, dict) and len(value) == 2 and isinstance(value.get("value"), dict):
        name = value.get("key")
        return name if isinstance(name, str) else None
    return None


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _free(name: str, taken: dict[str, Any], others: dict[str, Any]) -> str:
    """The name, or with a number where two keys have the same mask."""
    number, free = 1, name
    while free in taken or free in others:
        number += 1
        free = f"{name}_{number}"
    return free


def _parsed(text: str) -> object | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list | str) else None


@lru_cache(maxsize=_PATHS_REMEMBERED)
def _last_names(path: str) -> tuple[str, str]:
    """The end of a path without its separators: its last name, and its last two."""
    names = _SEPARATORS.split(path.lower())
    return names[-1], "".join(names[-2:])


def _is_joining(path: str, text: str) -> bool:
    last, two = _last_names(path)
    if last in _JOINING or two in _JOINING:
        return True
    return bool(_MOMENT.search(last)) and bool(_LIKE_MOMENT.fullmatch(text))


def _is_of_people(path: str) -> bool:
    last, two = _last_names(path)
    return last in _OF_PEOPLE or two in _OF_PEOPLE
