"""JSON inside of JSON: tools write values as text, and what they write is hostile.

Text in, a value out where it is JSON of a bearable depth, and the other way round. The one idea is
that nothing here raises: what cannot be read stays the text that it is.
"""

import json
import math
import re

import orjson

from flywheel.traces.lines import MAX_DEPTH, is_deeper

_SURROGATES = re.compile("[\ud800-\udfff]")
# Infinities and what is no number are no JSON: they become texts.
_decode = json.JSONDecoder(parse_constant=str).decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def json_in(text: str) -> object:
    """The object or list that `text` is; the text itself where it is none."""
    start = text.lstrip()[:1]
    return value_in(text) if start in ("{", "[") else text


def value_in(text: str) -> object:
    """The JSON value that `text` is, be it a number or a quoted text; else the text itself."""
    if text.count("[") + text.count("{") > MAX_DEPTH and is_deeper(
        text.encode("utf-8", "replace"), MAX_DEPTH
    ):
        return text
    try:
        return decoded(text)
    except (ValueError, RecursionError):
        return text


def decoded(text: str | bytes) -> object:
    """The JSON value of a text; raises ValueError or RecursionError where it is none."""
    try:
        value: object = orjson.loads(text)
    except ValueError:
        # Python's own knows NaN and halves of surrogate pairs, and says what is wrong.
        value = _decode(text if isinstance(text, str) else text.decode())
    return value


def json_text(value: object) -> str:
    """`value` as compact JSON that every store takes.

    Infinities become null, halves of surrogate pairs `\ufffd`.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # A half of a surrogate pair, a whole number of more than 64 bits, more levels than 250.
        pass
    try:
        text = _encode(value)
    except (ValueError, TypeError, RecursionError):
        text = _encode(_storable(value, MAX_DEPTH))
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def plain_text(value: object) -> str:
    """A text as it is, anything else as JSON, nothing as ''."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


def _storable(value: object, depth: int) -> object:
    if depth == 0:
        return "nested too deeply"
    if isinstance(value, dict):
        return {str(key): _storable(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(inner, depth - 1) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
