"""What a causal judge should reply: examples out of labelled traces and the rubric's prompt.

Labelled traces and their conversations in, chat examples out. The one idea is that it is asked in
training exactly as in use, so that only the reply is learnt; where nobody wrote a reason, the
reason names the message that the label points at.
"""

from collections.abc import Iterable, Mapping

from flywheel.judge.judge import fingerprint
from flywheel.judge.prompts import PROMPT_VERSION, Example, prompt_of, verdict_of
from flywheel.judge.rubric import Rubric
from flywheel.records import REASON_CODES, Conversation, ReasonCode
from flywheel.training.examples.example import ChatExample
from flywheel.training.examples.replies import DecidedTrace

# Where a label has no words of its own.
_REASONS: Mapping[ReasonCode, str] = {
    "correction": "The user corrects the assistant",
    "rejection": "The user rejects what the assistant did",
    "repeated_request": "The user has to ask again",
    "complaint_without_correction": "The user complains",
    "clarification_request": "The user asks what is meant",
    "assistant_admits_error": "The assistant admits an error",
    "positive": "The user is content",
    "none": "The user goes on without a complaint",
}


def verdict_examples(
    traces: Iterable[DecidedTrace], conversations: Mapping[str, Conversation], rubric: Rubric
) -> tuple[list[ChatExample], dict[str, int]]:
    """An example a labelled trace, and why a trace has none.

    `conversations` are those that the judge may read, by trace id.
    """
    found, n_left = [], 0
    for trace in traces:
        conversation = conversations.get(trace.trace_id)
        if conversation is None or not conversation.is_eligible:
            n_left += 1
        else:
            found.append(_example(trace, conversation, rubric))
    return found, {"no reaction of a user to judge": n_left} if n_left else {}


def prompt_hash(rubric: Rubric) -> str:
    """Names all that a judge is asked with besides the conversation."""
    return fingerprint([PROMPT_VERSION, rubric.version])


def _example(trace: DecidedTrace, conversation: Conversation, rubric: Rubric) -> ChatExample:
    code = _code(trace)
    reason = trace.reason or _reason(code, trace.evidence_turn)
    said = Example(trace.correction_id, conversation, trace.perceived_error, code, reason)
    asked = [
        {"role": message.role, "content": message.content}
        for message in prompt_of(rubric, conversation, ()).messages
    ]
    return ChatExample(
        f"{trace.correction_id}-reply",
        (*asked, {"role": "assistant", "content": verdict_of(said)}),
        len(asked),
        1.0,
        "reply",
        "",
        trace.app,
        trace.group,
        trace.split,
        trace.decision_ids,
        trace_id=trace.trace_id,
    )


def _code(trace: DecidedTrace) -> ReasonCode:
    known = next((code for code in REASON_CODES if code == trace.reason_code), None)
    return known or ("correction" if trace.perceived_error else "none")


def _reason(code: ReasonCode, turn: int | None) -> str:
    where = "" if turn is None else f" in message {turn}"
    return f"{_REASONS[code]}{where}."
