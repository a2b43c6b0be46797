"""Traces as judges and retrieval read them: the turns of people and the assistant, in order.

Warehouse rows in, `Conversation` out. Tool messages are left out, nothing is trimmed unless a
setting says so, and marks that a tool wrote into a turn are removed, since they would give the
answer away.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from flywheel.records import Conversation, Turn
from flywheel.store.warehouse import Connection


@dataclass(frozen=True, slots=True)
class InputLevers:
    """What of a turn a judge is given: part of the judge's version."""

    max_message_chars: int = 0
    strip_markers: tuple[str, ...] = ()

    def clean(self, text: str) -> str:
        """The text as a judge reads it; a cut in the middle is marked by `[…]`."""
        for marker in self.strip_markers:
            text = re.sub(marker, "", text)
        limit = self.max_message_chars
        if limit and len(text) > limit:
            half = limit // 2
            text = f"{text[:half]} […] {text[-half:]}"
        return text


def read_day(connection: Connection, day: date, levers: InputLevers) -> list[Conversation]:
    """Every current trace of the day, eligible or not, by trace id."""
    return _conversations(connection.table("traces/conversations_of_day", day=day), levers)


def read_traces(
    connection: Connection, trace_ids: Iterable[str], levers: InputLevers
) -> list[Conversation]:
    """The current versions of these traces, by trace id; unknown ids are left out."""
    wanted = pa.table({"trace_id": pa.array(sorted(set(trace_ids)), pa.string())})
    with connection.given(wanted=wanted):
        return _conversations(connection.table("traces/conversations_of_traces"), levers)


def conversation_of(
    trace_id: str,
    messages: Sequence[tuple[str, str]],
    levers: InputLevers,
    session_id: str = "",
    app: str = "",
    content_hash: str = "",
) -> Conversation:
    """A conversation from (role, text) pairs that are in no warehouse, such as a file of labels."""
    turns = tuple(
        Turn(position, "user" if role == "user" else "assistant", levers.clean(text))
        for position, (role, text) in enumerate(messages)
        if role in ("user", "assistant") and text
    )
    return Conversation(trace_id, content_hash, turns, session_id or trace_id, app)


def _conversations(rows: pa.Table, levers: InputLevers) -> list[Conversation]:
    return [
        Conversation(
            row["trace_id"],
            row["content_hash"],
            tuple(
                Turn(turn["position"], turn["role"], levers.clean(turn["content"]))
                for turn in row["turns"] or ()
            ),
            row["session_id"],
            row["app"],
        )
        for row in rows.to_pylist()
    ]
