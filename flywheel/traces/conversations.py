"""Traces as judges and retrieval read them: the turns of people and the assistant, in order.

Warehouse rows in, `Conversation` out. Tool messages are left out and nothing is trimmed unless a
setting says so, and marks that a tool wrote into a turn are removed, since they would give the
answer away.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import TypeVar

import pyarrow as pa

from flywheel.records import Conversation, Turn
from flywheel.store.warehouse import Connection
from flywheel.traces.applications import EVERY, Applications
from flywheel.traces.tool_turns import Message, turns_with_tools

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InputLevers:
    """What of a turn a judge is given: part of the judge's version."""

    max_message_chars: int = 0
    strip_markers: tuple[str, ...] = ()
    include_tool_calls: bool = False

    def named(self) -> dict[str, object]:
        """By name, as versions hash them; what came later only where it is used."""
        levers = asdict(self)
        if not self.include_tool_calls:
            del levers["include_tool_calls"]
        return levers

    @property
    def of_words(self) -> "InputLevers":
        """The same without tool calls, for what compares what people and the assistant said."""
        return replace(self, include_tool_calls=False)

    def turns(self, messages: Iterable[Message]) -> tuple[Turn, ...]:
        """The turns that a judge is given of a trace's messages, which are in order."""
        if self.include_tool_calls:
            return turns_with_tools(messages, self.clean)
        return tuple(
            Turn(m.position, "user" if m.role == "user" else "assistant", self.clean(m.text))
            for m in messages
            if m.role in ("user", "assistant") and m.text
        )

    def clean(self, text: str) -> str:
        """The text as a judge reads it; a cut in the middle is marked by `[…]`."""
        for marker in self.strip_markers:
            text = re.sub(marker, "", text)
        limit = self.max_message_chars
        if limit and len(text) > limit:
            half = limit // 2
            text = f"{text[:half]} […] {text[-half:]}"
        return text


def read_day(
    connection: Connection,
    day: date,
    levers: InputLevers,
    after: str | None = None,
    limit: int | None = None,
    applications: Applications = EVERY,
) -> list[Conversation]:
    """Current traces of the day, eligible or not, by trace id: the first `limit` behind `after`."""
    rows = connection.table(
        "traces/conversations_of_day",
        day=day,
        after=after,
        limit=limit,
        with_tools=levers.include_tool_calls,
        **applications.as_parameters(),
    )
    return _conversations(rows, levers)


def read_traces(
    connection: Connection, trace_ids: Iterable[str], levers: InputLevers, day: date | None = None
) -> list[Conversation]:
    """The current versions of these traces, by trace id; unknown ids are left out.

    With a `day`, those of that day alone, and nothing else is searched.
    """
    wanted = pa.table({"trace_id": pa.array(sorted(set(trace_ids)), pa.string())})
    with connection.given(wanted=wanted):
        rows = connection.table(
            "traces/conversations_of_traces", day=day, with_tools=levers.include_tool_calls
        )
        return _conversations(rows, levers)


def conversation_of(
    trace_id: str,
    messages: Sequence[tuple[str, str] | Message],
    levers: InputLevers,
    session_id: str = "",
    app: str = "",
    content_hash: str = "",
) -> Conversation:
    """A conversation that is in no warehouse, such as one of a file of labels.

    `messages` in order: (role, text), or with their tool calls, whose positions count anew.
    """
    placed = [
        message._replace(position=position)
        if isinstance(message, Message)
        else Message(position, *message)
        for position, message in enumerate(messages)
    ]
    turns = levers.turns(placed)
    return Conversation(trace_id, content_hash, turns, session_id or trace_id, app)


def _conversations(rows: pa.Table, levers: InputLevers) -> list[Conversation]:
    """The rows as conversations."""
    # Column by column: a dictionary a message takes longer than the lexical tier.
    messages = rows["messages"].combine_chunks()
    names = Message._fields if levers.include_tool_calls else Message._fields[:3]
    columns = (messages.values.field(name).to_pylist() for name in names)
    said = zip(*columns, strict=True)
    if levers.include_tool_calls:
        of_trace = _by_trace([Message(*values) for values in said], messages)
        turns = [levers.turns(of_one) for of_one in of_trace]
    else:
        clean = levers.clean
        # The statement gives no others than those of people and the assistant, and no empty ones.
        every = [Turn(position, role, clean(text)) for position, role, text in said]
        turns = [tuple(of_one) for of_one in _by_trace(every, messages)]
    named = (rows[name].to_pylist() for name in ("trace_id", "content_hash", "session_id", "app"))
    return [
        Conversation(trace_id, content_hash, of_one, session_id, app)
        for trace_id, content_hash, session_id, app, of_one in zip(*named, turns, strict=True)
    ]


def _by_trace(flat: list[_T], messages: pa.ListArray) -> list[list[_T]]:
    """What stands in one list for all messages, a list for each trace."""
    ends = messages.offsets.to_pylist()
    return [flat[start:end] for start, end in itertools.pairwise(ends)]
