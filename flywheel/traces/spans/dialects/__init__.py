"""Dialects: what the attributes of OpenTelemetry spans are called by who writes them.

Attributes in, fields of a span out. The one idea is that a dialect is a table, and that the order
of the tables is the order of trust: what a tool says in words of its own, then the messages of the
GenAI conventions, then OpenInference, then events, then values and strings of no known shape. The
first that says something fills the field; what was not needed stays in the metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flywheel.traces.spans.span import SpanKind

# `system` is put before the input's messages, `calls` into the output's; `usage` and `costs` are
# objects of counts and of US dollars; `level` is a status by Langfuse's name for it.
Field = Literal[
    "app",
    "session_id",
    "user_id",
    "model_name",
    "provider",
    "release",
    "error",
    "level",
    "tool_name",
    "tool_call_id",
    "input",
    "output",
    "system",
    "calls",
    "tags",
    "prompt_tokens",
    "completion_tokens",
    "usage",
    "cost_usd",
    "costs",
]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One table: attribute -> field, surest first, and what its values for kinds mean.

    `lists` are attributes that come as `key.0.…`, or as one list; `is_encoded` says that every
    value is JSON text, even a word. A kind is looked up in lower case.
    """

    fields: Mapping[str, Field] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, SpanKind]] = field(default_factory=dict)
    lists: Mapping[str, Field] = field(default_factory=dict)
    is_encoded: bool = False
