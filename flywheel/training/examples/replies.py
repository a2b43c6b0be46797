"""What an application's model should answer, and should not: examples out of decided traces.

Decided traces in, chat examples out, and why there is none of a trace. The one idea is that the
question turn is where two ways part: a person's correction is one, and the failure that it mends is
the other; an answer that nobody minded is good, and an error without a correction is still known
to be one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.records import Split
from flywheel.review.export_messages import Row, for_openai, tools_in
from flywheel.review.export_rows import corrected, is_silent, judged_answer
from flywheel.store.warehouse import Connection
from flywheel.traces.documents import Message, tool_calls_of
from flywheel.training.examples.example import ChatExample, Source

# Of the answer that a person bettered although nobody minded it; a failure has 0.
FAIR = 0.5


@dataclass(frozen=True, slots=True)
class DecidedTrace:
    """A labelled trace with all its messages, and the better answer where a person wrote one."""

    correction_id: str
    trace_id: str
    app: str
    group: str
    split: Split
    perceived_error: bool
    reason_code: str | None
    reason: str | None
    evidence_turn: int | None
    decision_ids: tuple[int, ...]
    generator: str
    tools: tuple[Row, ...]
    corrected_turn: int | None
    corrected_text: str | None
    corrected_tool_calls: str | None
    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        """What people and the assistant said, by which conversations are compared."""
        said = (m.content for m in self.messages if m.role in ("user", "assistant") and m.content)
        return "\n".join(said)


def decided_traces(
    connection: Connection, splits: Sequence[Split], apps: Sequence[str] = ()
) -> list[DecidedTrace]:
    """Labelled traces of these splits and applications (none is all), by trace id."""
    rows = connection.table("training/decided_traces", splits=list(splits), apps=list(apps))
    return [_decided(row) for row in rows.to_pylist()]


def reply_examples(
    traces: Iterable[DecidedTrace],
) -> tuple[list[ChatExample], dict[str, int]]:
    """Examples of the answers that labels and corrections speak of, and why a trace has none."""
    found: list[ChatExample] = []
    left: Counter[str] = Counter()
    for trace in traces:
        if trace.corrected_turn is None:
            made = _judged(trace)
        else:
            made = _mended(trace, trace.corrected_turn)
        if isinstance(made, str):
            left[made] += 1
        else:
            found += made
    return found, dict(left)


def _mended(trace: DecidedTrace, turn: int) -> list[ChatExample] | str:
    """The correction, and beside it the answer that it is better than."""
    if turn >= len(trace.messages) or trace.messages[turn].role != "assistant":
        return "correction of a message that is not the assistant's"
    original = trace.messages[turn]
    better = corrected(original, trace.corrected_text, trace.corrected_tool_calls)
    if is_silent(better):
        return "correction without text or tool call"
    if _question_before(trace.messages, turn) is None:
        return "no user's turn before the answer"
    if (better.content, better.tool_calls) == (original.content, original.tool_calls):
        return [_example(trace, original, "correction", 1.0)]
    grade = 0.0 if trace.perceived_error else FAIR
    pair_id = trace.correction_id
    return [
        _example(trace, better, "correction", 1.0, pair_id),
        _example(trace, original, "failed", grade, pair_id),
    ]


def _judged(trace: DecidedTrace) -> list[ChatExample] | str:
    """The answer that nobody corrected, as good as its label says."""
    answer = judged_answer(trace.messages, trace.evidence_turn)
    if answer is None:
        return "no answer to judge"
    if _question_before(trace.messages, answer.position) is None:
        return "no user's turn before the answer"
    if trace.perceived_error:
        return [_example(trace, answer, "failed", 0.0)]
    return [_example(trace, answer, "accepted", 1.0)]


def _example(
    trace: DecidedTrace, answer: Message, source: Source, grade: float, pair_id: str = ""
) -> ChatExample:
    """The conversation up to this answer, learnt from the question turn on."""
    question = _question_before(trace.messages, answer.position)
    assert question is not None
    messages = for_openai([*trace.messages[: answer.position], answer])
    return ChatExample(
        f"{trace.correction_id}-{source}",
        tuple(messages),
        question + 1,
        grade,
        source,
        trace.generator,
        trace.app,
        trace.group,
        trace.split,
        trace.decision_ids,
        pair_id,
        trace.tools,
        trace.trace_id,
    )


def _question_before(messages: Sequence[Message], turn: int) -> int | None:
    """The place of the last user's turn before this one."""
    return max((i for i in range(turn) if messages[i].role == "user"), default=None)


def _decided(row: dict[str, Any]) -> DecidedTrace:
    messages = tuple(
        Message(
            place,
            said["role"],
            said["content"],
            tool_calls_of(said["tool_calls"]),
            said["tool_call_id"],
            said["name"],
            said["tool_calls"],
        )
        for place, said in enumerate(row["messages"])
    )
    return DecidedTrace(
        row["correction_id"],
        row["trace_id"],
        row["app"],
        row["user_id"] or row["session_id"],
        row["split"],
        row["perceived_error"],
        row["reason_code"],
        row["reason"],
        row["evidence_turn"],
        tuple(row["decision_ids"]),
        row["generator"],
        tuple(tools_in(row["metadata"])),
        row["corrected_turn"],
        row["corrected_text"],
        row["corrected_tool_calls"],
        messages,
    )
