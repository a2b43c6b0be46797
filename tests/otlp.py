"""Requests of OpenTelemetry for tests: made of plain numbers, in protobuf and in JSON."""

import json
from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from flywheel.store import Project
from flywheel.store.artifacts import Artifacts
from flywheel.store.tables import imports
from flywheel.traces.importing import RAW

PROTOBUF = "application/x-protobuf"
START_NS = 1_772_445_600_000_000_000
JsonObject = dict[str, object]


def span(trace: int, number: int, parent: int = 0, /, **attributes: object) -> Span:
    """A span of a second; ids are made of numbers, and 0 is no parent."""
    return Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=(trace * 1000 + number).to_bytes(8, "big"),
        parent_span_id=(trace * 1000 + parent).to_bytes(8, "big") if parent else b"",
        name=f"step {number}",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=START_NS + number * 1_000_000,
        end_time_unix_nano=START_NS + 1_000_000_000,
        attributes=[KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()],
    )


def any_value(value: object) -> AnyValue:
    """A value as an attribute holds it."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


def request(*spans: Span, service: str = "shop") -> ExportTraceServiceRequest:
    """A request of one application with these spans."""
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    resource.resource.attributes.add(key="service.name", value=AnyValue(string_value=service))
    resource.scope_spans.add().spans.extend(spans)
    return made


def body(*spans: Span) -> bytes:
    """The same as bytes."""
    return request(*spans).SerializeToString()


def trace_of(trace: int, n_spans: int = 4) -> list[Span]:
    """A whole trace: a root, and a chain of steps under it."""
    return [span(trace, number, number - 1) for number in range(1, n_spans + 1)]


def said(content: bytes) -> ExportTraceServiceResponse:
    """An answer in protobuf."""
    return ExportTraceServiceResponse.FromString(content)


def archived_lines(project: Project) -> list[JsonObject]:
    """Every line of every import, oldest first."""
    with project.stores.ledger.read() as connection:
        entries = connection.execute(imports.select().order_by(imports.c.import_id)).all()
    return [row for one in entries for row in _rows(project.stores.artifacts, one.artifact)]


def archived_spans(project: Project) -> list[JsonObject]:
    """Every span of every import, oldest first."""
    return [
        one
        for line in archived_lines(project)
        for resource in line.get("resourceSpans", ())
        for scope in resource["scopeSpans"]
        for one in scope["spans"]
    ]


def span_ids(spans: Iterable[Mapping[str, object] | Span]) -> list[str]:
    """Their ids in hex, sorted."""
    return sorted(one.span_id.hex() if isinstance(one, Span) else one["spanId"] for one in spans)


def _rows(artifacts: Artifacts, name: str) -> list[JsonObject]:
    with artifacts.plain(RAW, name) as path:
        return [json.loads(line) for line in path.read_bytes().splitlines()]
