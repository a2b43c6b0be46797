"""Tool calls of a message, in whichever of the usual shapes an application wrote them.

A message's JSON in, calls out. What cannot be read is shown as it is: a call of the name "?".
"""

import json
from dataclasses import dataclass

from flywheel.safety import encodable

UNREAD = "?"
# Where the shapes keep a call, its arguments and its id, in the order in which they are looked for.
_WRAPPERS = ("function", "function_call", "functionCall", "custom")
_ARGUMENTS = ("arguments", "input", "args", "parameters")
_IDS = ("id", "call_id", "tool_call_id")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON text where the application wrote JSON."""

    call_id: str
    name: str
    arguments: str


def tool_calls_of(json_text: str | None) -> tuple[ToolCall, ...]:
    """The tool calls in a message's JSON: OpenAI's shape, Anthropic's, or flat.

    What cannot be read is one call with the name "?" and the text as its arguments.
    """
    if not json_text:
        return ()
    try:
        content = json.loads(json_text)
        calls = content if isinstance(content, list) else [content]
        return tuple(_call(call) for call in calls if call is not None)
    except (ValueError, RecursionError):
        return (ToolCall("", UNREAD, encodable(json_text)),)


def _call(call: object) -> ToolCall:
    if isinstance(call, dict):
        inner = next((call[key] for key in _WRAPPERS if isinstance(call.get(key), dict)), call)
        name = inner.get("name")
        if isinstance(name, str) and name:
            call_id = next((call[key] for key in _IDS if isinstance(call.get(key), str)), "")
            arguments = next((inner[key] for key in _ARGUMENTS if inner.get(key) is not None), "")
            return ToolCall(encodable(call_id), encodable(name), _text(arguments))
    return ToolCall("", UNREAD, _text(call))


def _text(value: object) -> str:
    return encodable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
