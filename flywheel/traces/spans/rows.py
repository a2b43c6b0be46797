"""Spans on their way into the warehouse and out of it.

`Span`s in, an Arrow table for `traces/spans_new` out; rows of `traces/spans_of_traces` in,
`StoredSpan`s out. The one idea is that a call's messages are stored in OpenAI's shape and any other
value as it was, so that who reads the table knows one shape of messages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import pyarrow as pa

from flywheel.errors import BadInput
from flywheel.traces.spans.json_values import json_text, value_in
from flywheel.traces.spans.messages import found_messages
from flywheel.traces.spans.span import Span

_EPOCH = date(1970, 1, 1).toordinal()
_NS_A_DAY = 86_400_000_000_000
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("app", "trace_id", "span_id", "parent_id", "kind")),
        *((name, pa.string()) for name in ("name", "status", "error", "session_id", "user_id")),
        *((name, pa.string()) for name in ("model_name", "provider", "release")),
        *((name, pa.large_string()) for name in ("input", "output", "metadata")),
        *((name, pa.string()) for name in ("tool_name", "tool_call_id")),
        *((name, pa.int64()) for name in ("prompt_tokens", "completion_tokens")),
        ("cost_usd", pa.float64()),
        ("tags", pa.list_(pa.string())),
        ("span_hash", pa.string()),
        ("started_at", pa.timestamp("us")),
        ("ended_at", pa.timestamp("us")),
        ("day", pa.date32()),
        ("line_no", pa.int64()),
    ]
)


@dataclass(slots=True)
class StoredSpan:
    """A span as the warehouse has it; times in microseconds since 1970, values as JSON text."""

    app: str
    trace_id: str
    span_id: str
    parent_id: str | None
    kind: str
    name: str
    started_us: int | None
    ended_us: int | None
    status: str | None
    error: str | None
    session_id: str | None
    user_id: str | None
    model_name: str | None
    release: str | None
    input: str | None
    output: str | None
    tool_name: str | None
    tool_call_id: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    tags: list[str] | None
    metadata: str | None

    @property
    def asked(self) -> object:
        """What went in, as a value."""
        return None if self.input is None else value_in(self.input)

    @property
    def answered(self) -> object:
        """What came out, as a value."""
        return None if self.output is None else value_in(self.output)


def span_rows(spans: Iterable[tuple[int, Span]], app: str, day: date) -> pa.Table:
    """Spans with the numbers of their lines as rows; `app` and `day` where they say none."""
    rows = [_row(span, line_no, app, day) for line_no, span in spans]
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in _SCHEMA]
    return pa.Table.from_arrays(
        [_array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)],
        schema=_SCHEMA,
    )


def _array(column: Sequence[object], type_: pa.DataType) -> pa.Array:
    try:
        return pa.array(column, type_)
    except UnicodeEncodeError:
        # Halves of surrogate pairs are no text.
        return pa.array([_storable(value) for value in column], type_)


def check_span(span: Span) -> None:
    """Raise BadInput where the ids of a span cannot name anything."""
    for name, value in (("trace", span.trace_id), ("span", span.span_id)):
        if not value or "\0" in value:
            raise BadInput(f"the {name} id {value[:40]!r} is empty or has a NUL character in it")
        # What Postgres indexes may take 2,704 bytes, and two of them stand in one key.
        if len(value) > 300:
            raise BadInput(f"the {name} id {value[:40]!r}... is longer than 300 characters")


def _row(span: Span, line_no: int, app: str, day: date) -> tuple[object, ...]:
    said = (
        span.app or app,
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.kind,
        span.name or "",
        span.status,
        span.error,
        span.session_id,
        span.user_id,
        span.model_name,
        span.provider,
        span.release,
        _value(span, span.input, "user"),
        _value(span, span.output, "assistant"),
        json_text(dict(span.metadata)) if span.metadata else None,
        span.tool_name,
        span.tool_call_id,
        span.prompt_tokens or None,
        span.completion_tokens or None,
        span.cost_usd or None,
        list(span.tags) or None,
    )
    started, ended = span.started_ns, span.ended_ns
    whole = json_text([*said, started, ended]).encode()
    return (
        *said,
        blake2b(whole, digest_size=16).hexdigest(),
        None if started is None else started // 1000,
        None if ended is None else ended // 1000,
        day.toordinal() - _EPOCH if started is None else started // _NS_A_DAY,
        line_no,
    )


def _value(span: Span, value: object, role: str) -> str | None:
    """Messages as OpenAI's where a call has a list of them, anything else as it is."""
    if value is None:
        return None
    if span.kind == "llm" and isinstance(value, list):
        found = found_messages(value, role)
        value = value if found is None else found
    return json_text(value)


def _storable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_storable(inner) for inner in value] if isinstance(value, list) else value
