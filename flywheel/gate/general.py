"""The general suite of judges: labelled conversations on which no challenger may get worse.

A file of the project's own in, or the bundled sample, labelled conversations out. They are of no
day and no split; the one idea is that what a judge knew of conversations at large is tested on what
neither side has learnt from.
"""

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from flywheel.records import LabelledConversation
from flywheel.traces.conversations import InputLevers, conversation_of
from flywheel.traces.labelled import read_conversations
from flywheel.traces.tool_turns import Message

MADE_BY = (
    "Labelled conversations make it: JSON lines with `messages` and `label`, named by `general` of "
    "[gate]; without one it is the bundled sample."
)


def general_conversations(path: Path | None, levers: InputLevers) -> list[LabelledConversation]:
    """The labelled, eligible conversations of a file, or of the bundled sample where there is none.

    Raises BadInput where the file does not exist or no line of it can be read.
    """
    if path is not None:
        return read_conversations(path, levers).labelled
    return [
        LabelledConversation(conversation, label["perceived_error"], conversation.session_id)
        for trace, label in _sample()
        if (
            conversation := conversation_of(
                trace["trace_id"],
                [_message(m) for m in trace["messages"]],
                levers,
                trace["session_id"],
                trace["app"],
            )
        ).is_eligible
    ]


@lru_cache(maxsize=1)
def _sample() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    folder = files("flywheel.sample")
    traces, decisions = (
        [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
        for name in ("traces.jsonl", "decisions.jsonl")
    )
    labels = {row["trace_id"]: row for row in decisions}
    return [(row, labels[row["trace_id"]]) for row in traces if row["trace_id"] in labels]


def _message(row: dict[str, Any]) -> Message:
    calls = row.get("tool_calls")
    return Message(
        0,
        row["role"],
        row.get("content") or "",
        json.dumps(calls) if calls else None,
        row.get("tool_call_id"),
    )
