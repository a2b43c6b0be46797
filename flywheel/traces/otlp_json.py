"""OTLP in JSON, as clients really send it: a body in, the standard's own spelling of it out.

The one idea is to be generous where nothing is lost by it (names in snake_case, ids in base64 or
capitals, numbers as text or not, kinds by their names), and to say of everything else, span by
span, why it cannot be used. What the standard does not know is left out, as it asks for.
"""

import binascii
import json
import math
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from flywheel.errors import BadInput

# A JSON document whose shape OpenTelemetry defines; what is in it is checked where it comes in.
Document = dict[str, Any]

# In JSON a control character is six, and a line of an archive holds 128 MB.
MAX_SPAN_BYTES = 16 << 20
MAX_VALUES = 2_000_000
# Of lists and objects within each other in one attribute; protobuf's own parser stops there too.
MAX_NESTING = 50
_MOST = 2**64

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES = ("UNSET", "OK", "ERROR")
_HEX = re.compile(r"[0-9a-fA-F]*")


class SpanRejected(BadInput):
    """A span that cannot be used, in a request that otherwise can."""


def checked_document(body: bytes) -> tuple[Document, dict[str, int]]:
    """The request with its sound spans, and how many others there were, by why.

    Raises BadInput where the body is no ExportTraceServiceRequest in JSON.
    """
    if body.count(b"{") + body.count(b"[") > MAX_VALUES:
        raise BadInput(f"a request holds {MAX_VALUES:,} values at most; send fewer at once")
    try:
        sent = json.loads(body)
    except RecursionError as error:
        raise BadInput("the body is JSON that is nested too deeply") from error
    except ValueError as error:
        raise BadInput(f"the body is not JSON: {error}") from error
    if not isinstance(sent, dict) or _of(sent, "resourceSpans") is None:
        raise BadInput("the body has no resourceSpans, which an ExportTraceServiceRequest has")
    rejected: Counter[str] = Counter()
    resources = [
        _resource_spans(one, rejected) for one in _objects(sent, "resourceSpans", "the body")
    ]
    return {"resourceSpans": resources}, dict(rejected)


