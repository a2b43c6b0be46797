"""A file of conversations for the judge's own commands: JSON lines, with labels or without.

A file in, conversations and what people said of them out; what cannot be used is counted and named,
and never stops the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flywheel.errors import BadInput, NotEnough
from flywheel.records import Conversation, LabelledConversation, ReasonCode
from flywheel.traces.conversations import InputLevers, conversation_of


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: str
    content: str | None = None


class _Label(BaseModel):
    model_config = ConfigDict(extra="ignore")
    perceived_error: bool | None = None
    reason_code: ReasonCode | None = None
    evidence_turn: int | None = None


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    trace_id: str
    app: str = ""
    session_id: str | None = None
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
            [(m.role, m.content or "") for m in row.messages],
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
