"""Tool calls and their results as a judge reads them: lines of text inside the assistant's turn.

Messages of a trace in, turns out. The one idea is that the lever adds to turns and never changes
whether a trace is eligible: without a word of the assistant there is nothing to react to.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from flywheel.records import Turn
from flywheel.traces.tool_calls import ToolCall, tool_calls_of


class Message(NamedTuple):
    """A message of a trace; `tool_calls` is its JSON, `tool_call_id` what a result belongs to."""

    position: int
    role: str
    text: str
    tool_calls: str | None = None
    tool_call_id: str | None = None


@dataclass(slots=True)
class _Call:
    """A line of the assistant's: what it called, and what came back once it is known."""

    call_id: str
    text: str
    result: str | None = None

    def __str__(self) -> str:
        return self.text if self.result is None else f"{self.text} -> {self.result}".lstrip()


@dataclass(slots=True)
class _Turn:
    """A turn while it is put together; an assistant's is its words and then its calls."""

    position: int
    role: Literal["user", "assistant"]
    before: list[_Call] = field(default_factory=list)
    text: str = ""
    after: list[_Call] = field(default_factory=list)

    def finished(self) -> Turn:
        parts = [*map(str, self.before), self.text, *map(str, self.after)]
        return Turn(self.position, self.role, "\n".join(part for part in parts if part))


def turns_with_tools(messages: Iterable[Message], clean: Callable[[str], str]) -> tuple[Turn, ...]:
    """The turns of people and the assistant, a call as `name(arguments) -> result` in its turn.

    A call goes with the assistant's words before it, else with those after it; where a person
    speaks between, it is a turn of its own. `clean` is what a lever makes of each text.
    """
    made: list[_Turn] = []
    # Calls that no word of the assistant's has come before, since the last person spoke.
    early: list[_Call] = []
    start = 0
    for message in messages:
        text = clean(message.text)
        if message.role == "user" and message.text:
            made += [_Turn(start, "assistant", early)] if early else []
            early = []
            made.append(_Turn(message.position, "user", text=text))
        elif message.role == "assistant" and message.text:
            made.append(_Turn(message.position, "assistant", early, text))
            early = []
        if message.role not in ("assistant", "tool"):
            continue
        said = made[-1] if made and made[-1].role == "assistant" else None
        lines = said.after if said else early
        start = start if early else message.position
        if message.role == "tool":
            known = [*said.before, *said.after] if said else early
            _take_result(lines, known, message.tool_call_id, text)
        else:
            lines += [_Call(c.call_id, _line(c, clean)) for c in tool_calls_of(message.tool_calls)]
    made += [_Turn(start, "assistant", early)] if early else []
    if not any(turn.text for turn in made if turn.role == "assistant"):
        made = [turn for turn in made if turn.role == "user"]
    return tuple(turn.finished() for turn in made)


def _take_result(lines: list[_Call], known: list[_Call], call_id: str | None, text: str) -> None:
    """Put a result to its call: that of its id, else the first that waits for one."""
    waiting = [call for call in known if call.result is None]
    named = [call for call in waiting if call_id and call.call_id == call_id]
    for call in [*named, *waiting][:1]:
        call.result = text
        return
    lines.append(_Call("", "", text))


def _line(call: ToolCall, clean: Callable[[str], str]) -> str:
    try:
        arguments = json.dumps(
            json.loads(call.arguments), ensure_ascii=False, separators=(",", ":")
        )
    except (ValueError, RecursionError):
        arguments = call.arguments
    return f"{call.name}({clean(arguments)})"
