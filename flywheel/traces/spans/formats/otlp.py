"""OpenTelemetry's JSON: what the inbox archives and what a collector's file exporter writes.

A row is one ExportTraceServiceRequest, or one ResourceSpans of it. The one idea is that this module
knows only the envelope; what the attributes of a span mean, the dialects say.
"""

from collections.abc import Iterator, Mapping

from flywheel.errors import BadInput
from flywheel.traces.feedback import FeedbackRow
from flywheel.traces.spans.attributes import attributes_of, identifier, whole
from flywheel.traces.spans.events import Event
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.reading import RawSpan, read_span
from flywheel.traces.spans.span import Span, SpanStatus

_Row = Mapping[str, object]
_MAX_NS = 1 << 63
_STATUS: dict[object, SpanStatus] = {
    **dict.fromkeys((1, "1", "STATUS_CODE_OK", "OK"), "ok"),
    **dict.fromkeys((2, "2", "STATUS_CODE_ERROR", "ERROR"), "error"),
}
# What the envelope has a field for; any other key of a span goes to its metadata.
_KNOWN = {
    *("traceId", "spanId", "parentSpanId", "name", "startTimeUnixNano", "endTimeUnixNano"),
    *("attributes", "events", "links", "status", "kind", "flags"),
}
# Writers that keep the names of the protocol's own definition.
_CAMEL = {
    "trace_id": "traceId",
    "span_id": "spanId",
    "parent_span_id": "parentSpanId",
    "start_time_unix_nano": "startTimeUnixNano",
    "end_time_unix_nano": "endTimeUnixNano",
    "trace_state": "traceState",
    "dropped_attributes_count": "droppedAttributesCount",
    "dropped_events_count": "droppedEventsCount",
    "dropped_links_count": "droppedLinksCount",
}
# 0 where nothing was dropped, empty where there is no state.
_COUNTERS = {
    *("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount", "traceState"),
}


def read(row: _Row) -> Iterator[Span | FeedbackRow]:
    """The spans of one request, and what its annotations say of them."""
    app = identifier(row.get("app"))
    groups = _first(row, "resourceSpans", "resource_spans")
    for group in _objects([row] if groups is None else groups, "resourceSpans"):
        yield from _read_group(group, app)


def _read_group(group: _Row, app: str | None) -> Iterator[Span | FeedbackRow]:
    """All spans of one resource; those without a parent among them keep what is said of it."""
    resource = group.get("resource")
    about = attributes_of(resource.get("attributes") if isinstance(resource, dict) else None)
    service = about.get("service.name")
    if app is None and isinstance(service, str) and not service.startswith("unknown_service"):
        app = service or None
    version = about.get("service.version")
    release = version if isinstance(version, str) else None
    scopes = _first(group, "scopeSpans", "scope_spans", "instrumentationLibrarySpans") or []
    listed = [
        (scope, _objects(scope.get("spans") or [], "spans"))
        for scope in _objects(scopes, "scopeSpans")
    ]
    present = {_span_id(span) for _, spans in listed for span in spans}
    for scope, spans in listed:
        metadata = _scope(scope)
        for span in spans:
            raw = _raw(span, app, release, metadata)
            if about and raw.parent_id not in present:
                raw.metadata = {**raw.metadata, "resource": about}
            yield from read_span(raw)


def _raw(span: _Row, app: str | None, release: str | None, metadata: _Row) -> RawSpan:
    if "traceId" not in span:
        span = {_CAMEL.get(key, key): value for key, value in span.items()}
    trace_id, span_id = identifier(span.get("traceId")), identifier(span.get("spanId"))
    if not trace_id or not span_id:
        raise BadInput("a span has no traceId or no spanId")
    parent_id = identifier(span.get("parentSpanId"))
    status, error = _status(span.get("status"))
    attributes = attributes_of(span.get("attributes"))
    if release:
        attributes.setdefault("service.version", release)
    if not span.keys() <= _KNOWN:
        rest = {k: v for k, v in span.items() if k not in _KNOWN and (v or k not in _COUNTERS)}
        metadata = {**metadata, **rest}
    events, links = span.get("events"), _objects(span.get("links") or [], "links")
    if links:
        said = [attributes_of(link.get("attributes")) for link in links]
        metadata = {**metadata, "link_attributes": said} if any(said) else metadata
    return RawSpan(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id if parent_id != span_id else None,
        name=identifier(span.get("name")) or "",
        app=app,
        started_ns=_time(span.get("startTimeUnixNano")),
        ended_ns=_time(span.get("endTimeUnixNano")),
        status=status,
        error=error,
        attributes=attributes,
        events=[_event(event) for event in _objects(events, "events")] if events else (),
        links=[_link(link) for link in links],
        metadata=metadata,
    )


def _scope(scope_spans: _Row) -> dict[str, object]:
    scope = _first(scope_spans, "scope", "instrumentationLibrary")
    if not isinstance(scope, dict) or not scope:
        return {}
    made = {"name": scope.get("name"), "version": scope.get("version")}
    about = attributes_of(scope.get("attributes"))
    return {"scope": {key: value for key, value in {**made, **about}.items() if value}}


def _status(value: object) -> tuple[SpanStatus | None, str | None]:
    if not isinstance(value, dict):
        return None, None
    return _STATUS.get(identifier(value.get("code"))), identifier(value.get("message"))


def _event(event: _Row) -> Event:
    return Event(
        identifier(event.get("name")) or "",
        _time(_first(event, "timeUnixNano", "time_unix_nano")),
        attributes_of(event.get("attributes")),
    )


def _link(link: _Row) -> tuple[str, str]:
    trace = identifier(_first(link, "traceId", "trace_id"))
    return trace or "", _span_id(link) or ""


def _span_id(span: _Row) -> str | None:
    return identifier(_first(span, "spanId", "span_id"))


def _time(value: object) -> int | None:
    """Nanoseconds since 1970; 0 is no time."""
    number = whole(value)
    return number if type(number) is int and 0 < number < _MAX_NS else None


def _first(row: _Row, *keys: str) -> object:
    for key in keys:
        value = row.get(key)
        if value is not None:
            return value
    return None


def _objects(value: object, name: str) -> list[dict[str, object]]:
    if value == []:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadInput(f"{name!r} is no list of objects")
    return value


FORMAT = SpanFormat(
    "otlp",
    (
        frozenset({"resourceSpans"}),
        frozenset({"resource_spans"}),
        frozenset({"scopeSpans"}),
        frozenset({"scope_spans"}),
    ),
    read,
)
