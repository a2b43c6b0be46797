"""MLflow: traces as `Trace.to_json()` writes them, and the table that `search_traces` makes.

A row is a trace with all its spans. The one idea is that a span's ids are base64 of what
OpenTelemetry writes in hex, and that each of its attributes is a text of JSON in itself; the trace
goes by the name that MLflow shows for it, such as tr-1f3c...
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping

from flywheel.errors import BadInput
from flywheel.traces.feedback import FeedbackRow, FeedbackSource
from flywheel.traces.spans.cells import (
    answer_text,
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
)
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.span import Span, SpanKind

Row = Mapping[str, object]

_KINDS: dict[str, SpanKind] = {
    "LLM": "llm",
    "CHAT_MODEL": "llm",
    "AGENT": "agent",
    "TOOL": "tool",
    "RETRIEVER": "retriever",
    "RERANKER": "retriever",
    "EMBEDDING": "embedding",
    "GUARDRAIL": "guardrail",
    "EVALUATOR": "evaluator",
}
_TAKEN = {
    *("mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.tokenUsage"),
    *("mlflow.llm.model", "mlflow.llm.provider", "mlflow.llm.cost", "mlflow.traceRequestId"),
    *("mlflow.spanFunctionName", "mlflow.experimentId"),
}
_TAKEN_OF_INFO = {"mlflow.trace.session", "mlflow.trace.user", "mlflow.trace.sizeStats"}


def read(row: Row) -> Iterable[Span | FeedbackRow]:
    """The spans of a trace, and what it was assessed as."""
    if "data" not in row:
        row = mapping(row.get("trace"))
    info, spans = mapping(row.get("info")), objects(mapping(row.get("data")).get("spans"))
    if not spans:
        raise BadInput("has no spans under 'data.spans'")
    trace_id = identifier(info, "trace_id", "request_id")
    given = mapping(info.get("trace_metadata")) or mapping(info.get("request_metadata"))
    for span in spans:
        yield _span(span, trace_id, info, given)
    for assessment in objects(info.get("assessments")):
        if assessment.get("valid") is not False:
            yield _feedback(assessment, trace_id, text(given.get("mlflow.trace.user")))


def _span(span: Row, trace_id: str, info: Row, given: Row) -> Span:
    attributes = {name: _decoded(value) for name, value in mapping(span.get("attributes")).items()}
    status, usage = mapping(span.get("status")), mapping(attributes.get("mlflow.chat.tokenUsage"))
    kind = _KINDS.get(str(attributes.get("mlflow.spanType")), "chain")
    is_error = "ERROR" in str(status.get("code"))
    parent_id = _hex(span, "parent_span_id", "parent_id")
    name = text(span.get("name")) or ""
    inputs = mapping(attributes.get("mlflow.spanInputs"))
    of_the_trace = {"tags": info.get("tags"), **rest(given, _TAKEN_OF_INFO)}
    return Span(
        trace_id,
        _hex(span, "span_id") or identifier(span, "span_id"),
        kind,
        name=name,
        parent_id=parent_id,
        started_ns=nanoseconds(span, "start_time_unix_nano", "start_time"),
        ended_ns=nanoseconds(span, "end_time_unix_nano", "end_time"),
        status="error" if is_error else ("ok" if "OK" in str(status.get("code")) else None),
        error=(text(status.get("message")) or "error") if is_error else None,
        session_id=text(given.get("mlflow.trace.session")),
        user_id=text(given.get("mlflow.trace.user")),
        model_name=text(attributes.get("mlflow.llm.model")) or text(inputs.get("model")),
        provider=text(attributes.get("mlflow.llm.provider")),
        input=attributes.get("mlflow.spanInputs"),
        output=attributes.get("mlflow.spanOutputs"),
        tool_name=name if kind == "tool" and name else None,
        prompt_tokens=count(usage.get("input_tokens")),
        completion_tokens=count(usage.get("output_tokens")),
        cost_usd=money(mapping(attributes.get("mlflow.llm.cost")).get("total_cost")),
        metadata=rest(attributes, _TAKEN) | (rest(of_the_trace, ()) if parent_id is None else {}),
    )


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        decoded: object = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return decoded


def _hex(span: Row, *names: str) -> str | None:
    """An id in hex: 8 bytes in base64 since MLflow 3, hex with a prefix before."""
    for name in names:
        if found := text(span.get(name)):
            try:
                return base64.b64decode(found, validate=True).hex() if len(found) == 12 else found
            except (binascii.Error, ValueError):
                raise BadInput(f"its {name} is no base64") from None
    return None


def _feedback(row: Row, trace_id: str, user_id: str | None) -> FeedbackRow:
    source = mapping(row.get("source"))
    name = text(row.get("assessment_name")) or text(row.get("name")) or "assessment"
    is_expected = "expectation" in row
    value = _value(mapping(row.get("expectation" if is_expected else "feedback")))
    author = text(source.get("source_id"))
    is_answer = is_expected and name == "expected_response"
    said = answer_text(value) if isinstance(value, str | dict | list) else None
    note = text(row.get("rationale"))
    return FeedbackRow(
        trace_id=trace_id,
        span_id=_hex(row, "span_id"),
        name=name,
        value=None if isinstance(value, str) else number(value),
        label=None if is_expected else said,
        comment=note or (said if is_expected and not is_answer else None),
        correction=said if is_answer else None,
        source=_source(str(source.get("source_type")), name, is_expected, author, user_id),
        author=author,
        user_id=user_id if author == user_id else None,
        given_at=moment(row, "create_time", "last_update_time"),
        origin=f"mlflow:{text(row.get('assessment_id')) or trace_id}",
    )


def _value(given: Row) -> object:
    """What was assessed; an expectation that is no plain value is a text of JSON."""
    inner = mapping(given.get("serialized_value")).get("value")
    return _decoded(inner) if inner is not None else given.get("value")


def _source(
    recorded: str, name: str, is_expected: bool, author: str | None, user_id: str | None
) -> FeedbackSource:
    """A person is an end user where it is the trace's own user, or the name says so."""
    if recorded in ("LLM_JUDGE", "AI_JUDGE"):
        return "llm"
    if recorded != "HUMAN":
        return "code"
    if is_expected:
        return "annotator"
    is_user = (author and author == user_id) or source_by_name(name) == "end_user"
    return "end_user" if is_user else "annotator"


FORMAT = SpanFormat(
    "mlflow",
    (
        frozenset({"info", "data", "data.spans"}),
        frozenset({"info", "data", "info.trace_id"}),
        frozenset({"trace_id", "trace", "trace_metadata", "spans"}),
        frozenset({"trace_id", "trace", "request_time"}),
    ),
    read,
)
