"""A span: one step of a trace, as whichever tool recorded it.

Every format's rows in, `Span`s out; loading and assembly know no other shape. The one idea is that
`input` and `output` stay as they were found, and `metadata` takes all that has no field, so that
nothing a tool wrote is lost before somebody has decided what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

SpanKind = Literal[
    "agent", "llm", "tool", "retriever", "embedding", "chain", "guardrail", "evaluator"
]
SPAN_KINDS: tuple[SpanKind, ...] = get_args(SpanKind)
SpanStatus = Literal["ok", "error"]


# Not frozen: to freeze one costs a sixth of the time that it takes to read one.
@dataclass(slots=True)
class Span:
    """One step of a trace; whoever makes one names at least its trace, itself and its kind.

    `app` is None where the row names no application. Times are nanoseconds since 1970, UTC.
    `input` and `output` are JSON values in any tool's shape: messages, a text, arguments, a result;
    for the kind llm they are what `messages_of` reads. A token count or cost of 0 is given as None:
    it is not known to be 0. `metadata` holds, by its own name, every key that no field took.
    """

    trace_id: str
    span_id: str
    kind: SpanKind
    name: str = ""
    parent_id: str | None = None
    app: str | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    status: SpanStatus | None = None
    error: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    model_name: str | None = None
    provider: str | None = None
    release: str | None = None
    input: object = None
    output: object = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
