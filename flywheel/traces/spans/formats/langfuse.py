"""Langfuse: traces, observations and scores of its API, and the rows of its export to a bucket.

A row is a trace with its observations and scores in it, a trace alone, one observation or one
score. The API writes camelCase, the export snake_case and some values as texts of JSON. The one
idea is that a trace is a span of its own above its observations, under the trace's own id.
"""

from collections.abc import Iterable, Mapping
from functools import cache

from flywheel.errors import BadInput
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

_KINDS: dict[str, SpanKind] = {
    "GENERATION": "llm",
    "AGENT": "agent",
    "TOOL": "tool",
    "RETRIEVER": "retriever",
    "EMBEDDING": "embedding",
    "EVALUATOR": "evaluator",
    "GUARDRAIL": "guardrail",
}
# Keys of the trace that a row of its newer API, or of its newer export, repeats.
_OF_THE_TRACE = {"traceName", "trace_name", "userId", "user_id", "sessionId", "session_id"}
_TAKEN_OF_TRACES = {
    *("id", "timestamp", "name", "input", "output", "metadata", "tags", "release", "latency"),
    *("sessionId", "session_id", "userId", "user_id", "observations", "scores"),
}
_TAKEN_OF_OBSERVATIONS = {
    *("id", "traceId", "trace_id", "parentObservationId", "parent_observation_id", "type", "name"),
    *("startTime", "start_time", "endTime", "end_time", "level", "statusMessage"),
    *("status_message", "input", "output", "metadata", "tags", "release", "model"),
    *("providedModelName", "provided_model_name", "usageDetails", "usage_details", "usage"),
    *("totalCost", "total_cost", "costDetails", "cost_details", "calculatedTotalCost"),
    *("sessionId", "session_id", "userId", "user_id", "promptTokens", "completionTokens"),
    *("totalTokens", "latency"),
}


def read(row: Row) -> Iterable[Span | FeedbackRow]:
    """The spans and scores of a trace, an observation or a score, by what the row is."""
    if "traceId" not in row and "trace_id" not in row and "timestamp" in row:
        return _trace(row) if "source" not in row else [read_score(row)]
    if "startTime" in row or "start_time" in row:
        return [_observation(row)]
    return [read_score(row)]


def _trace(row: Row) -> Iterable[Span | FeedbackRow]:
    trace_id = identifier(row, "id")
    shared = {"user_id": _either(row, "userId"), "session_id": _either(row, "sessionId")}
    started_ns = nanoseconds(row, "timestamp")
    spans = [
        _observation({"trace_id": trace_id, **shared, **_not_null(observation)}, within=trace_id)
        for observation in objects(row.get("observations"))
    ]
    seconds = number(row.get("latency"))
    ends = [span.ended_ns for span in spans if span.ended_ns]
    if started_ns is not None and seconds is not None and 0 <= seconds < 1e9:
        ends.append(started_ns + round(seconds * 1e9))
    yield Span(
        trace_id,
        trace_id,
        "chain",
        name=text(row.get("name")) or "",
        started_ns=started_ns,
        ended_ns=max(ends, default=None),
        session_id=text(shared["session_id"]),
        user_id=text(shared["user_id"]),
        release=text(row.get("release")),
        input=unpacked(row.get("input")),
        output=unpacked(row.get("output")),
        tags=words(row.get("tags")),
        metadata=_metadata(row, _TAKEN_OF_TRACES),
    )
    yield from spans
    for score in objects(row.get("scores")):
        yield read_score({"trace_id": trace_id, **_not_null(score)})


