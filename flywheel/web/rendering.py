"""Messages as a reader wants them: long ones by their beginning, tool calls on one line.

Messages of a document in, what a template needs out: pure functions. The one idea is that nothing
is ever cut for good: what a page shows a part of, it says how long it is, and `parts` has it all.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from flywheel.safety import marked
from flywheel.traces.documents import Message, ToolCall
from flywheel.web.markdown import markdown, plain

__all__ = [
    "CallView",
    "MessageView",
    "call_view",
    "markdown",
    "message_view",
    "one_line",
    "parts",
    "plain",
]

LONG_CHARACTERS = 4_000
LINE_CHARACTERS = 120
PART_CHARACTERS = 100_000
# Longer arguments are shown as they are, deeper ones are not set in any further.
INDENTED_CHARACTERS = 200_000
INDENTED_DEPTH = 20

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class CallView:
    """A tool call: one line, and its arguments, indented where they are JSON."""

    index: int
    name: str
    one_line: str
    pretty_arguments: str
    is_json: bool


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message to be shown: `html` where it is short, else `preview_html` of its beginning."""

    position: int
    role: str
    name: str | None
    one_line: str
    html: Markup
    is_long: bool
    n_characters: int
    preview_html: Markup
    calls: tuple[CallView, ...]


def message_view(message: Message, limit: int = LONG_CHARACTERS) -> MessageView:
    """A message as the templates show it; one over `limit` characters by its beginning."""
    text = message.content
    is_long = len(text) > limit
    start = text[: text.rfind("\n", limit // 2, limit) + 1 or limit] if is_long else text
    # What a tool prints is no markdown, unless it fences something.
    is_markdown = message.role != "tool" or "```" in start
    html = (markdown if is_markdown else plain)(start) if start.strip() else Markup("")
    return MessageView(
        position=message.position,
        role=message.role,
        name=None if message.name is None else one_line(message.name),
        one_line=one_line(text),
        html=Markup("") if is_long else html,
        is_long=is_long,
        n_characters=len(text),
        preview_html=html if is_long else Markup(""),
        calls=tuple(call_view(index, call) for index, call in enumerate(message.tool_calls)),
    )


def call_view(index: int, call: ToolCall) -> CallView:
    """A tool call as the templates show it."""
    try:
        is_short = len(call.arguments) <= INDENTED_CHARACTERS
        arguments = json.loads(call.arguments) if is_short else None
    except (ValueError, RecursionError):
        arguments = None
    is_json = isinstance(arguments, dict | list)
    said = ", ".join(_named_values(arguments)) if isinstance(arguments, dict) else call.arguments
    name, said = one_line(call.name, LINE_CHARACTERS // 2), one_line(said)
    line = f"{name}({said})"
    if len(line) > LINE_CHARACTERS:
        line = f"{name}({said[: LINE_CHARACTERS - len(name) - 3].rstrip(' …')}…)"
    pretty = "".join(_indented(call.arguments)) if is_json else call.arguments
    return CallView(index, name, line, marked(pretty), is_json)


def one_line(text: str, limit: int = LINE_CHARACTERS) -> str:
    """The text on one line of at most `limit` characters; `…` marks a cut."""
    # What is shown is at the start; a long text is not cleaned to its end.
    start = text[: 8 * limit]
    line = " ".join(marked(start).split())
    is_whole = len(line) <= limit and len(start) == len(text)
    return line if is_whole else line[: limit - 1].rstrip() + "…"


def parts(text: str, size: int = PART_CHARACTERS) -> list[str]:
    """The text in slices of at most `size` characters, cut at a line's end where one is near."""
    slices, start = [], 0
    while len(text) - start > size:
        end = text.rfind("\n", start + size * 9 // 10, start + size) + 1 or start + size
        slices.append(text[start:end])
        start = end
    return [*slices, text[start:]]


def _named_values(arguments: dict[str, object]) -> Iterator[str]:
    for name, value in list(arguments.items())[:LINE_CHARACTERS]:
        short = value[:LINE_CHARACTERS] if isinstance(value, str) else value
        yield f"{name}: {json.dumps(short, ensure_ascii=False)}"


def _indented(text: str) -> Iterator[str]:
    """JSON on many lines: its texts without needless escapes, its numbers and keys as they were."""
    depth, before = 0, ""
    for token in _JSON_TOKEN.findall(text):
        if token in "]}":
            depth -= 1
        if before and (token in "]}" or before in "[{,") and before + token not in ("[]", "{}"):
            yield "\n" + "  " * min(depth, INDENTED_DEPTH)
        if token in "[{":
            depth += 1
        yield json.dumps(json.loads(token), ensure_ascii=False) if token[0] == '"' else token
        if token == ":":
            yield " "
        before = token
