"""Opik: traces and spans of its API, and what `opik export` writes of both.

A row is a trace, a span, or one object with a trace and its spans. The one idea is that a trace is
a span of its own above its spans, under the trace's own id.
"""

from collections.abc import Iterable, Mapping

from flywheel.traces.feedback import FeedbackRow, FeedbackSource
from flywheel.traces.spans.cells import (
    count,
    identifier,
    mapping,
    moment,
    money,
    nanoseconds,
    number,
    objects,
    rest,
    source_by_name,
    text,
    unpacked,
    words,
)
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.span import Span, SpanKind

Row = Mapping[str, object]

_KINDS: dict[str, SpanKind] = {"llm": "llm", "tool": "tool", "guardrail": "guardrail"}
_TAKEN = {
    *("id", "trace_id", "parent_span_id", "name", "type", "start_time", "end_time", "input"),
    *("output", "metadata", "tags", "thread_id", "error_info", "feedback_scores", "model"),
    *("provider", "project_name", "span_feedback_scores", "duration"),
}
# What a trace has of these is the sum of what is below it.
_TAKEN_OF_SPANS = _TAKEN | {"usage", "total_estimated_cost"}


def read(row: Row) -> Iterable[Span | FeedbackRow]:
    """The spans and scores of a trace, of one span or of an exported file."""
    if "spans" not in row:
        yield from _one(row)
        return
    project = {"project_name": row.get("project_name")}
    trace = mapping(row.get("trace"))
    yield from _one(project | trace)
    shared = project | {"trace_id": trace.get("id"), "thread_id": trace.get("thread_id")}
    for span in objects(row.get("spans")):
        yield from _one(shared | {name: value for name, value in span.items() if value is not None})


def _one(row: Row) -> Iterable[Span | FeedbackRow]:
    span_id = identifier(row, "id")
    is_trace = row.get("trace_id") is None
    trace_id = span_id if is_trace else identifier(row, "trace_id")
    kind = _KINDS.get(str(row.get("type")), "chain")
    usage = {} if is_trace else mapping(row.get("usage"))
    error, metadata = mapping(row.get("error_info")), row.get("metadata")
    reason = text(error.get("message")) or text(error.get("exception_type"))
    name = text(row.get("name")) or ""
    own = mapping(metadata) or ({"metadata": metadata} if text(metadata) else {})
    yield Span(
        trace_id,
        span_id,
        kind,
        name=name,
        parent_id=None if is_trace else text(row.get("parent_span_id")) or trace_id,
        app=text(row.get("project_name")),
        started_ns=nanoseconds(row, "start_time"),
        ended_ns=nanoseconds(row, "end_time"),
        status="error" if error else "ok",
        error=(reason or "error") if error else None,
        session_id=text(row.get("thread_id")),
        user_id=text(own.get("user_id")),
        model_name=text(row.get("model")),
        provider=text(row.get("provider")),
        input=unpacked(row.get("input")),
        output=unpacked(row.get("output")),
        tool_name=name if kind == "tool" and name else None,
        prompt_tokens=count(usage.get("prompt_tokens")),
        completion_tokens=count(usage.get("completion_tokens")),
        cost_usd=None if is_trace else money(row.get("total_estimated_cost")),
        tags=words(row.get("tags")),
        metadata=rest(row, _TAKEN if is_trace else _TAKEN_OF_SPANS) | own,
    )
    for score in objects(row.get("feedback_scores")):
        yield _feedback(score, trace_id, None if is_trace else span_id)


def _feedback(score: Row, trace_id: str, span_id: str | None) -> FeedbackRow:
    name = text(score.get("name")) or "score"
    return FeedbackRow(
        trace_id=trace_id,
        span_id=span_id,
        name=name,
        value=number(score.get("value")),
        label=text(score.get("category_name")),
        comment=text(score.get("reason")),
        correction=None,
        source=_source(str(score.get("source")), name),
        author=text(score.get("last_updated_by")) or text(score.get("created_by")),
        user_id=None,
        given_at=moment(score, "last_updated_at", "created_at"),
        origin=f"opik:{span_id or trace_id}:{name}",
    )


def _source(recorded: str, name: str) -> FeedbackSource:
    """`ui` is a person in Opik's pages, `online_scoring` a judge."""
    if recorded == "ui":
        return "annotator"
    return "llm" if recorded == "online_scoring" else source_by_name(name)


FORMAT = SpanFormat(
    "opik",
    (
        frozenset({"trace", "spans"}),
        frozenset({"id", "start_time", "feedback_scores"}),
        frozenset({"id", "start_time", "thread_id"}),
        frozenset({"id", "start_time", "project_id", "last_updated_by"}),
        frozenset({"id", "trace_id", "start_time", "parent_span_id"}),
    ),
    read,
)
