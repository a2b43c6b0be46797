"""Rows of a training file, one decided trace at a time.

A trace with what people said of it in, rows in the shape of one format out, and a reason for each
row that there cannot be.

Source: OpenAI's guides to supervised fine-tuning and direct preference optimization, and TRL's
"Dataset formats and types" (TRL 1.16).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from flywheel.records import ExportFormat
from flywheel.review.decided import DecidedVersion
from flywheel.review.export_messages import Row, for_openai, for_trl, plain_messages
from flywheel.review.standing import StandingDecision
from flywheel.traces.documents import Message, tool_calls_of

# OpenAI asks for at least one message of input; TRL 1.16 stops at a prompt without any.
_NO_PROMPT = "no message before the answer"


@dataclass(frozen=True, slots=True)
class DecidedTrace:
    """What people said of a version of a trace, its messages, and the tools on offer, if known."""

    said: DecidedVersion
    messages: Sequence[Message]
    tools: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the file, and where it comes from."""

    row: Row
    provenance: Row


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that there cannot be."""

    why: str


def why_nothing(said: DecidedVersion, format: ExportFormat) -> str | None:
    """Why a trace gives no row in a format whatever its messages are, or None."""
    if format in ("jsonl", "parquet") or said.corrections:
        return None
    if format != "trl-kto":
        return "no correction"
    return "disputed" if said.label.perceived_error is None else None


def examples_of(trace: DecidedTrace, format: ExportFormat) -> Iterator[Example | LeftOut]:
    """The rows of a trace that gives any in a format, in the order of its decisions.

    Every correction that stands gives its rows, whichever side its reviewer is on. `metadata` of
    TRL's rows says where they come from; its trainers take no notice of it.
    """
    if format in ("jsonl", "parquet"):
        yield Example(_whole(trace), {})
    elif not trace.said.corrections:
        yield _judged_answer(trace)
    else:
        judged: set[int] = set()
        for vote in trace.said.corrections:
            yield from _of_correction(trace, vote, format, judged)


def provenance_of(said: DecidedVersion, correction: StandingDecision | None = None) -> Row:
    """Where a row comes from: the trace, its label, and the correction where it is of one.

    What is said besides is said by the correction, or by the vote whose words the label takes.
    """
    label = said.label
    speaker = correction or label.said
    by = (speaker or said.votes[-1]).decision
    latest = (correction or said.latest).decision
    return {
        "trace_id": said.trace_id,
        "content_hash": said.content_hash,
        "session_id": said.session_id,
        "app": said.app,
        "day": said.day.isoformat() if said.day else None,
        "split": said.split,
        "perceived_error": label.perceived_error,
        "is_disputed": label.perceived_error is None,
        "source": label.source,
        "reason_code": by.reason_code if speaker else None,
        "reason": by.reason if speaker else None,
        "evidence_turn": by.evidence_turn if speaker else None,
        "rubric_version": latest.rubric_version,
        "reviewers": sorted({vote.decision.reviewer for vote in said.votes}),
        "decided_at": latest.decided_at.isoformat(),
        # What the label is called in the warehouse.
        "correction_id": str(max(vote.decision_id for vote in said.votes)),
        "decision_id": correction.decision_id if correction else None,
        "corrected_turn": by.corrected_turn if correction else None,
        "corrected_by": by.reviewer if correction else None,
    }


def _whole(trace: DecidedTrace) -> Row:
    """The trace with its label and all votes; each vote is a row that `review import` takes."""
    row = provenance_of(trace.said)
    for name in ("decision_id", "corrected_turn", "corrected_by"):
        del row[name]
    return row | {
        "decisions": [_vote_row(vote) for vote in trace.said.votes],
        "messages": plain_messages(trace.messages),
    }


def _vote_row(vote: StandingDecision) -> Row:
    said = asdict(vote.decision) | {"decided_at": vote.decision.decided_at.isoformat()}
    return {"decision_id": vote.decision_id, "kind": vote.kind} | said


def _of_correction(
    trace: DecidedTrace, vote: StandingDecision, format: ExportFormat, judged: set[int]
) -> Iterator[Example | LeftOut]:
    """The rows of one correction; `judged` are the answers that have their undesirable row."""
    turn = vote.decision.corrected_turn
    assert turn is not None
    if turn >= len(trace.messages) or trace.messages[turn].role != "assistant":
        yield LeftOut("correction of a message that is not the assistant's")
        return
    original = trace.messages[turn]
    said = vote.decision
    better = corrected(original, said.corrected_text, said.corrected_tool_calls)
    why = _why_none(trace.messages[:turn], original, better, format)
    if why is not None:
        yield LeftOut(why)
        return
    own = provenance_of(trace.said, vote)
    if format == "openai-sft":
        yield Example(_openai_sft(trace, better), own)
    elif format == "openai-dpo":
        yield Example(_openai_dpo(trace, original, better), own)
    elif format == "trl-dpo":
        pair: Row = {"chosen": for_trl([better]), "rejected": for_trl([original])}
        yield _trl(trace, turn, pair, own)
    elif format == "trl-sft":
        yield _trl(trace, turn, {"completion": for_trl([better])}, own)
    else:
        yield _trl(trace, turn, {"completion": for_trl([better]), "label": True}, own)
        if turn not in judged and not is_silent(original):
            judged.add(turn)
            yield _trl(trace, turn, {"completion": for_trl([original]), "label": False}, own)


def _why_none(
    before: Sequence[Message], original: Message, better: Message, format: ExportFormat
) -> str | None:
    """Why a correction gives no row in a format, or None where it does."""
    if is_silent(better):
        return "correction without text or tool call"
    if format == "openai-sft":
        return None
    if not before:
        return _NO_PROMPT
    if format == "trl-sft":
        return None
    if (better.content, better.tool_calls) == (original.content, original.tool_calls):
        return "correction that changes nothing"
    if is_silent(original) and format != "trl-kto":
        return "correction of an empty message, which leaves nothing to be preferred to"
    return None


def _judged_answer(trace: DecidedTrace) -> Example | LeftOut:
    """KTO's row of a trace that nobody corrected: the answer that its label speaks of."""
    label = trace.said.label
    evidence = label.said.decision.evidence_turn if label.said else None
    answer = judged_answer(trace.messages, evidence)
    if answer is None:
        return LeftOut("no answer to judge")
    turn = answer.position
    if turn == 0:
        return LeftOut(_NO_PROMPT)
    judged = {"completion": for_trl([answer]), "label": not label.perceived_error}
    return _trl(trace, turn, judged, provenance_of(trace.said))


