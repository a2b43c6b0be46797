"""Requests in protobuf as documents: messages of OpenTelemetry in, standard OTLP/JSON out.

It stands between the wire and the archive. The one idea is that nothing is understood here: what a
client sent is written down field by field, and what it did not send is not there.
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from flywheel.traces.otlp_json import Document, written_double


def document_of(request: ExportTraceServiceRequest) -> Document:
    """The request as standard OTLP/JSON: ids in hex, 64-bit numbers as text."""
    return {"resourceSpans": [_resource_spans(one) for one in request.resource_spans]}


def _resource_spans(resource: ResourceSpans) -> Document:
    made: Document = {"resource": {"attributes": _attributes(resource.resource.attributes)}}
    made["scopeSpans"] = [_scope_spans(scope) for scope in resource.scope_spans]
    if resource.schema_url:
        made["schemaUrl"] = resource.schema_url
    return made


def _scope_spans(scope: ScopeSpans) -> Document:
    named: Document = {"name": scope.scope.name}
    if scope.scope.version:
        named["version"] = scope.scope.version
    if scope.scope.attributes:
        named["attributes"] = _attributes(scope.scope.attributes)
    return {"scope": named, "spans": [_span(span) for span in scope.spans]}


def _span(span: Span) -> Document:
    made: Document = {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex()}
    if span.parent_span_id:
        made["parentSpanId"] = span.parent_span_id.hex()
    if span.trace_state:
        made["traceState"] = span.trace_state
    made["name"] = span.name
    made["kind"] = span.kind
    made["startTimeUnixNano"] = str(span.start_time_unix_nano)
    made["endTimeUnixNano"] = str(span.end_time_unix_nano)
    made["attributes"] = _attributes(span.attributes)
    if span.events:
        made["events"] = [_event(event) for event in span.events]
    if span.links:
        made["links"] = [_link(link) for link in span.links]
    status = span.status
    if status.code or status.message:
        made["status"] = {"code": status.code, "message": status.message}
    for name, count in (
        ("droppedAttributesCount", span.dropped_attributes_count),
        ("droppedEventsCount", span.dropped_events_count),
        ("droppedLinksCount", span.dropped_links_count),
    ):
        if count:
            made[name] = count
    return made


def _event(event: Span.Event) -> Document:
    return {
        "timeUnixNano": str(event.time_unix_nano),
        "name": event.name,
        "attributes": _attributes(event.attributes),
    }


def _link(link: Span.Link) -> Document:
    ids = {"traceId": link.trace_id.hex(), "spanId": link.span_id.hex()}
    return ids | {"attributes": _attributes(link.attributes)}


def _attributes(pairs: Iterable[KeyValue]) -> list[Document]:
    # Nearly all of them are texts, and to ask for the kind of each costs as much as the rest.
    return [
        {
            "key": pair.key,
            "value": {"stringValue": text}
            if (text := (value := pair.value).string_value)
            else _value(value),
        }
        for pair in pairs
    ]


def _value(value: AnyValue) -> Document:
    make = _VALUES.get(value.WhichOneof("value") or "")
    return {} if make is None else make(value)


# How each kind of value is written; one that is not among them is none.
_VALUES: Mapping[str, Callable[[AnyValue], Document]] = {
    "string_value": lambda value: {"stringValue": value.string_value},
    "int_value": lambda value: {"intValue": str(value.int_value)},
    "bool_value": lambda value: {"boolValue": value.bool_value},
    "double_value": lambda value: {"doubleValue": written_double(value.double_value)},
    "bytes_value": lambda value: {"bytesValue": b64encode(value.bytes_value).decode()},
    "array_value": lambda value: {
        "arrayValue": {"values": [_value(one) for one in value.array_value.values]}
    },
    "kvlist_value": lambda value: {
        "kvlistValue": {"values": _attributes(value.kvlist_value.values)}
    },
}
