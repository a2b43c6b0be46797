"""What retrieval gave for a trace, as a judge takes it: how it leans, and cases for a prompt.

Rows of `few_shot_corrections` and labels in, examples out. A case is read again when it is shown:
a label that no longer stands, a trace that somebody marked as sensitive, or a text that addresses a
model is left out, whatever the index said when the day was searched.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from flywheel.judge.judge import Examples
from flywheel.judge.prompted import Example
from flywheel.records import Conversation
from flywheel.safety import injected_instruction
from flywheel.store.warehouse import Connection
from flywheel.traces.conversations import InputLevers, read_traces


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases that may be shown, by correction; those left out are counted by why."""

    by_id: Mapping[str, Example] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def shown(self, correction_ids: Iterable[str], most: int) -> list[Example]:
        """The first `most` of these that may be shown, in their order."""
        return [self.by_id[i] for i in correction_ids if i in self.by_id][:most]


def read_examples(
    connection: Connection, day: date, trace_ids: Iterable[str]
) -> dict[str, Examples]:
    """What retrieval gave for these traces of the day; nothing for those that it found none for."""
    wanted = pa.table({"trace_id": pa.array(list(trace_ids), pa.string())})
    with connection.given(wanted=wanted):
        rows = connection.run("judge/examples_of_traces", day=day).fetchall()
    return {trace_id: Examples(leaning, tuple(ids)) for trace_id, leaning, ids in rows}


def read_cases(connection: Connection, correction_ids: Iterable[str], levers: InputLevers) -> Cases:
    """The cases of these corrections, as they stand now."""
    asked = sorted(set(correction_ids))
    if not asked:
        return Cases()
    with connection.given(wanted=pa.table({"correction_id": pa.array(asked, pa.string())})):
        labels = connection.table("judge/example_labels").to_pylist()
    found = read_traces(connection, [label["trace_id"] for label in labels], levers)
    conversations = {conversation.trace_id: conversation for conversation in found}
    left_out = Counter({"no longer a label that may be shown": len(asked) - len(labels)})
    cases = {}
    for label in labels:
        conversation = conversations[label["trace_id"]]
        if _addresses_a_model(conversation, label["reason"]):
            left_out["it addresses a model"] += 1
            continue
        cases[label["correction_id"]] = Example(
            label["correction_id"],
            conversation,
            label["perceived_error"],
            label["reason_code"],
            label["reason"],
        )
    return Cases(cases, dict(+left_out))


def _addresses_a_model(conversation: Conversation, reason: str) -> bool:
    texts = [reason, *(turn.text for turn in conversation.turns)]
    return any(injected_instruction(text) for text in texts)
