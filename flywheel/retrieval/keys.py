"""What of a conversation is compared: a reaction of the user, with the answer it reacts to.

Conversations in, unit vectors out. An example has one key, that of its evidence; a query has one a
reaction, and an example is as similar to it as to the nearest of them.
"""

from collections.abc import Sequence

import numpy as np

from flywheel.models.embedder import Embedder, Vectors
from flywheel.records import Conversation, Turn

# Reactions of a query that are looked up: the last ones.
MAX_QUERY_KEYS = 8

KeyTurns = tuple[Turn, Turn]


def key_turns(conversation: Conversation, evidence_turn: int | None) -> KeyTurns | None:
    """The user turn that an example is about, and the answer before it; None without a reaction.

    `evidence_turn` is the position of a message; where it is no reaction, the last one stands in.
    """
    reactions = conversation.reactions
    if not reactions:
        return None
    at_evidence = (i for i in reactions if conversation.turns[i].position == evidence_turn)
    return _with_answer(conversation, next(at_evidence, reactions[-1]))


def query_turns(conversation: Conversation) -> list[KeyTurns]:
    """The last reactions of a conversation, each with the answer before it, in order."""
    return [_with_answer(conversation, i) for i in conversation.reactions[-MAX_QUERY_KEYS:]]


def key_vectors(embedder: Embedder, keys: Sequence[KeyTurns]) -> Vectors:
    """The unit vector of e(user turn) + e(answer before), float32 of shape (n_keys, dim)."""
    vectors = embedder.encode([turn.text for key in keys for turn in key])
    if not keys:
        return vectors
    sums = vectors[0::2] + vectors[1::2]
    # Two opposite vectors sum to nothing: such a key is similar to no other.
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.asarray(sums / lengths, np.float32)


def _with_answer(conversation: Conversation, reaction: int) -> KeyTurns:
    before = conversation.turns[:reaction]
    answer = next(turn for turn in reversed(before) if turn.role == "assistant")
    return conversation.turns[reaction], answer
