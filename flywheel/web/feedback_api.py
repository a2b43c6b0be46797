"""What end users and tools say of traces, by `POST /v1/feedback`: thumbs, comments, better answers.

JSON in, rows of the ledger's `feedback` out; 200 means that they are committed. The one idea is
that feedback need not wait for its trace: it is joined to it whenever that comes. Sent again, word
for word, it is kept once; an `idempotency_key` tells apart what only looks the same.
"""

from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from flywheel.traces.feedback import FeedbackRow, FeedbackSource, keep_feedback
from flywheel.web.access import Actor, NotAllowed, may
from flywheel.web.api import REFUSALS, Web_
from flywheel.web.context import Web

router = APIRouter(prefix="/v1", tags=["v1"], responses=REFUSALS)

Sender = Annotated[Actor, Depends(may("send"))]
# Of a request; a comment is what somebody typed, a correction may be a whole answer.
MAX_ROWS = 1_000
MAX_COMMENT, MAX_CORRECTION = 20_000, 200_000
_MASKED = ("label", "comment", "correction")


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("infinity and NaN are no values")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the moment is out of range") from error


def _as_number(value: object) -> object:
    return float(value) if isinstance(value, bool) else value


_Id = Annotated[str, Field(min_length=1, max_length=400)]
_Value = Annotated[float, BeforeValidator(_as_number), AfterValidator(_finite)]


class FeedbackBody(BaseModel):
    """What somebody says of a trace, or of one span of it; it says something."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    trace_id: _Id | None = None
    span_id: _Id | None = None
    app: Annotated[str, Field(max_length=400)] = ""
    name: Annotated[str, Field(min_length=1, max_length=80)] = "user_feedback"
    thumbs: Literal["up", "down"] | None = Field(None, description="Short for a value of 1 or 0.")
    value: _Value | None = Field(None, description="0 or less is a complaint, of an end user.")
    label: Annotated[str, Field(max_length=400)] | None = None
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] | None = None
    correction: Annotated[str, Field(max_length=MAX_CORRECTION)] | None = Field(
        None, description="A better answer; of an annotator it becomes a decision."
    )
    source: FeedbackSource = "end_user"
    user_id: Annotated[str, Field(max_length=400)] | None = None
    given_at: Annotated[datetime, AfterValidator(_in_utc)] | None = None
    idempotency_key: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackBody":
        if not (self.trace_id or self.span_id):
            raise ValueError("trace_id or span_id must say what it is about")
        if self.thumbs is not None and self.value is not None:
            raise ValueError("thumbs is short for a value; give one of them")
        said = (self.thumbs, self.value, self.label, self.comment, self.correction)
        if all(one is None or one == "" for one in said):
            raise ValueError("it says nothing: thumbs, value, label, comment or correction")
        return self

    def row(self, actor: Actor) -> FeedbackRow:
        """As it is kept; where an annotator says it, that is whoever's key it is."""
        value = self.value
        if self.thumbs is not None:
            value = 1.0 if self.thumbs == "up" else 0.0
        return FeedbackRow(
            trace_id=self.trace_id or "",
            span_id=self.span_id,
            name=self.name,
            value=value,
            label=self.label,
            comment=self.comment,
            correction=self.correction,
            source=self.source,
            author=actor.name if self.source == "annotator" else None,
            user_id=self.user_id,
            given_at=self.given_at,
            origin=f"api:{self.idempotency_key or ''}",
            app=self.app or None,
        )


class FeedbackKept(BaseModel):
    """How many are new; the others were there, or are of somebody who was forgotten."""

    kept: int
    known: int


_Many = Annotated[list[FeedbackBody], Field(min_length=1, max_length=MAX_ROWS)]
# Told apart first, so that a refusal is about the one that was meant.
_OneOrMany = Annotated[
    Annotated[FeedbackBody, Tag("one")] | Annotated[_Many, Tag("many")],
    Discriminator(lambda sent: "many" if isinstance(sent, list) else "one"),
]


@router.post("/feedback")
def receive_feedback(web: Web_, actor: Sender, body: Annotated[_OneOrMany, Body()]) -> FeedbackKept:
    """Keep what is said of traces, one or up to 1,000; all of them or, at a refusal, none.

    Of an end user, of code or of a model by any key that may send; an annotator needs a key of
    somebody who may review.
    """
    bodies = body if isinstance(body, list) else [body]
    if any(one.source == "annotator" for one in bodies) and not actor.may("review"):
        raise NotAllowed(
            "source annotator needs the key of somebody who may review, not a service's"
        )
    rows = [_masked(web, one).row(actor) for one in bodies if not _is_forgotten(web, one)]
    new = keep_feedback(web.stores.ledger, "", rows)
    return FeedbackKept(kept=new, known=len(bodies) - new)


def _is_forgotten(web: Web, body: FeedbackBody) -> bool:
    known = web.stores.tombstones
    return known is not None and known.are_of(body.app, body.user_id, body.trace_id)


def _masked(web: Web, body: FeedbackBody) -> FeedbackBody:
    """The body without what the project's rules take out of a trace."""
    if web.redactor.is_off:
        return body
    said: dict[str, Any] = {name: text for name in _MASKED if (text := getattr(body, name))}
    masked = web.redactor.whole(said)
    # A field may be dropped whole.
    return body.model_copy(update={name: masked.get(name) for name in said})
