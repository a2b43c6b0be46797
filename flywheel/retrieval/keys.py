"""What of a conversation is compared: for a judge a reaction, for an application a request.

Conversations in, unit vectors out. An example for a judge has one key, that of its evidence with
the answer before it; a query has one a reaction, and an example is as similar to it as to the
nearest of them. An example for an application is known by the request that its answer replied to.
"""

from collections.abc import Sequence

import numpy as np

from flywheel.models.embedder import TextEncoder, Vectors
from flywheel.records import Conversation, Turn

# Reactions of a query that are looked up: the last ones.
MAX_QUERY_KEYS = 8
# Of a request, what is compared: embedders read some 250 words, and tokenizers all they are given.
REQUEST_CHARS = 4_000

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


def key_vectors(embedder: TextEncoder, keys: Sequence[KeyTurns]) -> Vectors:
    """The unit vector of e(user turn) + e(answer before), float32 of shape (n_keys, dim)."""
    vectors = embedder.encode([turn.text for key in keys for turn in key])
    if not keys:
        return vectors
    sums = vectors[0::2] + vectors[1::2]
    # Two opposite vectors sum to nothing: such a key is similar to no other.
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.asarray(sums / lengths, np.float32)


def request_turns(
    conversation: Conversation, corrected_turn: int | None, evidence_turn: int | None
) -> KeyTurns | None:
    """The request of the user that an answer replied to, and the answer; None without a request.

    The answer is the message at `corrected_turn`, else the one that the evidence speaks of, else
    the last that the user reacted to, else the last. One of tool calls alone has no text.
    """
    position = corrected_turn
    if position is None:
        position = _judged_answer(conversation, evidence_turn)
    before = [t for t in conversation.turns if position is not None and t.position < position]
    request = next((t for t in reversed(before) if t.role == "user" and t.text.strip()), None)
    if request is None or position is None:
        return None
    silent = Turn(position, "assistant", "")
    return request, next((t for t in conversation.turns if t.position == position), silent)


def request_text(text: str) -> str:
    """What of a request is embedded: the same for an example and for a query."""
    return text.strip()[:REQUEST_CHARS]


def request_vectors(embedder: TextEncoder, keys: Sequence[KeyTurns]) -> Vectors:
    """The unit vectors of the requests alone, float32 of shape (n_keys, dim)."""
    return embedder.encode([request_text(request.text) for request, _ in keys])


def _judged_answer(conversation: Conversation, evidence_turn: int | None) -> int | None:
    said = {turn.position: turn.role for turn in conversation.turns}
    if evidence_turn is not None and said.get(evidence_turn) == "assistant":
        return evidence_turn
    key = key_turns(conversation, evidence_turn)
    if key is not None:
        return key[1].position
    return max((place for place, role in said.items() if role == "assistant"), default=None)


def _with_answer(conversation: Conversation, reaction: int) -> KeyTurns:
    before = conversation.turns[:reaction]
    answer = next(turn for turn in reversed(before) if turn.role == "assistant")
    return conversation.turns[reaction], answer
