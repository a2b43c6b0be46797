"""Parts of a message: what is text, what calls a tool, what a tool gave back, and what else is.

One message's content in, its pieces out. The one idea is that a part is sorted by its type where it
has one and by its keys where it has none; whatever is no text, call, result or thought (pictures,
sounds, files, what nobody knows yet) is kept as the JSON that it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel.traces.spans.json_values import plain_text

_TEXTS = {"text", "input_text", "output_text", "refusal", "text_delta"}
_THOUGHTS = {"reasoning", "thinking", "redacted_thinking", "reasoning_text", "summary_text"}
_CALLS = {"tool_call", "tool_use", "tool-call", "function_call", "server_tool_call"}
_CALLS |= {"server_tool_use", "mcp_tool_use"}
_RESULTS = {"tool_call_response", "tool_result", "tool-result", "function_call_output"}
_RESULTS |= {"server_tool_call_response", "mcp_tool_result"}
# Where tools without types for their parts keep a call or a result: Gemini and Bedrock.
_CALL_KEYS = ("functionCall", "function_call", "toolUse")
_RESULT_KEYS = ("functionResponse", "function_response", "toolResult")

_ID_KEYS = ("id", "call_id", "toolCallId", "tool_call_id", "toolUseId", "tool_use_id")
_NAME_KEYS = ("name", "toolName", "tool_name")
_ARGUMENT_KEYS = ("arguments", "args", "input", "server_tool_call", "parameters")
_RESULT_ID_KEYS = ("tool_call_id", "tool_use_id", "toolCallId", "toolUseId", "call_id", "id")
_OUTCOME_KEYS = ("response", "result", "output", "content", "server_tool_call_response")


@dataclass(slots=True)
class Pieces:
    """A message's content, sorted; `results` are messages of tools, `calls` in OpenAI's shape."""

    content: list[object] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, object]] = field(default_factory=list)
    results: list[dict[str, object]] = field(default_factory=list)

    @property
    def text(self) -> object:
        """One text where there is nothing else, else a list of parts; '' where there is none."""
        if not self.content:
            return ""
        if len(self.content) == 1 and isinstance(self.content[0], str):
            return self.content[0]
        return [{"type": "text", "text": p} if isinstance(p, str) else p for p in self.content]


def pieces_of(parts: list[object]) -> Pieces:
    """The parts of one message, sorted, each kind in its order."""
    pieces = Pieces()
    for part in parts:
        _sort(part, pieces)
    return pieces


def is_part(value: object) -> bool:
    """Whether this is a part of a message rather than a message."""
    if not isinstance(value, dict) or "role" in value:
        return False
    kind = value.get("type")
    if kind in _TEXTS or kind in _THOUGHTS or "message_content" in value:
        return True
    return kind in ("tool_use", "tool-call", "image_url", "image", "blob", "uri", "input_image")


def call_of(call: Mapping[str, object]) -> dict[str, object]:
    """A call of a tool in OpenAI's shape; its arguments are text, its unknown keys stay."""
    inner = call.get("tool_call")
    if isinstance(inner, dict):
        call = inner
    function = call.get("function")
    if isinstance(function, dict):
        arguments = function.get("arguments")
        if isinstance(arguments, str) and call.get("type") == "function":
            return dict(call)
        kept = {key: value for key, value in call.items() if key not in ("function", "type")}
        return kept | {
            "type": "function",
            "function": {**function, "arguments": plain_text(arguments)},
        }
    call_id, name = _first(call, _ID_KEYS), _first(call, _NAME_KEYS)
    return {
        "id": plain_text(call_id),
        "type": "function",
        "function": {
            "name": plain_text(name),
            "arguments": plain_text(_first(call, _ARGUMENT_KEYS)),
        },
    }


def _sort(part: object, pieces: Pieces) -> None:
    if isinstance(part, str):
        pieces.content.append(part)
        return
    if not isinstance(part, dict):
        pieces.content.append(plain_text(part))
        return
    inner = part.get("message_content")
    part = inner if isinstance(inner, dict) else part
    kind = part.get("type", part.get("part_kind"))
    wrapped_call = next((part[k] for k in _CALL_KEYS if isinstance(part.get(k), dict)), None)
    wrapped_result = next((part[k] for k in _RESULT_KEYS if isinstance(part.get(k), dict)), None)
    if kind in _CALLS or wrapped_call is not None:
        pieces.calls.append(call_of(part if wrapped_call is None else wrapped_call))
    elif kind in _RESULTS or wrapped_result is not None:
        pieces.results.append(_result(part if wrapped_result is None else wrapped_result))
    elif kind in _THOUGHTS:
        pieces.thoughts.append(_thought(part))
    elif kind in _TEXTS or kind is None:
        text = next((part[k] for k in ("text", "content") if isinstance(part.get(k), str)), None)
        pieces.content.append(part if text is None else text)
    else:
        pieces.content.append(part)


def _result(part: Mapping[str, object]) -> dict[str, object]:
    """A message of a tool."""
    outcome = _first(part, _OUTCOME_KEYS)
    if isinstance(outcome, list) and outcome and all(_is_text(inner) for inner in outcome):
        outcome = "\n".join(str(inner["text"]) for inner in outcome)
    made: dict[str, object] = {"role": "tool", "content": plain_text(outcome)}
    call_id, name = _first(part, _RESULT_ID_KEYS), _first(part, _NAME_KEYS)
    if call_id:
        made["tool_call_id"] = plain_text(call_id)
    if name:
        made["name"] = plain_text(name)
    return made


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _thought(part: Mapping[str, object]) -> str:
    found = _first(part, ("content", "text", "thinking", "reasoning", "summary", "data"))
    if isinstance(found, list):
        return "\n".join(_thought(inner) for inner in found if isinstance(inner, dict))
    return plain_text(found if found is not None else dict(part))


def _first(mapping: Mapping[str, object], keys: tuple[str, ...]) -> object:
    return next((mapping[key] for key in keys if mapping.get(key) is not None), None)