def written_double(value: float) -> float | str:
    """A number as JSON can hold it: those that are none are texts, as in protobuf's JSON."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _resource_spans(sent: Document, rejected: Counter[str]) -> Document:
    resource = _of(sent, "resource")
    attributes = _attributes(resource) if isinstance(resource, dict) else []
    scopes = _objects(sent, "scopeSpans", "resourceSpans")
    # Its name before 2022.
    scopes += _objects(sent, "instrumentationLibrarySpans", "resourceSpans")
    made: Document = {"resource": {"attributes": attributes}}
    made["scopeSpans"] = [_scope_spans(scope, rejected) for scope in scopes]
    return made | _texts(sent, "schemaUrl")


def _scope_spans(sent: Document, rejected: Counter[str]) -> Document:
    scope = _of(sent, "scope")
    named: Document = {"name": ""}
    if isinstance(scope, dict):
        attributes = _attributes(scope)
        named |= _texts(scope, "name", "version")
        named |= {"attributes": attributes} if attributes else {}
    spans = []
    for one in _objects(sent, "spans", "scopeSpans"):
        try:
            spans.append(_span(one))
        except SpanRejected as error:
            rejected[str(error)] += 1
    return {"scope": named, "spans": spans}


def _span(sent: Document) -> Document:
    made: Document = {
        "traceId": _id(sent, "traceId", 16),
        "spanId": _id(sent, "spanId", 8),
    }
    if _of(sent, "parentSpanId"):
        parent = _id(sent, "parentSpanId", 8, may_be_zero=True)
        made |= {"parentSpanId": parent} if parent.strip("0") else {}
    made |= _texts(sent, "traceState")
    made["name"] = ""
    made |= _texts(sent, "name")
    made["kind"] = _choice(sent, "kind", "SPAN_KIND_", _KINDS)
    made["startTimeUnixNano"] = str(_integer(sent, "startTimeUnixNano"))
    made["endTimeUnixNano"] = str(_integer(sent, "endTimeUnixNano"))
    made["attributes"] = _attributes(sent)
    if events := [_event(one) for one in _objects(sent, "events", "a span")]:
        made["events"] = events
    if links := [_link(one) for one in _objects(sent, "links", "a span")]:
        made["links"] = links
    status = _of(sent, "status")
    if isinstance(status, dict) and status:
        code = _choice(status, "code", "STATUS_CODE_", _CODES)
        made["status"] = {"code": code, "message": ""} | _texts(status, "message")
    for name in ("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"):
        if count := _integer(sent, name):
            made[name] = count
    return made


def _event(sent: Document) -> Document:
    time = str(_integer(sent, "timeUnixNano"))
    named = {"timeUnixNano": time, "name": ""} | _texts(sent, "name")
    return named | {"attributes": _attributes(sent)}


def _link(sent: Document) -> Document:
    ids = {"traceId": _id(sent, "traceId", 16), "spanId": _id(sent, "spanId", 8)}
    return ids | {"attributes": _attributes(sent)}


def _attributes(sent: Document) -> list[Document]:
    return [_pair(one, 0) for one in _objects(sent, "attributes", "attributes")]


def _pair(sent: Document, depth: int) -> Document:
    key = sent.get("key")
    if not isinstance(key, str):
        raise SpanRejected("an attribute has no key")
    return {"key": key, "value": _value(sent.get("value"), depth)}


def _value(sent: object, depth: int) -> Document:
    if sent is None:
        return {}
    if not isinstance(sent, dict):
        raise SpanRejected("the value of an attribute is none of OTLP's, such as stringValue")
    if depth > MAX_NESTING:
        raise SpanRejected(f"the value of an attribute is nested deeper than {MAX_NESTING} levels")
    for name, read in _VALUES.items():
        value = _of(sent, name)
        if value is not None:
            return {name: read(value, depth)}
    return {}


def _text(value: object, _: int) -> str:
    if not isinstance(value, str):
        raise SpanRejected("the stringValue of an attribute is no text")
    return value


def _boolean(value: object, _: int) -> bool:
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise SpanRejected("the boolValue of an attribute is neither true nor false")
    return value in (True, "true")


def _whole(value: object, _: int) -> str:
    number = _number(value)
    if number is None or not -_MOST < number < _MOST:
        raise SpanRejected("the intValue of an attribute is no whole number of 64 bits")
    return str(number)


def _double(value: object, _: int) -> float | str:
    try:
        number = float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        number = None
    if number is None:
        raise SpanRejected("the doubleValue of an attribute is no number")
    return written_double(number)


def _base64(value: object, _: int) -> str:
    if not isinstance(value, str):
        raise SpanRejected("the bytesValue of an attribute is no text in base64")
    return value


def _list(value: object, depth: int) -> Document:
    values = value.get("values") if isinstance(value, dict) else value
    if not isinstance(values, list | None):
        raise SpanRejected("the arrayValue of an attribute holds no list of values")
    return {"values": [_value(one, depth + 1) for one in values or ()]}


def _keyed(value: object, depth: int) -> Document:
    values = value.get("values") if isinstance(value, dict) else None
    if not isinstance(values, list | None):
        raise SpanRejected("the kvlistValue of an attribute holds no list of values")
    if not all(isinstance(one, dict) for one in values or ()):
        raise SpanRejected("the kvlistValue of an attribute holds something that has no key")
    return {"values": [_pair(one, depth + 1) for one in values or ()]}


_VALUES: Mapping[str, Callable[[object, int], object]] = {
    "stringValue": _text,
    "intValue": _whole,
    "boolValue": _boolean,
    "doubleValue": _double,
    "arrayValue": _list,
    "kvlistValue": _keyed,
    "bytesValue": _base64,
}


def _of(sent: Mapping[str, Any], name: str) -> object:
    """A field by its name in camelCase, or else in snake_case."""
    value = sent.get(name)
    return value if value is not None else sent.get(_SNAKE[name])


class _SnakeCase(dict[str, str]):
    def __missing__(self, name: str) -> str:
        self[name] = re.sub(r"(?=[A-Z])", "_", name).lower()
        return self[name]


# Of the field names of this module, each made once.
_SNAKE = _SnakeCase()


def _objects(sent: Mapping[str, Any], name: str, where: str) -> list[Document]:
    values = _of(sent, name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise SpanRejected(f"{where}: {name} is no list of objects")
    return values


def _texts(sent: Mapping[str, Any], *names: str) -> Document:
    """Those of the fields that hold something; raises where one is no text."""
    found = {name: value for name in names if (value := _of(sent, name))}
    for name, value in found.items():
        if not isinstance(value, str):
            raise SpanRejected(f"its {name} is no text")
    return found


def _integer(sent: Mapping[str, Any], name: str) -> int:
    value = _of(sent, name)
    number = 0 if value is None else _number(value)
    if number is None or not 0 <= number < _MOST:
        raise SpanRejected(f"its {name} is no whole number from 0 on")
    return number


def _number(value: object) -> int | None:
    """The whole number that a JSON number or a text is; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        # A longer text is no number of 64 bits, and costs the square of its length.
        is_number = len(value) <= 20 and value.removeprefix("-").isdecimal()
        return int(value) if is_number and value.isascii() else None
    return value if isinstance(value, int) else None


def _choice(sent: Mapping[str, Any], name: str, start: str, names: tuple[str, ...]) -> int:
    value = _of(sent, name)
    if isinstance(value, str) and value.removeprefix(start) in names:
        return names.index(value.removeprefix(start))
    number = 0 if value is None else _number(value)
    # Whatever a later version adds is kept as its number.
    if number is None or not 0 <= number < 1 << 31:
        raise SpanRejected(f"its {name} is none of OTLP's")
    return number


def _id(sent: Mapping[str, Any], name: str, n_bytes: int, may_be_zero: bool = False) -> str:
    """An id in lower-case hex; those who send base64 follow protobuf's JSON, not OTLP's."""
    value = _of(sent, name)
    found = value.lower() if isinstance(value, str) and _HEX.fullmatch(value) else ""
    if isinstance(value, str) and len(value) == (n_bytes + 2) // 3 * 4:
        try:
            found = b64decode(value, validate=True).hex()
        except binascii.Error:
            found = ""
    if len(found) != 2 * n_bytes or not (may_be_zero or found.strip("0")):
        raise SpanRejected(f"its {name} is not {n_bytes} bytes in hex, or all of them are 0")
    return found
