"""Messages as the tools that train on them take them: OpenAI's dialect, and TRL's.

Messages of a trace document in, JSON objects out. Source: OpenAI's chat messages, and "Dataset
formats and types" of TRL 1.16, whose tool calls have their arguments as an object.
"""

import json
import re
from collections.abc import Sequence
from typing import TypeAlias

from flywheel.traces.documents import Message, ToolCall

# A JSON object.
Row: TypeAlias = dict[str, object]

# What OpenAI takes as the name of a participant.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def plain_messages(messages: Sequence[Message]) -> list[Row]:
    """Messages as they were, with tool calls in OpenAI's shape; what says nothing is absent."""
    rows: list[Row] = []
    for message in messages:
        row: Row = {"role": message.role, "content": message.content}
        if message.tool_calls:
            row["tool_calls"] = [_call_row(call) for call in message.tool_calls]
        if message.tool_call_id:
            row["tool_call_id"] = message.tool_call_id
        if message.name:
            row["name"] = message.name
        rows.append(row)
    return rows


def for_openai(messages: Sequence[Message]) -> list[Row]:
    """Messages as OpenAI takes them: a key that says nothing is absent, every tool call has an id.

    A tool message without the id of its call answers the first call that has no answer yet.
    """
    rows: list[Row] = []
    waiting: list[str] = []
    for message in messages:
        row: Row = {"role": message.role, "content": message.content}
        if message.role == "tool":
            call_id = message.tool_call_id or next(iter(waiting), f"call_{message.position}")
            waiting = [known for known in waiting if known != call_id]
            row["tool_call_id"] = call_id
        elif message.name and _NAME.fullmatch(message.name):
            row["name"] = message.name
        if message.role == "assistant" and message.tool_calls:
            waiting = [
                call.call_id or f"call_{message.position}_{number}"
                for number, call in enumerate(message.tool_calls)
            ]
            calls = zip(message.tool_calls, waiting, strict=True)
            row |= {
                "content": message.content or None,
                "tool_calls": [_call_row(call) | {"id": call_id} for call, call_id in calls],
            }
        rows.append(row)
    return rows


def for_trl(messages: Sequence[Message]) -> list[Row]:
    """Messages as TRL and chat templates take them: as OpenAI's, but arguments are objects.

    A text is never null, since templates add it to others; a tool message keeps its tool's name.
    """
    rows = for_openai(messages)
    for message, row in zip(messages, rows, strict=True):
        row["content"] = message.content
        if message.role == "tool" and message.name:
            row["name"] = message.name
        calls = row.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = call["function"]
            function["arguments"] = _object_or_text(function["arguments"])
    return rows


def tools_in(metadata: str | None) -> list[Row]:
    """The tools that the application offered, where the metadata of its trace say so."""
    try:
        said = json.loads(metadata or "{}")
    except (ValueError, RecursionError):
        return []
    tools = said.get("tools") if isinstance(said, dict) else None
    return tools if isinstance(tools, list) and all(isinstance(t, dict) for t in tools) else []


def _call_row(call: ToolCall) -> Row:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _object_or_text(arguments: str) -> object:
    try:
        said = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return said if isinstance(said, dict) else arguments
