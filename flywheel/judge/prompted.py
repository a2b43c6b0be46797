"""A generative judge: a chat model, a rubric and cases that people decided.

Conversations in, opinions out as they come, or why there is none; then verdicts. What costs money
or minutes is the opinion, so its version leaves out the calibration, which may change by itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np

from flywheel.errors import BadInput
from flywheel.judge.calibrating import StoredCalibration
from flywheel.judge.calibration import Calibration
from flywheel.judge.cascade import Thresholds
from flywheel.judge.judge import Opinion, fingerprint
from flywheel.judge.lexical import LexicalPrototypes
from flywheel.judge.prompts import PROMPT_VERSION, Example, few_shot_key, prompt_of, shape_of
from flywheel.judge.prototypes import name_codes
from flywheel.judge.reactions import reactions_of
from flywheel.judge.replies import Reply, read_reply
from flywheel.judge.rubric import Rubric
from flywheel.models.chat import Answer, ChatModel
from flywheel.records import (
    ERROR_CODES,
    ONLY_WITH_ERROR,
    REASON_CODES,
    Conversation,
    ReasonCode,
    Tier,
    Verdict,
)
from flywheel.traces.conversations import InputLevers

__all__ = ["Example", "PromptedJudge", "Unjudged", "UnjudgedKind", "few_shot_key"]

UnjudgedKind = Literal["unparsed", "refused", "failed", "too_long", "budget"]

# Every word of people and the assistant.
WHOLE = InputLevers()
# A probability of 0 or 1 has no logit; no model is surer than this before it is calibrated.
_SUREST = 1e-4
# The logit of a bare yes where the model gives no probability: .88, to be calibrated.
_BARE_LOGIT = 2.0
_MESSAGE_NUMBER = re.compile(r"(?:\b(?:messages?|turns?)\s*#?|#)(\d{1,6})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Why a conversation has no opinion; what was paid for it all the same."""

    kind: UnjudgedKind
    why: str
    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PromptedJudge:
    """A chat model under a rubric; `name` is one of `[judges.NAME]`.

    `few_shots` is the number of cases that it may be shown, at most; `thresholds` say from where on
    it decides by itself, None where nothing is certified. They hold for what the fitted judge
    `certified_after` leaves open, None for any; `measured` has what labels say of it behind each
    fitted judge, by its version. `levers` are those that its conversations were read with.
    """

    name: str
    model: ChatModel
    rubric: Rubric
    few_shots: int = 0
    calibration: Calibration = field(default_factory=Calibration)
    thresholds: Thresholds | None = None
    levers: InputLevers = WHOLE
    certified_after: str | None = None
    # What names the adapter that it runs with, which has learnt labels.
    adapter: str = ""
    measured: Mapping[str, StoredCalibration] = field(default_factory=dict)

    @property
    def tier(self) -> Tier:
        """The tier of its verdicts."""
        return "generative"

    @property
    def opinion_version(self) -> str:
        """Hash of all that opinions depend on: the key under which they are kept."""
        parts = [self.model.version, self.rubric.version, PROMPT_VERSION, self.few_shots]
        # What came later, only where it is used.
        parts += [self.levers.named()] if self.levers != WHOLE else []
        return f"generative-{fingerprint(parts)}"

    @property
    def version(self) -> str:
        """Hash of that, the calibration and the thresholds, and the adapter: what rows name.

        The adapter has a name of its own, by which it is known what labels it has learnt.
        """
        thresholds = asdict(self.thresholds) if self.thresholds else None
        parts = [self.opinion_version, asdict(self.calibration), thresholds]
        return "+".join([f"generative-{fingerprint(parts)}", *filter(None, [self.adapter])])

    def after(self, judge_version: str) -> "PromptedJudge":
        """As it works after this fitted judge: without thresholds certified after another one.

        Another judge leaves other traces open, on which it has to be measured by itself.
        """
        if own := self.measured.get(judge_version):
            thresholds, calibration = own.thresholds, own.calibration
            return replace(
                self,
                calibration=calibration,
                thresholds=thresholds,
                certified_after=judge_version,
            )
        if self.certified_after in (None, judge_version):
            return self
        return replace(self, thresholds=None)

    def opinions(
        self, conversations: Sequence[Conversation], shown: Sequence[Sequence[Example]]
    ) -> Iterator[tuple[int, Opinion | Unjudged]]:
        """The index of a conversation and what the model makes of it, each as soon as it is there.

        All must be eligible. Of `shown`, one sequence a conversation, the first `few_shots` count.
        """
        prompts = [
            prompt_of(self.rubric, conversation, examples[: self.few_shots])
            for conversation, examples in zip(conversations, shown, strict=True)
        ]
        for index, answer in self.model.answers(prompts):
            yield index, opinion_in(answer, conversations[index], self.rubric)

    def verdicts(
        self,
        conversations: Sequence[Conversation],
        opinions: Sequence[Opinion | Unjudged | None],
        shown: Sequence[Sequence[Example]],
    ) -> list[Verdict]:
        """A verdict for every conversation that has an opinion, naming the cases it was shown."""
        found = [
            (conversation, opinion, examples[: self.few_shots])
            for conversation, opinion, examples in zip(conversations, opinions, shown, strict=True)
            if isinstance(opinion, Opinion)
        ]
        logits = np.array([opinion.logit for _, opinion, _ in found], np.float64)
        probabilities = self.calibration.probability(logits, np.zeros(len(found)))
        decided: list[bool | None] = [None] * len(found)
        if self.thresholds is not None:
            decided = self.thresholds.decides(probabilities).tolist()
        return [
            _verdict(conversation, opinion, examples, float(probability), is_decided)
            for (conversation, opinion, examples), probability, is_decided in zip(
                found, probabilities, decided, strict=True
            )
        ]


