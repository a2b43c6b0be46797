"""Spans of OpenTelemetry in its JSON for tests, written as short as they can be."""

import json
from collections.abc import Iterable, Mapping

from flywheel.traces.spans.formats.otlp import read
from flywheel.traces.spans.span import Span

# 2 March 2026, 10:00 UTC.
START_NS = 1_772_445_600_000_000_000
JsonObject = dict[str, object]


def any_value(value: object) -> JsonObject:
    """A value as OTLP wraps it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(inner) for inner in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    return {"stringValue": value}


def attributes(values: Mapping[str, object]) -> list[JsonObject]:
    """A dictionary as a list of keys and values."""
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def span(
    span_id: str,
    parent_id: str = "",
    values: Mapping[str, object] | None = None,
    *,
    trace_id: str = "t1",
    at_ms: int = 0,
    for_ms: int | None = 10,
    **more: object,
) -> JsonObject:
    """A span that begins `at_ms` after START_NS; without `for_ms` it has not ended."""
    started = START_NS + at_ms * 1_000_000
    made: JsonObject = {
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": parent_id,
        "name": span_id,
        "startTimeUnixNano": str(started),
        "attributes": attributes(values or {}),
    }
    if for_ms is not None:
        made["endTimeUnixNano"] = str(started + for_ms * 1_000_000)
    return made | more


def request(*spans: JsonObject, **resource: object) -> JsonObject:
    """A request of one resource with these spans."""
    about = {"service.name": "shop"} | resource
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(about)},
                "scopeSpans": [{"scope": {"name": "test"}, "spans": list(spans)}],
            }
        ]
    }


def read_one(values: Mapping[str, object], **more: object) -> Span:
    """The span that one with these attributes is read as."""
    (found,) = read(request(span("a", "", values, **more)))  # type: ignore[arg-type]
    assert isinstance(found, Span)
    return found


def dotted(prefix: str, tree: object) -> Iterable[tuple[str, object]]:
    """A nested value as instrumentations flatten it."""
    pairs = (
        tree.items() if isinstance(tree, dict) else enumerate(tree)  # type: ignore[arg-type,var-annotated]
    )
    for key, value in pairs:
        if isinstance(value, (dict, list)):
            yield from dotted(f"{prefix}.{key}", value)
        else:
            yield f"{prefix}.{key}", value


def as_json(value: object) -> str:
    """The value as the text that many dialects send."""
    return json.dumps(value)
