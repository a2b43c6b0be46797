"""What an application asks for its examples and its verdicts with, and what it is answered.

JSON in, checked values out, and the other way round; nothing is decided here. Every text is made
such that each ledger can hold it.
"""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from flywheel.records import ReasonCode, Tier, Verdict
from flywheel.retrieval.quoting import Quoted, as_messages, why_chosen
from flywheel.retrieval.search import EXAMPLE_KINDS, ExampleKind, Found
from flywheel.retrieval.switches import Scope
from flywheel.review.rows import storable
from flywheel.traces.steps import NODE_KINDS
from flywheel.traces.tool_turns import Message

_Name = Annotated[str, Field(max_length=400), AfterValidator(storable)]
_Text = Annotated[str, AfterValidator(storable)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class ChatMessage(BaseModel):
    """A message in OpenAI's shape; keys that are not named here are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    role: Annotated[str, Field(max_length=40)]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: _Name | None = None

    @property
    def text(self) -> str:
        """Its text; of a list of parts, that of those that are text."""
        if isinstance(self.content, list):
            parts = (part.get("text") for part in self.content)
            return storable("\n".join(part for part in parts if isinstance(part, str)))
        return storable(self.content or "")


class FewShotsBody(_Body):
    """A request of a user, for which examples are wanted."""

    app: _Name = Field(description="Application whose examples are asked for.")
    text: _Text = Field("", description="What the user says.")
    messages: list[ChatMessage] = Field(
        default=[],
        max_length=10_000,
        description="Or the conversation; then the user's last message is what they say.",
    )
    k: int | None = Field(None, ge=1, le=50, description="At most so many; else `retrieval.k`.")
    kinds: list[ExampleKind] = Field(
        default=list(EXAMPLE_KINDS), max_length=3, description="Which kinds of examples."
    )
    trace_id: _Name | None = Field(
        None, description="Of this conversation, so that the examples' effect can be measured."
    )
    node: _Name | None = Field(
        None,
        description="The node of the graph of calls that asks: a kind, or `kind:name` as /graph "
        f"has it; kinds are {', '.join(NODE_KINDS)}. Its examples come first, then those of its "
        "kind; none is left out.",
        examples=["llm:planner"],
    )
    parent: _Name | None = Field(
        None,
        description="The node that called it, named alike; its examples gain a little.",
        examples=["agent:desk"],
    )
    session_id: _Name | None = Field(None, description="Nothing of the same session is shown.")
    user_id: _Name | None = Field(None, description="Nothing of the same user is shown.")

    @model_validator(mode="after")
    def _says_something(self) -> "FewShotsBody":
        if bool(self.text) == bool(self.messages):
            raise ValueError("give either text or messages")
        return self

    @property
    def request(self) -> str:
        """What the user says."""
        said = (m.text for m in reversed(self.messages) if m.role == "user" and m.text.strip())
        return self.text or next(said, "")


class ExampleOut(_Answer):
    """A decided answer to an earlier request that is like this one."""

    correction_id: str
    trace_id: str = Field(description="The trace that it is from.")
    kind: ExampleKind = Field(description="correction: a good answer beside the bad one.")
    label: str = Field(description="good where there is an answer to follow, else bad.")
    similarity: float = Field(description="Cosine of the two requests, in [-1, 1].")
    age_days: float = Field(description="Since it was decided.")
    score: float = Field(
        description="Similarity x recency x weight of a disagreement x weight of the node."
    )
    node: str = Field(description="Whose answer it was, as `kind:name`; empty where unknown.")
    parent: str = Field(description="The node that called it; empty where unknown.")
    why: str = Field(description="One sentence of facts.")
    request: str
    good_answer: str | None
    bad_answer: str | None
    good_tool_calls: str | None = Field(description="JSON.")
    bad_tool_calls: str | None = Field(description="JSON.")
    messages: list[dict[str, str]] = Field(description="This example alone, for a prompt.")


class FewShotsOut(_Answer):
    """Examples, best first; none where nothing is like the request."""

    request_id: str
    index_version: str = Field(description="What they were chosen from.")
    examples: list[ExampleOut]
    messages: list[dict[str, str]] = Field(
        description="One system message that quotes them all, to be put before the conversation."
    )
    text: str = Field(description="The same as plain text; empty without examples.")
    experiment: str | None = Field(None, description="By whose arm they were chosen, if by any.")
    arm: str | None = Field(None, description="The arm of this session.")


class ScoreBody(_Body):
    """A conversation to judge now."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=10_000)
    app: _Name = ""
    trace_id: _Name = Field("", description="Comes back with the verdict; nothing is stored.")
    generative: bool = Field(
        default=False, description="Ask the generative judge where no other tier decides."
    )

    def said(self) -> list[Message]:
        """The messages as judges read them."""
        return [
            Message(
                position,
                message.role,
                message.text,
                storable(json.dumps(message.tool_calls)) if message.tool_calls else None,
                message.tool_call_id,
            )
            for position, message in enumerate(self.messages)
        ]


class VerdictOut(_Answer):
    """What the judge says of the conversation."""

    perceived_error: bool
    probability: float = Field(description="Of a perceived error.")
    reason: str
    reason_code: ReasonCode
    evidence_turn: int | None = Field(description="Position of the message that shows it.")
    tier: Tier
    is_decided: bool | None = Field(description="None where no threshold is certified.")
    cost_usd: float

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictOut":
        """A verdict as it is answered."""
        return cls.model_validate(verdict)


class ScoreOut(_Answer):
    """The verdict, or why there is none."""

    request_id: str
    trace_id: str
    judge_version: str
    verdict: VerdictOut | None
    skipped: str | None = Field(description="Why there is no verdict.")


class SwitchBody(_Body):
    """A switch to turn: an example, an application's examples, or all of them."""

    scope: Scope
    subject: _Name = Field("", description="A correction's id or an application; empty for all.")
    is_on: bool = Field(description="Whether they are served.")
    why: Annotated[str, Field(max_length=1000), AfterValidator(storable)] = ""


class SwitchOut(_Answer):
    """A switch that is off."""

    scope: Scope
    subject: str
    actor: str
    why: str
    switched_off_at: datetime


def example_out(found: Found, said: Quoted) -> ExampleOut:
    """An example as it is answered."""
    return ExampleOut(
        correction_id=found.row["correction_id"],
        trace_id=found.row["trace_id"],
        kind=said.kind,
        label="bad" if said.kind == "bad" else "good",
        similarity=found.similarity,
        age_days=found.age_days,
        score=found.score,
        node=found.row["node"] or "",
        parent=found.row["parent"] or "",
        why=why_chosen(found),
        request=said.request,
        good_answer=said.good_answer,
        bad_answer=said.bad_answer,
        good_tool_calls=said.good_tool_calls,
        bad_tool_calls=said.bad_tool_calls,
        messages=[dict(message) for message in as_messages([said])],
    )
