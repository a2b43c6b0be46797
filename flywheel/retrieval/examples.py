"""What may be an example, and what is shown of it: the same for an index and for its tail.

A decided conversation in, its key or the reason why it is none out. The one idea is that the
published index and what was decided since are made by these few functions, so that a correction is
the same example a second after the decision as it is the day after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flywheel.models.embedder import TextEncoder, Vectors
from flywheel.records import Conversation
from flywheel.retrieval.index import Purpose
from flywheel.retrieval.keys import (
    KeyTurns,
    key_turns,
    key_vectors,
    request_turns,
    request_vectors,
)
from flywheel.safety import injected_instruction
from flywheel.traces.conversations import InputLevers

# A row of the warehouse, of an index or of its tail, by column.
Row = dict[str, Any]

# Of all texts of an example; five such examples are 25,000 tokens or so, and more is no prompt.
MOST_CHARS = 20_000
ADDRESSES_A_MODEL = "addresses a model"


def words_of(levers: InputLevers, purpose: Purpose) -> InputLevers:
    """What of a turn is compared and shown; an answer that is to be imitated is never cut."""
    words = levers.of_words
    return words if purpose == "judge" else replace(words, max_message_chars=0)


def key_of(row: Mapping[str, Any], conversation: Conversation, purpose: Purpose) -> KeyTurns | str:
    """The turns that a decided conversation is known by; else why it is no example."""
    if purpose == "judge":
        key = key_turns(conversation, row["evidence_turn"])
        if key is None:
            return "no reaction of the user"
    else:
        key = request_turns(conversation, row["corrected_turn"], row["evidence_turn"])
        if key is None:
            return "no request of the user"
    texts = [text for text in (*(turn.text for turn in key), *_calls_and_better(row)) if text]
    if any(injected_instruction(text) for text in texts):
        return ADDRESSES_A_MODEL
    if purpose == "application" and sum(map(len, texts)) > MOST_CHARS:
        return "too long for a prompt"
    if purpose == "application" and not any((key[1].text, *_calls_and_better(row))):
        return "no answer that could be shown"
    return key


def vectors_of(embedder: TextEncoder, keys: Sequence[KeyTurns], purpose: Purpose) -> Vectors:
    """The vectors that these keys are found by, float32 of shape (n_keys, dim)."""
    return key_vectors(embedder, keys) if purpose == "judge" else request_vectors(embedder, keys)


def _calls_and_better(row: Mapping[str, Any]) -> list[str]:
    names = ("corrected_text", "corrected_tool_calls", "original_tool_calls")
    return [row[name] or "" for name in names]
