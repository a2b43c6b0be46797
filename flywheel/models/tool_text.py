"""Tool calls and their results as plain text: one form, written and read in this one place.

OpenAI-shaped messages in, the text that a model learns and writes out, and back again. The form is
the one that Hermes models made common, so that servers which know it read it too; where a chat
template has it as its own, the template writes it, and otherwise this module does.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CALL, CALL_END = "<tool_call>", "</tool_call>"
RESULT, RESULT_END = "<tool_response>", "</tool_response>"
_TOOLS = (
    "You can call these tools, one JSON object a line:\n{tools}\n"
    'To call one, write <tool_call>{{"name": its name, "arguments": an object}}</tool_call>.'
)

Message = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call: `arguments` is an object, or whatever else a model has written in its place."""

    name: str
    arguments: object


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote: the text outside its calls, the calls, and what no call can be read of.

    `faults` has a sentence for each; a reply with any is malformed.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    faults: tuple[str, ...] = ()


def text_of(message: Message) -> str:
    """A message's text; of several parts those that are text, and nothing for none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def calls_of(message: Message) -> list[ToolCall]:
    """The tool calls of an OpenAI-shaped assistant message, its arguments parsed where they can."""
    given = message.get("tool_calls")
    found = []
    for call in given if isinstance(given, list | tuple) else ():
        function = call.get("function", call) if isinstance(call, Mapping) else {}
        if isinstance(function, Mapping):
            name = function.get("name")
            arguments = function.get("arguments", {})
            parsed = _parsed(arguments) if isinstance(arguments, str) else arguments
            found.append(ToolCall(name if isinstance(name, str) else "", parsed))
    return found


def _parsed(text: str) -> object:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text


def one_line(value: object) -> str:
    """As JSON on one line, in which no end of a call or a result can stand."""
    # A stroke may be escaped in a string of JSON, and stands nowhere else.
    return json.dumps(value, ensure_ascii=False, default=str).replace("</", "<\\/")


def write_call(call: ToolCall) -> str:
    """The text of one call."""
    return f"{CALL}{one_line({'name': call.name, 'arguments': call.arguments})}{CALL_END}"


def write_reply(text: str, calls: Iterable[ToolCall]) -> str:
    """What an assistant's turn is as text: what it says, and each call on a line of its own."""
    return "\n".join(part for part in (text.strip(), *map(write_call, calls)) if part)


def write_result(text: str) -> str:
    """A tool's result inside a user's turn, for chat templates that know no tools."""
    return f"{RESULT}\n{inside_result(text)}\n{RESULT_END}"


def inside_result(text: str) -> str:
    """A result's text, in which the end of a result is no end."""
    return text.replace(RESULT_END, "<\\/tool_response>")


def with_tools(messages: Sequence[Message], tools: Sequence[object]) -> list[Message]:
    """The messages with the tools in the system message, which is made where there is none."""
    if not tools:
        return list(messages)
    text = _TOOLS.format(tools="\n".join(one_line(tool) for tool in tools))
    if messages and messages[0].get("role") == "system":
        first: Message = {**messages[0], "content": f"{text_of(messages[0]).strip()}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def parse_reply(text: str) -> Reply:
    """A model's text as what it says and what it calls."""
    said, calls, faults = [], [], []
    rest = text
    while CALL in rest:
        before, rest = rest.split(CALL, 1)
        said.append(before)
        written = rest.lstrip()
        try:
            value, end = json.JSONDecoder().raw_decode(written)
        except (ValueError, RecursionError):
            faults.append("a call is not JSON")
            rest = rest.partition(CALL_END)[2]
            continue
        rest = written[end:].lstrip()
        if not rest.startswith(CALL_END):
            faults.append("a call has no end")
        rest = rest.removeprefix(CALL_END)
        fault = _fault_of(value)
        if fault:
            faults.append(fault)
        else:
            calls.append(ToolCall(value["name"], value.get("arguments", {})))
    said.append(rest)
    if CALL_END in rest:
        faults.append("a call has no beginning")
    return Reply("\n".join(part.strip() for part in said if part.strip()), tuple(calls), (*faults,))


def _fault_of(value: object) -> str:
    if not isinstance(value, dict):
        return "a call is no object"
    if not isinstance(value.get("name"), str) or not value["name"]:
        return "a call names no tool"
    return "" if isinstance(value.get("arguments", {}), dict) else "arguments are no object"
