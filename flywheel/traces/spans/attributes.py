"""Attributes as OTLP writes them in JSON, and as instrumentations flatten them.

Key-value pairs in, a plain dictionary out; dotted paths in, nested objects out. The one idea is
that the names of both casings and both ways of nesting are one and the same here, so that no
dialect has to know of them.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

from flywheel.traces.spans.json_values import json_text

# A path below a list, such as `message.role`, and its value.
Leaf: TypeAlias = tuple[str, object]

_PLACE = re.compile(r"(?:^|\.)\d+(?:\.|$)")
# More keys than any tool nests; what is deeper stays an object.
_MAX_LEVELS = 6


def attributes_of(pairs: object) -> dict[str, object]:
    """A list of `{key, value}` as a dictionary; a dictionary as it is, nested ones flattened."""
    if isinstance(pairs, list):
        made: dict[str, object] = {}
        for pair in pairs:
            try:
                # Nearly all of them are texts.
                value = pair["value"]
                text = value["stringValue"] if "stringValue" in value else plain(value)
                made[pair["key"]] = text
            except (KeyError, TypeError):
                if isinstance(pair, dict) and "key" in pair:
                    made[str(pair["key"])] = plain(pair.get("value"))
    elif isinstance(pairs, dict):
        made = {str(key): value for key, value in pairs.items()}
    else:
        return {}
    for key, value in made.items():
        if type(value) is dict or type(key) is not str:
            return dict(_flat(made, "", _MAX_LEVELS))
    return made


def plain(value: object) -> object:
    """The JSON value that an AnyValue wraps; what is none stays as it is."""
    if not isinstance(value, dict):
        return value
    for kind, inner in value.items():
        if kind == "stringValue" or kind == "string_value" or kind in _SCALARS:
            return inner
        if kind == "intValue" or kind == "int_value":
            return whole(inner)
        if kind in _NESTED:
            listed = inner.get("values") if isinstance(inner, dict) else None
            entries = listed if isinstance(listed, list) else []
            if kind.startswith("array"):
                return [plain(entry) for entry in entries]
            pairs = (entry for entry in entries if isinstance(entry, dict))
            return {str(pair.get("key")): plain(pair.get("value")) for pair in pairs}
    return value or None


_SCALARS = {
    *("boolValue", "bool_value", "doubleValue", "double_value", "bytesValue", "bytes_value"),
}
_NESTED = {"arrayValue", "array_value", "kvlistValue", "kvlist_value"}


def whole(value: object) -> object:
    """A 64-bit number, which JSON has as text; anything else as it is."""
    if isinstance(value, str) and len(value) < 21:
        try:
            return int(value)
        except ValueError:
            return value
    return value


def nested(leaves: Iterable[Leaf]) -> object:
    """What stands below one place of a list: `a.0.b` -> `{"a": [{"b": …}]}`; a lone value as it is.

    A path that contradicts another is kept under its dotted name.
    """
    made: dict[str, object] = {}
    has_lists = False
    for path, value in leaves:
        if not path:
            return value
        above, last, is_in_list = _steps(path)
        has_lists = has_lists or is_in_list
        place = made
        for name in above:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                place, last = made, path
                break
            place = inner
        place[path if last in place else last] = value
    return _with_lists(made, _MAX_LEVELS * 2) if has_lists else made


@lru_cache(4096)
def _steps(path: str) -> tuple[list[str], str, bool]:
    """The names above the last one, the last one, and whether any is a place in a list."""
    *above, last = path.split(".", _MAX_LEVELS * 2)
    return above, last, _PLACE.search(path) is not None


def _with_lists(value: object, levels: int) -> object:
    """Objects whose keys are all numbers as lists, in the order of the numbers."""
    if not isinstance(value, dict) or levels == 0:
        return value
    made = {key: _with_lists(inner, levels - 1) for key, inner in value.items()}
    if made and all(key.isdecimal() and key.isascii() and len(key) < 10 for key in made):
        return [made[key] for key in sorted(made, key=int)]
    return made


def _flat(tree: Mapping[str, object], above: str, levels: int) -> Iterable[tuple[str, object]]:
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value and levels > 0 and name not in _WHOLE:
            yield from _flat(value, f"{name}.", levels - 1)
        else:
            yield name, value


# Objects that are one value.
_WHOLE = {
    *("metadata", "input.value", "output.value", "tool.parameters", "mlflow.spanInputs"),
    *("mlflow.spanOutputs", "mlflow.chat.tokenUsage", "mlflow.llm.cost", "gen_ai.input.messages"),
    *("langfuse.observation.input", "langfuse.observation.output", "gen_ai.output.messages"),
    *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "ai.toolCall.args"),
    *("ai.toolCall.result", "traceloop.entity.input", "traceloop.entity.output"),
    *("langfuse.observation.usage_details", "langfuse.observation.cost_details"),
}


def identifier(value: object) -> str | None:
    """An id as text; None where there is none."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json_text(value)
