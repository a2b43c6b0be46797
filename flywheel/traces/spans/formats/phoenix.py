"""Phoenix: spans and annotations of its API, and the tables that its client makes of both.

A row is one span, one annotation, or a trace with its spans as the command line prints it. The one
idea is that attributes are OpenInference's whatever the shape: with dotted names, nested, or as
columns of a table, where messages are lists of objects with dotted names.
"""

from collections.abc import Iterable, Mapping

from flywheel.errors import BadInput
from flywheel.traces.feedback import FeedbackRow, FeedbackSource
from flywheel.traces.spans.attributes import attributes_of, nested
from flywheel.traces.spans.cells import (
    identifier,
    mapping,
    moment,
    nanoseconds,
    number,
    objects,
    rest,
    source_by_name,
    text,
    unpacked,
)
from flywheel.traces.spans.events import Event
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.reading import RawSpan, read_span
from flywheel.traces.spans.span import Span, SpanStatus

Row = Mapping[str, object]

_KIND = "openinference.span.kind"
_STATUS: dict[str, SpanStatus] = {"OK": "ok", "ERROR": "error"}
_COLUMN = "attributes."
_TAKEN = {
    *("id", "context", "name", "span_kind", "parent_id", "start_time", "end_time", "status_code"),
    *("status_message", "attributes", "events", "annotations", "context.trace_id", "span_id"),
    *("context.span_id", "__index_level_0__"),
}


def read(row: Row) -> Iterable[Span | FeedbackRow]:
    """The spans of a row and what is said of them."""
    if "annotator_kind" in row:
        yield _annotation(row, None, None)
    elif "traceId" in row:
        for span in objects(row.get("spans")):
            yield from _span(span)
    else:
        yield from _span(row)


def _span(row: Row) -> Iterable[Span | FeedbackRow]:
    context = mapping(row.get("context")) or {
        "trace_id": row.get("context.trace_id"),
        "span_id": row.get("context.span_id") or row.get("span_id"),
    }
    trace_id, span_id = identifier(context, "trace_id"), identifier(context, "span_id")
    attributes = attributes_of(
        mapping(row.get("attributes"))
        or {
            name.removeprefix(_COLUMN): _unfolded(unpacked(value))
            for name, value in row.items()
            if name.startswith(_COLUMN) and value is not None
        }
    )
    attributes.setdefault(_KIND, row.get("span_kind"))
    status = _STATUS.get(str(row.get("status_code")))
    columns = {name for name in row if name.startswith(_COLUMN)}
    raw = RawSpan(
        trace_id,
        span_id,
        parent_id=text(row.get("parent_id")),
        name=text(row.get("name")) or "",
        started_ns=nanoseconds(row, "start_time"),
        ended_ns=nanoseconds(row, "end_time"),
        status=status,
        error=text(row.get("status_message")) if status == "error" else None,
        attributes=attributes,
        events=[
            Event(
                text(event.get("name")) or "",
                nanoseconds(event, "timestamp"),
                attributes_of(mapping(event.get("attributes"))),
            )
            for event in objects(row.get("events"))
        ],
        metadata=rest(row, _TAKEN | columns),
    )
    yield from read_span(raw)
    for annotation in objects(row.get("annotations")):
        yield _annotation(annotation, trace_id, span_id)


def _annotation(row: Row, trace_id: str | None, span_id: str | None) -> FeedbackRow:
    said = mapping(row.get("result")) or row
    name = text(row.get("name")) or text(row.get("annotation_name")) or "annotation"
    span_id = text(row.get("span_id")) or span_id
    trace_id = text(row.get("trace_id")) or trace_id
    if not span_id and not trace_id:
        raise BadInput("is an annotation of something else than a span or a trace")
    about = mapping(row.get("metadata"))
    return FeedbackRow(
        # An annotation of a span does not say of which trace: whoever loads it looks that up.
        trace_id=trace_id or "",
        span_id=span_id,
        name=name,
        value=number(said.get("score")),
        label=text(said.get("label")),
        comment=text(said.get("explanation")),
        correction=text(about.get("correction")),
        source=_source(row, name),
        author=text(row.get("user_id")) or text(row.get("identifier")),
        user_id=None,
        given_at=moment(row, "updated_at", "created_at"),
        origin=f"phoenix:{text(row.get('id')) or span_id or trace_id}:{name}",
    )


def _source(row: Row, name: str) -> FeedbackSource:
    """A person in Phoenix's own pages is an annotator; through the API, whoever the name says."""
    kind = str(row.get("annotator_kind")).upper()
    if kind != "HUMAN":
        return "llm" if kind == "LLM" else "code"
    is_user = row.get("source") != "APP" and source_by_name(name) == "end_user"
    return "end_user" if is_user else "annotator"


def _unfolded(value: object) -> object:
    """Objects with dotted names as nested ones, without what other rows of the table have."""
    if isinstance(value, list):
        return [_unfolded(item) for item in value]
    if isinstance(value, dict):
        return nested(
            (name, _unfolded(inner)) for name, inner in value.items() if inner is not None
        )
    return value


FORMAT = SpanFormat(
    "phoenix",
    (
        frozenset({"context.trace_id", "context.span_id", "span_kind"}),
        frozenset({"context.trace_id", "context.span_id", "status_code", "start_time"}),
        frozenset({"annotator_kind", "name", "result"}),
        frozenset({"annotator_kind", "annotation_name"}),
        frozenset({"traceId", "spans"}),
    ),
    read,
)
