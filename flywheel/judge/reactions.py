"""What is judged: a user's turn that follows an assistant's, with the turns around it.

Conversations in, `Reaction` rows out. A perceived error shows in how a person reacts, so each
reaction is judged by itself, and one of them stands for the trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flywheel.records import Conversation, Turn

Floats = NDArray[np.float64]

# Which reaction stands for its trace: the last one, or the one most like an error.
Pooling = Literal["last", "worst"]


@dataclass(frozen=True, slots=True)
class Reaction:
    """A user turn in its context; empty strings where there is no such turn.

    `answer` is the assistant's turn before it, `request` the user's turn before the answer.
    """

    conversation: int
    position: int
    text: str
    answer: str
    request: str


def reactions_of(
    conversations: Sequence[Conversation], pooling: Pooling = "worst"
) -> list[Reaction]:
    """The reactions that may stand for their conversation: each of them, or the last alone.

    In order; `conversation` indexes the input.
    """
    found = []
    for index, conversation in enumerate(conversations):
        turns = conversation.turns
        places = _places(turns)
        for i, answer, request in places[-1:] if pooling == "last" else places:
            found.append(
                Reaction(
                    index,
                    turns[i].position,
                    turns[i].text,
                    turns[answer].text,
                    turns[request].text if request >= 0 else "",
                )
            )
    return found


def _places(turns: Sequence[Turn]) -> list[tuple[int, int, int]]:
    """Where each reaction, its answer and its request stand among the turns; -1 for no request."""
    places = []
    user = answer = request = -1
    for i, turn in enumerate(turns):
        if turn.role == "assistant":
            answer, request = i, user
        else:
            if answer >= 0 and turn.text.strip():
                places.append((i, answer, request))
            user = i
    return places


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
