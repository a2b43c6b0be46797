"""The words of the product, as frozen records; every stage takes and returns these.

trace       one conversation of an application, as it was seen once (`content_hash`)
turn        a message of a person or the assistant; tool messages are no turns
score       what a metric or a judge said of a trace
verdict     a judge's score: perceived error or not, with its reason and probability
sample      the traces that are worth an expensive judge, drawn with a known probability
item        a trace in the review queue, with why it is there
decision    what a person said of a trace; never changed, undone by a later one
correction  the better answer that a person wrote
label       what all the decisions on a trace amount to
split       train, validation, calibration or holdout, fixed for ever
champion    the version in use of a target; a challenger may replace it through the gate
target      what is retrained: the judge, one of some applications, or an application's model
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, get_args

ReasonCode = Literal[
    "correction",
    "rejection",
    "repeated_request",
    "complaint_without_correction",
    "clarification_request",
    "assistant_admits_error",
    "positive",
    "none",
]
REASON_CODES: tuple[ReasonCode, ...] = (
    "correction",
    "rejection",
    "repeated_request",
    "complaint_without_correction",
    "clarification_request",
    "assistant_admits_error",
    "positive",
    "none",
)
ERROR_CODES: frozenset[ReasonCode] = frozenset(REASON_CODES[:6])
# A request to clarify is no error unless it challenges the answer before it, so it goes with both.
ONLY_WITH_ERROR: frozenset[ReasonCode] = ERROR_CODES - {"clarification_request"}

Tier = Literal["lexical", "frozen", "lora", "generative"]
TIERS: tuple[Tier, ...] = ("lexical", "frozen", "lora", "generative")
# Those that are fitted on labels and saved as one judge.
FITTED_TIERS: tuple[Tier, ...] = ("lexical", "frozen", "lora")

# What is retrained without any setting: the judge of all applications, under this name.
JUDGE_TARGET = "judge"
TargetKind = Literal["judge", "chat-judge", "app"]
# How a causal model learns from failures: not at all, unmarked, marked good or bad, marked by grade
# (2402.11651), or as pairs.
Arm = Literal["vanilla", "nut", "nat", "nat-k", "dpo", "kto"]

Split = Literal["train", "validation", "calibration", "holdout"]
QueueReason = Literal[
    "low_score",
    "uncertain",
    "disputed",
    "random_audit",
    "complaint",
    "review_due",
    "panel_audit",
    "picked",
]
ItemStatus = Literal["pending", "disputed", "complete", "declined"]
# `decide` is a vote, `adjudicate` settles a dispute; the others decide nothing.
DecisionKind = Literal["decide", "adjudicate", "decline", "skip", "sensitive", "undo"]
Role = Literal["admin", "engineer", "reviewer", "service"]
ROLES: tuple[Role, ...] = ("admin", "engineer", "reviewer", "service")
# What decisions can be exported as.
ExportFormat = Literal[
    "jsonl", "parquet", "openai-sft", "openai-dpo", "trl-sft", "trl-dpo", "trl-kto"
]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

# Upper edges of the shares of sessions: .6 train, .1 validation, .1 calibration, .2 holdout.
SPLIT_EDGES: tuple[tuple[float, Split], ...] = (
    (0.6, "train"),
    (0.7, "validation"),
    (0.8, "calibration"),
    (1.0, "holdout"),
)


def unit_hash(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments.

    The first 52 bits of md5, so that the SQL macro `unit_hash` gives the same number.
    """
    digest = hashlib.md5(f"{salt}:{key}".encode(), usedforsecurity=False).hexdigest()
    return int(digest[:13], 16) / float(1 << 52)


def split_of(session_id: str, user_id: str | None = None) -> Split:
    """The split of a conversation: by its user where known, else by its session."""
    position = unit_hash(f"user:{user_id}" if user_id else f"session:{session_id}", "split")
    return next(split for edge, split in SPLIT_EDGES if position < edge)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a person or the assistant said; `position` counts all messages of the trace from 0."""

    position: int
    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A trace as a judge reads it: its turns in order, without tool messages."""

    trace_id: str
    content_hash: str
    turns: tuple[Turn, ...]
    session_id: str = ""
    app: str = ""

    @property
    def is_eligible(self) -> bool:
        """Whether a user turn follows an assistant turn, so that there is a reaction to judge."""
        return bool(self.reactions)

    @property
    def reactions(self) -> list[int]:
        """Indices into `turns` of the user turns that follow an assistant turn."""
        first = next((i for i, turn in enumerate(self.turns) if turn.role == "assistant"), None)
        if first is None:
            return []
        return [
            i
            for i, turn in enumerate(self.turns)
            if i > first and turn.role == "user" and turn.text.strip()
        ]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one trace.

    `probability` of a perceived error is in [0, 1]; `logit` is the judge's own, before any
    calibration; `evidence_turn` is the position of the message that the reason quotes.
    `is_decided` says whether the tier is past its certified threshold, and so the last to be asked;
    None where nothing is certified. What was paid is in `cost_usd` and tokens, 0 without a bill.
    """

    trace_id: str
    content_hash: str
    perceived_error: bool
    probability: float
    logit: float
    reason: str
    reason_code: ReasonCode
    evidence_turn: int | None
    tier: Tier
    few_shot_ids: tuple[str, ...] = ()
    is_decided: bool | None = None
    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person said of one trace, as it was then (`content_hash`).

    A correction is of the message at `corrected_turn`: a better text, better tool calls (a JSON
    list in OpenAI's shape, in place of all of that message's), or both.
    """

    trace_id: str
    content_hash: str
    reviewer: str
    perceived_error: bool
    reason_code: ReasonCode
    reason: str
    decided_at: datetime
    evidence_turn: int | None = None
    rubric_version: str = "1"
    seconds: float | None = None
    draw_probability: float | None = None
    is_audit: bool = False
    corrected_turn: int | None = None
    corrected_text: str | None = None
    corrected_tool_calls: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledConversation:
    """A conversation with what people said of it; or a panel of judges, where they said nothing.

    What is not `is_by_people` teaches, and measures nothing.
    """

    conversation: Conversation
    perceived_error: bool
    group: str
    weight: float = 1.0
    reason_code: ReasonCode | None = None
    evidence_turn: int | None = None
    is_by_people: bool = True
    reason: str = ""
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A correction found for a query: similarity is a cosine in [-1, 1], age in days."""

    correction_id: str
    trace_id: str
    similarity: float
    age_days: float
    score: float
    perceived_error: bool


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds of its interval, 95 % unless said otherwise."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """What a stage did with one day: counts, and why rows were left out."""

    day: date
    attempted: int
    done: int
    skipped: dict[str, int]
    failed: dict[str, int]