def _observation(row: Row, within: str | None = None) -> Span:
    trace_id = identifier(row, "traceId", "trace_id")
    # A row that repeats what is known of its trace stands alone; without, its trace is above it.
    above = within or (None if row.keys() & _OF_THE_TRACE else trace_id)
    kind = _KINDS.get(str(row.get("type")).upper(), "chain")
    usage = mapping(_either(row, "usageDetails") or row.get("usage"))
    cost = mapping(_either(row, "costDetails")).get("total")
    is_error = str(row.get("level")).upper() == "ERROR"
    name = text(row.get("name")) or ""
    prompt_tokens, completion_tokens = _tokens(usage)
    return Span(
        trace_id,
        identifier(row, "id"),
        kind,
        name=name,
        parent_id=text(_either(row, "parentObservationId")) or above,
        started_ns=nanoseconds(row, "startTime", "start_time"),
        ended_ns=nanoseconds(row, "endTime", "end_time"),
        status="error" if is_error else "ok",
        error=(text(_either(row, "statusMessage")) or "error") if is_error else None,
        session_id=text(_either(row, "sessionId")),
        user_id=text(_either(row, "userId")),
        model_name=text(_either(row, "providedModelName") or row.get("model")),
        release=text(row.get("release")),
        input=unpacked(row.get("input")),
        output=unpacked(row.get("output")),
        tool_name=name if kind == "tool" and name else None,
        prompt_tokens=prompt_tokens or count(row.get("promptTokens")),
        completion_tokens=completion_tokens or count(row.get("completionTokens")),
        cost_usd=money(_either(row, "totalCost") or row.get("calculatedTotalCost") or cost),
        tags=words(row.get("tags")),
        metadata=_metadata(row, _TAKEN_OF_OBSERVATIONS),
    )


def read_score(row: Row) -> FeedbackRow:
    """A score as feedback; raises BadInput where it is none of a trace."""
    subject = mapping(row.get("subject"))
    is_of_span = subject.get("kind") == "observation"
    named = row if not subject else {"trace_id": subject.get("traceId" if is_of_span else "id")}
    if subject.get("kind") in ("session", "experiment") or not (
        text(named.get("traceId")) or text(named.get("trace_id"))
    ):
        raise BadInput("is a score of something else than a trace")
    kind = str(_either(row, "dataType")).upper()
    spoken = _either(row, "stringValue") or (
        row["value"] if isinstance(row.get("value"), str) else None
    )
    name = text(row.get("name")) or "score"
    is_words = kind in ("CORRECTION", "TEXT")
    return FeedbackRow(
        trace_id=identifier(named, "traceId", "trace_id"),
        span_id=text(subject.get("id") if is_of_span else _either(row, "observationId")),
        name=name,
        value=None if is_words else number(row.get("value")),
        label=None if is_words else text(spoken),
        comment=text(row.get("comment")) or (text(spoken) if kind == "TEXT" else None),
        correction=text(spoken) if kind == "CORRECTION" else None,
        source=_source(str(row.get("source")).upper(), name, kind),
        author=text(_either(row, "authorUserId")),
        user_id=None,
        given_at=moment(row, "timestamp", "createdAt", "created_at"),
        origin=f"langfuse:{identifier(row, 'id')}",
    )


def _source(recorded: str, name: str, kind: str) -> FeedbackSource:
    if recorded == "ANNOTATION" or kind == "CORRECTION":
        return "annotator"
    return "llm" if recorded == "EVAL" else source_by_name(name)


def _tokens(usage: Mapping[str, object]) -> tuple[int | None, int | None]:
    """Tokens read and written; cached ones and others of a kind stand under keys of their own."""
    sums = []
    for side, names in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        parts = [n for key, value in usage.items() if key.startswith(side) and (n := count(value))]
        sums.append(sum(parts) or count(usage.get(names)))
    total = count(usage.get("total"))
    if total and sum(part or 0 for part in sums) > total:
        # The parts are counted within the whole.
        return count(usage.get("input")), count(usage.get("output"))
    return sums[0], sums[1]


def _metadata(row: Row, taken: set[str]) -> dict[str, object]:
    own = row.get("metadata")
    given = mapping(own)
    return rest(row, taken) | (given or ({"metadata": own} if own not in (None, "", "{}") else {}))


def _either(row: Row, camel: str) -> object:
    """A key as the API writes it or, under the same name, as the export does."""
    value = row.get(camel)
    return row.get(_in_snake_case(camel)) if value is None else value


@cache
def _in_snake_case(camel: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in camel)


def _not_null(row: Row) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}


FORMAT = SpanFormat(
    "langfuse",
    (
        frozenset({"id", "timestamp", "observations"}),
        frozenset({"id", "timestamp", "htmlPath"}),
        frozenset({"id", "timestamp", "sessionId", "userId"}),
        frozenset({"id", "timestamp", "session_id", "user_id", "environment"}),
        frozenset({"id", "traceId", "type", "startTime"}),
        frozenset({"id", "trace_id", "type", "start_time", "parent_observation_id"}),
        frozenset({"id", "trace_id", "type", "start_time", "level"}),
        frozenset({"id", "name", "source", "value", "dataType"}),
        frozenset({"id", "name", "source", "value", "data_type"}),
    ),
    read,
)
