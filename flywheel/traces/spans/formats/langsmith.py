"""LangSmith: runs, flat or with their `child_runs` in them, and records of feedback.

A row is one run with what it called, or one feedback. In tables `inputs`, `outputs` and `extra` are
texts of JSON. The one idea is that `dotted_order` names the run's ancestors, where nothing else
does; `session_id` is the project, and the conversation is named in `extra.metadata`.
"""

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
    unpacked,
    words,
)
from flywheel.traces.spans.formats import SpanFormat
from flywheel.traces.spans.messages import messages_of
from flywheel.traces.spans.span import Span, SpanKind

Row = Mapping[str, object]

_KINDS: dict[str, SpanKind] = {
    "llm": "llm",
    "tool": "tool",
    "retriever": "retriever",
    "embedding": "embedding",
}
_CONVERSATION = ("session_id", "thread_id", "conversation_id")
_TAKEN = {
    *("id", "trace_id", "parent_run_id", "parent_run_ids", "dotted_order", "name", "run_type"),
    *("inputs", "outputs", "error", "status", "start_time", "end_time", "extra", "tags"),
    *("child_runs", "session_name", "parent_run", "child_run_ids", "direct_child_run_ids"),
    # The server keeps what it cuts for lists.
    *("inputs_preview", "outputs_preview"),
}
# What a run above a model's has of these is the sum of what is below it.
_TAKEN_OF_MODELS = _TAKEN | {"prompt_tokens", "completion_tokens", "total_tokens", "total_cost"}


def read(row: Row) -> Iterable[Span | FeedbackRow]:
    """The run and all below it, or one feedback."""
    if "key" in row:
        yield _feedback(row)
        return
    waiting: list[tuple[Row, str | None, str | None]] = [(row, None, None)]
    while waiting:
        run, trace_id, parent_id = waiting.pop()
        span = _span(run, trace_id, parent_id)
        yield span
        children = objects(run.get("child_runs"))
        waiting += [(child, span.trace_id, span.span_id) for child in reversed(children)]


def _span(run: Row, trace_id: str | None, parent_id: str | None) -> Span:
    span_id = identifier(run, "id")
    ancestors = [part.partition("Z")[2] for part in str(run.get("dotted_order") or "").split(".")]
    # Times in a dotted order may have a fraction of their own, so its ids are what is well formed.
    ancestors = [ancestor for ancestor in ancestors if ancestor]
    parents = words(run.get("parent_run_ids"))
    parent_id = text(run.get("parent_run_id")) or parent_id or next(reversed(parents), None)
    if parent_id is None and len(ancestors) > 1:
        parent_id = ancestors[-2]
    root = next(iter(parents), None) or next(iter(ancestors), None) or parent_id or span_id
    extra = mapping(run.get("extra"))
    given, asked = mapping(extra.get("metadata")), mapping(extra.get("invocation_params"))
    kind = _KINDS.get(str(run.get("run_type")).lower(), "chain")
    is_model = kind in ("llm", "embedding")
    error = text(run.get("error"))
    name = text(run.get("name")) or ""
    model = given.get("ls_model_name") or asked.get("model") or asked.get("model_name")
    output = unpacked(run.get("outputs"))
    return Span(
        text(run.get("trace_id")) or trace_id or root,
        span_id,
        kind,
        name=name,
        parent_id=parent_id,
        app=text(run.get("session_name")),
        started_ns=nanoseconds(run, "start_time"),
        ended_ns=nanoseconds(run, "end_time"),
        status="error" if error else ("ok" if run.get("status") in (None, "success") else None),
        error=error,
        session_id=next((found for key in _CONVERSATION if (found := text(given.get(key)))), None),
        user_id=text(given.get("user_id")) or text(given.get("ls_user_id")),
        model_name=text(model) if is_model else None,
        provider=text(given.get("ls_provider")) if is_model else None,
        release=text(given.get("revision_id")),
        input=unpacked(run.get("inputs")),
        output=output,
        tool_name=name if kind == "tool" and name else None,
        tool_call_id=_call_id(output) if kind == "tool" else None,
        prompt_tokens=count(run.get("prompt_tokens")) if is_model else None,
        completion_tokens=count(run.get("completion_tokens")) if is_model else None,
        cost_usd=money(run.get("total_cost")) if is_model else None,
        tags=words(run.get("tags")),
        metadata=rest(run, _TAKEN_OF_MODELS if is_model else _TAKEN)
        | rest(extra, {"metadata"})
        | given,
    )


def _call_id(output: object) -> str | None:
    """The id of the call that a tool's message answers, where the tool gave a whole message."""
    ids = (text(message.get("tool_call_id")) for message in messages_of(output))
    return next((found for found in ids if found), None)


def _feedback(row: Row) -> FeedbackRow:
    if not text(row.get("run_id")) and not text(row.get("trace_id")):
        raise BadInput("is feedback on something else than a run")
    trace_id, run_id = identifier(row, "trace_id", "run_id"), text(row.get("run_id"))
    source, name = mapping(row.get("feedback_source")), text(row.get("key")) or "feedback"
    value, score = unpacked(row.get("value")), number(row.get("score"))
    corrected = unpacked(row.get("correction"))
    return FeedbackRow(
        trace_id=trace_id,
        # The run of a trace that has no parent carries the trace's id.
        span_id=None if run_id == trace_id else run_id,
        name=name,
        value=score if score is not None else number(value),
        label=None if number(value) is not None else answer_text(value),
        comment=text(row.get("comment")),
        correction=answer_text(corrected) if corrected else None,
        source=_source(str(source.get("type")).lower(), name),
        author=text(source.get("user_name")) or text(source.get("user_id")),
        user_id=None,
        given_at=moment(row, "created_at", "modified_at"),
        origin=f"langsmith:{identifier(row, 'id')}",
    )


def _source(recorded: str, name: str) -> FeedbackSource:
    """`app` is a person in LangSmith's pages, `model` and the evaluators are judges."""
    if recorded == "app":
        return "annotator"
    return "llm" if recorded in ("model", "evaluator", "auto_eval") else source_by_name(name)


FORMAT = SpanFormat(
    "langsmith",
    (
        frozenset({"id", "run_type", "start_time"}),
        frozenset({"id", "run_type", "inputs"}),
        frozenset({"id", "key", "run_id"}),
        frozenset({"id", "key", "feedback_source"}),
    ),
    read,
)
