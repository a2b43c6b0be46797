"""What is judged: a user's turn that follows an assistant's, with the turns around it.

Conversations in, `Reaction` rows out. A perceived error shows in how a person reacts, so each
reaction is judged by itself, and one of them stands for the trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flywheel.records import Conversation

Floats = NDArray[np.float64]

# Which reaction stands for its trace: the last one, or the one most like an error.
Pooling = Literal["last", "worst"]


@dataclass(frozen=True, slots=True)
class Reaction:
    """A user turn in its context; empty strings where there is no such turn.

    `request` is the user turn before the answer, `earlier_answer` the assistant turn before that.
    """

    conversation: int
    position: int
    text: str
    answer: str
    request: str
    earlier_answer: str


def reactions_of(conversations: Sequence[Conversation]) -> list[Reaction]:
    """Every reaction of every conversation, in order; `conversation` indexes the input."""
    found = []
    for index, conversation in enumerate(conversations):
        turns = conversation.turns
        for i in conversation.reactions:
            answer = _before(conversation, i, "assistant")
            request = _before(conversation, answer, "user")
            earlier = _before(conversation, request, "assistant")
            found.append(
                Reaction(
                    index,
                    turns[i].position,
                    turns[i].text,
                    turns[answer].text if answer >= 0 else "",
                    turns[request].text if request >= 0 else "",
                    turns[earlier].text if earlier >= 0 else "",
                )
            )
    return found


def stand_ins(
    reactions: Sequence[Reaction], logits: Floats, n_conversations: int, pooling: Pooling
) -> NDArray[np.int64]:
    """Index of the reaction that stands for each conversation; of equals, the later one.

    Shape (n_conversations,), -1 where a conversation has no reaction.
    """
    chosen = np.full(n_conversations, -1, np.int64)
    owners = np.fromiter((r.conversation for r in reactions), np.int64, len(reactions))
    # Ascending and stable: what is written last stays.
    order = np.arange(len(reactions)) if pooling == "last" else np.argsort(logits, kind="stable")
    chosen[owners[order]] = order
    return chosen


def _before(conversation: Conversation, index: int, role: str) -> int:
    return next((i for i in range(index - 1, -1, -1) if conversation.turns[i].role == role), -1)
