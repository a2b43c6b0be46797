"""A file of conversations for the judge's own commands: JSON lines, with labels or without.

A file in, conversations and what people said of them out; what cannot be used is counted and named,
and never stops the rest.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from flywheel.errors import BadInput, NotEnough
from flywheel.records import Conversation, LabelledConversation, ReasonCode
from flywheel.store.ledger import in_utc
from flywheel.traces.conversations import InputLevers, conversation_of
from flywheel.traces.tool_turns import Message


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: str
    content: str | None = None
    # Whatever an application wrote there: it stops no line from being read.
    tool_calls: Any = None
    tool_call_id: Any = None


class _Label(BaseModel):
    model_config = ConfigDict(extra="ignore")
    perceived_error: bool | None = None
    reason_code: ReasonCode | None = None
    evidence_turn: int | None = None
    reason: str | None = None


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    trace_id: str
    app: str = ""
    session_id: str | None = None
    started_at: datetime | None = None
    messages: list[_Message]
    label: _Label = _Label()


@dataclass(frozen=True, slots=True)
class ConversationFile:
    """All conversations of a file, those with a label, and the lines that could not be read."""

    conversations: list[Conversation]
    labelled: list[LabelledConversation]
    skipped: dict[str, int]
    rejected: list[str]


def read_conversations(path: Path, levers: InputLevers) -> ConversationFile:
    """The conversations of a JSON lines file; groups are sessions, a trace its own without one.

    Raises BadInput where the file does not exist or no line of it can be read.
    """
    if not path.is_file():
        raise BadInput(f"{path} is no file; expected JSON lines with trace_id and messages")
    conversations, labelled, rejected = [], [], []
    skipped = {"no label": 0, "not eligible": 0}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            rejected.append(f"{path}:{number}: {_first_fault(error)}")
            continue
        conversation = conversation_of(
            row.trace_id,
            [
                Message(
                    0,
                    m.role,
                    m.content or "",
                    _json(m.tool_calls),
                    m.tool_call_id if isinstance(m.tool_call_id, str) else None,
                )
                for m in row.messages
            ],
            levers,
            row.session_id or "",
            row.app,
        )
        conversations.append(conversation)
        label = row.label
        if not conversation.is_eligible:
            skipped["not eligible"] += 1
        elif label.perceived_error is None:
            skipped["no label"] += 1
        else:
            labelled.append(
                LabelledConversation(
                    conversation,
                    label.perceived_error,
                    conversation.session_id,
                    reason_code=label.reason_code,
                    evidence_turn=label.evidence_turn,
                    reason=label.reason or "",
                    started_at=in_utc(row.started_at) if row.started_at else None,
                )
            )
    if not conversations:
        why = f"; first fault: {rejected[0]}" if rejected else ""
        raise BadInput(f"{path} holds no conversation{why}")
    return ConversationFile(conversations, labelled, skipped, rejected)


def require_both_classes(labelled: Sequence[LabelledConversation], least: int = 5) -> None:
    """Raises NotEnough where fewer than `least` of either class are labelled."""
    positives = sum(row.perceived_error for row in labelled)
    for what, have in (
        ("labelled perceived errors", positives),
        ("labelled conversations without an error", len(labelled) - positives),
    ):
        if have < least:
            raise NotEnough(what, have, least)


def _first_fault(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _json(calls: object) -> str | None:
    """Tool calls as the warehouse has them: JSON, or the text that an application wrote."""
    return calls if isinstance(calls, str) else json.dumps(calls) if calls else None
