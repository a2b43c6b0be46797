"""What programs send to `/v1` and are answered with, as the OpenAPI description has it.

JSON in, checked values out, and the other way round; nothing is decided here.
"""

from datetime import date, datetime
from math import isfinite
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flywheel.records import DecisionKind, ItemStatus, QueueReason, ReasonCode, Role
from flywheel.traces.documents import Message
from flywheel.web.access import Permission
from flywheel.web.filters import Asked
from flywheel.web.items_view import DecisionForm, VisibleItem


def _finite(value: float | None) -> float | None:
    # JSON knows no infinity.
    return value if value is None or isfinite(value) else None


# Messages that come with an item, unless more or less are asked for.
FIRST_MESSAGES = 50

_Number = Annotated[float | None, AfterValidator(_finite)]
_Name = Annotated[str, Field(max_length=400)]


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class Fault(_Answer):
    """Why a request was refused."""

    error: str = Field(description="One sentence for people.")


class Me(_Answer):
    """Whose key this is."""

    name: str
    role: Role
    permissions: list[Permission] = Field(description="What that role may do.")


class ClaimOut(_Answer):
    """Who has an item on the desk, and until when."""

    reviewer: str
    claimed_until: datetime


class MetricOut(_Answer):
    """A metric by code that speaks against the trace."""

    metric: str
    value: _Number
    label: str | None


class SimilarOut(_Answer):
    """An earlier decision on a trace that is like this one."""

    correction_id: str
    similarity: float = Field(description="Cosine, in [-1, 1].")


class ItemOut(_Answer):
    """A trace in a queue, as far as this user may see it.

    In a blind queue the judge's word and how the item was drawn are null, and `is_hidden` is true,
    until this user has decided.
    """

    item_id: int
    queue: str
    trace_id: str
    content_hash: str = Field(description="Which version of the trace.")
    app: str
    day: date
    status: ItemStatus
    assigned_to: str | None
    reviewers_needed: int
    n_decided: int = Field(description="How many people have decided on it.")
    queued_at: datetime
    is_blind: bool
    is_hidden: bool
    has_decided: bool = Field(description="Whether this user has decided on it.")
    opening: str = Field(description="What the user said first, in one line.")
    n_messages: int
    evidence_turn: int | None = Field(description="The message that the judge's word is about.")
    claims: list[ClaimOut]
    similar: list[SimilarOut]
    why: list[str] = Field(description="Why it is here, in sentences.")
    reason: QueueReason | None
    priority: float | None
    draw_probability: float | None = Field(description="With which it was drawn at all.")
    audit_probability: float | None = Field(description="With which the random audit drew it.")
    probability: _Number = Field(description="Of a perceived error, as the judge has it.")
    judge_version: str | None
    judge_reason: str | None
    judge_reason_code: str | None
    metrics: list[MetricOut]


def item_out(shown: VisibleItem) -> ItemOut:
    """The item as it is answered."""
    own = {name: getattr(shown, name) for name in ItemOut.model_fields}
    own["similar"] = [SimilarOut(correction_id=one, similarity=by) for one, by in shown.similar]
    return ItemOut.model_validate(own)


class ItemsOut(_Answer):
    """Some of the items that match a filter, the most urgent first."""

    items: list[ItemOut]
    n_matching: int
    n_all: int


class ToolCallOut(_Answer):
    """A call of a tool; `arguments` is JSON text where the application wrote JSON."""

    call_id: str
    name: str
    arguments: str


class MessageOut(_Answer):
    """A message of a trace, whole; its text is whatever it was, and hostile to a page."""

    position: int = Field(description="Counted from 0 over all messages of the trace.")
    role: str
    content: str
    tool_calls: list[ToolCallOut]
    tool_call_id: str | None
    name: str | None


class MessagesOut(_Answer):
    """Some messages of a trace."""

    first: int
    n_messages: int
    messages: list[MessageOut]


def messages_out(first: int, n_messages: int, messages: list[Message]) -> MessagesOut:
    """The messages as they are answered."""
    return MessagesOut(
        first=first,
        n_messages=n_messages,
        messages=[MessageOut.model_validate(message) for message in messages],
    )


class DecisionOut(_Answer):
    """What somebody decided, and the better answer, if they wrote one."""

    decision_id: int
    kind: DecisionKind
    reviewer: str
    perceived_error: bool
    reason_code: ReasonCode
    reason: str
    evidence_turn: int | None
    rubric_version: str
    seconds: _Number
    decided_at: datetime
    corrected_turn: int | None
    corrected_text: str | None
    corrected_tool_calls: str | None


class CommentOut(_Answer):
    """A remark on a trace."""

    author: str
    text: str
    written_at: datetime


class ItemDetail(_Answer):
    """An item with what people said of it; `decisions` are one's own until the item is done."""

    item: ItemOut
    decisions: list[DecisionOut]
    comments: list[CommentOut]
    is_sensitive: bool


class FilterBody(BaseModel):
    """Which items; what is left out asks for nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    queue: _Name = ""
    app: _Name = ""
    day: _Name = Field("", description="As 2026-03-31.")
    reason: _Name = Field("", description="Why it was drawn; for those who manage the queue.")
    metric: _Name = Field("", description="That speaks against it; for the same people.")
    mine: bool = Field(False, description="Assigned to this user, on their desk or decided.")

    def asked(self) -> Asked:
        """The filter as an address would have it."""
        said = {name: value for name, value in self.model_dump().items() if value}
        return Asked(**said | {"mine": "yes" if self.mine else ""})


class ClaimBody(BaseModel):
    """A wish for the next item."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    filter: FilterBody = FilterBody()
    messages: int = Field(
        FIRST_MESSAGES, ge=0, le=500, description="How many messages to answer with."
    )


class Claimed(_Answer):
    """An item on this user's desk, and its first messages."""

    item: ItemOut
    claimed_until: datetime
    messages: MessagesOut


class DecisionBody(DecisionForm):
    """A decision, and whether the answer should be the next item."""

    next: ClaimBody | bool = Field(
        False, description="true, or a wish: claim the next item in the same call."
    )


class Decided(_Answer):
    """A decision that is stored, and the next item where it was asked for and there is one."""

    decision_id: int
    status: ItemStatus
    next: Claimed | None


class ReasonBody(BaseModel):
    """Why, where somebody should know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    reason: str = Field("", max_length=10_000)


class CommentBody(BaseModel):
    """A remark."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    text: str = Field(min_length=1, max_length=10_000)


class SensitiveBody(BaseModel):
    """Whether to keep the trace out of examples, training and exports, or to let it in again."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    is_sensitive: bool
    reason: str = Field("", max_length=10_000)


class Noted(_Answer):
    """Something that is stored, and the status of the item since."""

    noted_id: int
    status: ItemStatus


class UndoneOut(_Answer):
    """What was taken back; `item_id` is where it can be done again."""

    decision_id: int
    kind: DecisionKind
    trace_id: str
    content_hash: str
    item_id: int | None


class RubricOut(_Answer):
    """The words to decide by; decisions are stamped with the version."""

    version: str
    text: str
