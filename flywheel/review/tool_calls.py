"""Corrected tool calls: what a person or a file wrote in, OpenAI's shape out."""

import json

from flywheel.errors import BadInput
from flywheel.traces.tool_calls import UNREAD, tool_calls_of


def in_openai_shape(text: str) -> str:
    """The tool calls of a message as a JSON list in OpenAI's shape; an empty list is no call.

    Arguments stay the text that they are, JSON or not. Raises BadInput on what is no list of calls.
    """
    calls = tool_calls_of(text)
    if not text.lstrip().startswith("[") or any(call.name == UNREAD for call in calls):
        raise BadInput(
            "corrected_tool_calls is no list of tool calls; expected "
            '[{"id", "type": "function", "function": {"name", "arguments"}}]'
        )
    shaped = [
        {
            "id": call.call_id or f"call_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or "{}"},
        }
        for number, call in enumerate(calls, 1)
    ]
    return json.dumps(shaped, ensure_ascii=False)