def judged_answer(messages: Sequence[Message], evidence_turn: int | None) -> Message | None:
    """The answer that a label speaks of: the last that says anything before the evidence."""
    answers = (m for m in messages[:evidence_turn] if m.role == "assistant" and not is_silent(m))
    return max(answers, key=lambda message: message.position, default=None)


def _openai_sft(trace: DecidedTrace, better: Message) -> Row:
    before = for_openai(trace.messages[: better.position])
    for message in before:
        if message["role"] == "assistant":
            # Nobody has said that the answers before it are right: they are no examples.
            message["weight"] = 0
    row: Row = {"messages": [*before, *for_openai([better])]}
    if trace.tools:
        row |= {"tools": list(trace.tools), "parallel_tool_calls": True}
    return row


def _openai_dpo(trace: DecidedTrace, original: Message, better: Message) -> Row:
    return {
        "input": {
            "messages": for_openai(trace.messages[: original.position]),
            "tools": list(trace.tools),
            "parallel_tool_calls": True,
        },
        "preferred_output": for_openai([better]),
        "non_preferred_output": for_openai([original]),
    }


def _trl(trace: DecidedTrace, turn: int, answers: Row, own: Row) -> Example:
    row: Row = {"prompt": for_trl(trace.messages[:turn])} | answers
    if trace.tools:
        row["tools"] = list(trace.tools)
    return Example(row | {"metadata": own}, own)


def corrected(original: Message, text: str | None, tool_calls: str | None) -> Message:
    """The message as it should have been; what is None was not corrected."""
    return replace(
        original,
        content=original.content if text is None else text,
        tool_calls=original.tool_calls if tool_calls is None else tool_calls_of(tool_calls),
    )


def is_silent(message: Message) -> bool:
    """Whether a message has neither text nor tool calls."""
    return not message.content.strip() and not message.tool_calls
