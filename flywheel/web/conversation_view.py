"""A trace as a reader wants it: one page of its messages, the one to look at marked.

A document in, what the templates show out; the one idea is that only the pages asked for are read,
however long the trace is.
"""

import json
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from markupsafe import Markup

from flywheel.safety import encodable
from flywheel.traces.documents import Document, Message, ToolCall
from flywheel.web.rendering import MessageView, message_view

PAGE_SIZE = 50
# Messages shown before the one to look at, where a trace has several pages.
BEFORE = 30
# How far before the flagged turn the answer that it speaks of is looked for.
SEARCHED = 200
# A longer answer is edited on request only: a page should not carry it twice.
EDITED_UP_TO = 50_000


@dataclass(frozen=True, slots=True)
class Editor:
    """A message as it can be corrected; `diff` is what a stored correction changed."""

    position: int
    text: str
    calls: tuple[ToolCall, ...]
    is_open: bool
    diff: Markup


@dataclass(frozen=True, slots=True)
class Talk:
    """Where in a trace the page stands; positions count messages from 0.

    `flagged` is the message to look at first, `evidence` the one that shows the error, `target` the
    answer that would be corrected.
    """

    trace_id: str
    content_hash: str
    n_messages: int
    first: int
    page_size: int
    base: str
    flagged: int | None = None
    evidence: int | None = None
    target: int | None = None
    editor: Editor | None = None
    may_decide: bool = False


def conversation_view(document: Document, first: int) -> tuple[list[MessageView], Talk]:
    """A page of the trace's messages from `first` on, to be read only."""
    header = document.header
    first = min(first, max(0, header.n_messages - 1))
    views = [message_view(message) for message in document.messages(first, PAGE_SIZE)]
    base = f"/trace?{urlencode({'id': header.trace_id, 'hash': header.content_hash})}"
    talk = Talk(header.trace_id, header.content_hash, header.n_messages, first, PAGE_SIZE, base)
    return views, talk


def first_shown(n_messages: int, looked_at: int | None) -> int:
    """Where the page begins that has the message to look at; the last page where there is none."""
    if n_messages <= PAGE_SIZE:
        return 0
    if looked_at is None:
        return n_messages - PAGE_SIZE
    return max(0, min(looked_at - BEFORE, n_messages - PAGE_SIZE))


def answer_before(document: Document, position: int | None) -> int | None:
    """Where the assistant last spoke before this position, or in all; None where it did not."""
    end = document.header.n_messages if position is None else position
    for start in range(end, max(0, end - SEARCHED), -PAGE_SIZE):
        begin = max(0, start - PAGE_SIZE)
        for message in reversed(document.messages(begin, start - begin)):
            if message.role == "assistant" and (message.content.strip() or message.tool_calls):
                return message.position
    return None


def readable(call: ToolCall) -> ToolCall:
    """The call with its arguments as indented JSON, where they are JSON."""
    try:
        arguments = json.dumps(json.loads(call.arguments), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return call
    return replace(call, arguments=encodable(arguments))


def is_short_enough(message: Message) -> bool:
    """Whether a page carries the message a second time, in an editor that nobody asked for."""
    calls = sum(len(call.arguments) for call in message.tool_calls)
    return len(message.content) + calls <= EDITED_UP_TO