def opinion_in(answer: Answer, conversation: Conversation, rubric: Rubric) -> Opinion | Unjudged:
    """What a model's answer says of the conversation, or why it says nothing."""
    paid = (answer.cost_usd, answer.prompt_tokens, answer.completion_tokens)
    if answer.failure:
        return Unjudged(answer.failure, answer.why, *paid)
    try:
        reply = read_reply(answer.text, shape_of(rubric))
    except BadInput as error:
        return Unjudged("unparsed", str(error), *paid)
    if_error, if_fine = _codes(conversation, reply)
    position = _evidence(conversation, reply.reason)
    logit = _logit(answer.label_probability, reply.label)
    return Opinion(logit, position, if_error, if_fine, reply.reason, *paid, answer.latency_ms)


def _logit(probability: float | None, label: bool) -> float:
    if probability is None:
        return _BARE_LOGIT if label else -_BARE_LOGIT
    p = min(max(probability, _SUREST), 1 - _SUREST)
    return float(np.log(p / (1 - p)))


def _codes(conversation: Conversation, reply: Reply) -> tuple[ReasonCode, ReasonCode]:
    """The codes for either verdict, since a calibration may turn the model's own round.

    The model names one; where it does not fit the verdict, the likest prototype turn names it.
    """
    scores = LexicalPrototypes().read(reactions_of([conversation], "last"))[1]
    (if_error,), (if_fine,) = name_codes(scores, is_error=True), name_codes(scores, is_error=False)
    for code in REASON_CODES:
        if code == reply.code and code in ERROR_CODES:
            if_error = code
        if code == reply.code and code not in ONLY_WITH_ERROR:
            if_fine = code
    return if_error, if_fine


def _evidence(conversation: Conversation, reason: str) -> int:
    """The position of the message that the reason names, else of the last reaction."""
    positions = {turn.position for turn in conversation.turns}
    named = (int(number) for number in _MESSAGE_NUMBER.findall(reason))
    last = conversation.turns[conversation.reactions[-1]].position
    return next((number for number in named if number in positions), last)


def _verdict(
    conversation: Conversation,
    opinion: Opinion,
    examples: Sequence[Example],
    probability: float,
    is_decided: bool | None,
) -> Verdict:
    is_error = probability >= 0.5
    code = opinion.code_if_error if is_error else opinion.code_if_fine
    return Verdict(
        conversation.trace_id,
        conversation.content_hash,
        is_error,
        probability,
        opinion.logit,
        f"{code} at message {opinion.position}: {opinion.reason}",
        code,
        opinion.position,
        "generative",
        tuple(example.correction_id for example in examples),
        is_decided,
        opinion.cost_usd,
        opinion.prompt_tokens,
        opinion.completion_tokens,
        opinion.latency_ms,
    )
