"""What was decided since the published index was made: the same examples, in memory.

Decisions of the ledger and documents of the artifacts in, rows and vectors out. The one idea is
that a trace on which anybody said anything since is answered by the tail alone, so that an undo, a
second opinion or a mark as sensitive takes an example away as soon as a decision adds one. The
warehouse derives the same in sql/corrections and sql/retrieval, and a test holds the two together.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import sqlalchemy as sa

from flywheel.errors import BadArtifact
from flywheel.models.embedder import TextEncoder, Vectors
from flywheel.queue.filters import parts
from flywheel.records import Conversation
from flywheel.retrieval.examples import Row, key_of, vectors_of, words_of
from flywheel.retrieval.generation import Held, faiss_id
from flywheel.retrieval.keys import KeyTurns
from flywheel.retrieval.places import place_of
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, in_utc
from flywheel.store.tables import decisions, queue_items, trace_documents
from flywheel.traces.conversations import InputLevers
from flywheel.traces.documents import Document, open_document
from flywheel.traces.steps import steps_of_document
from flywheel.traces.tool_turns import Message

# Splits that examples may come from; what measures is never shown.
SHOWN_SPLITS = ("train", "validation")
# A row of `decisions`.
Said = sa.Row[Any]
_Version = tuple[str, str]
# Ids of transactions under way that are waited for.
MOST_MISSING = 1_000
_DECIDED = sa.select(*decisions.c["decision_id", "trace_id"]).order_by(decisions.c.decision_id)
_DECIDED_SINCE = _DECIDED.where(decisions.c.decision_id > sa.bindparam("newest", type_=sa.Integer))
_NO_VECTORS = np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Tail:
    """Examples newer than an index: rows as the index has them, and vectors of shape (n, dim).

    It speaks of all decisions up to `newest` but the `missing`. `touched` are the traces that it
    answers for, and `left_out` counts why some of them give no example.
    """

    newest: int = 0
    missing: tuple[int, ...] = ()
    touched: frozenset[str] = frozenset()
    rows: tuple[Row, ...] = ()
    vectors: Vectors = field(default_factory=lambda: _NO_VECTORS)
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """Traces that somebody spoke of since; `newest` is the last of these decisions.

    `arrived` were missing before, and `passed` are ids of which there is no decision yet.
    """

    newest: int
    traces: frozenset[str]
    arrived: frozenset[int] = frozenset()
    passed: tuple[int, ...] = ()


def news_since(
    connection: sa.Connection, newest: int, missing: Sequence[int] = (), limit: int | None = None
) -> News:
    """What was decided after the decision `newest`, and what was missing; the first of it.

    In Postgres a transaction may end later than one with a higher number.
    """
    late: Sequence[sa.Row[Any]] = ()
    if missing:
        late = connection.execute(_DECIDED.where(decisions.c.decision_id.in_(missing))).all()
    since = connection.execute(_DECIDED_SINCE.limit(limit), {"newest": newest}).all()
    last = since[-1][0] if since else newest
    passed: tuple[int, ...] = ()
    if last - newest > len(since):
        known = {row[0] for row in since}
        first = max(newest + 1, last - MOST_MISSING)
        passed = tuple(i for i in range(first, last) if i not in known)
    traces = frozenset(row[1] for row in (*late, *since))
    return News(last, traces, frozenset(row[0] for row in late), passed)


def tail_after(held: Held) -> Tail:
    """The tail of an index that speaks of these decisions, before anything is read."""
    return Tail(held.decision_id, held.missing)


def without(tail: Tail, traces: frozenset[str]) -> Tail:
    """The tail for as long as news of these traces are not read: nothing of them is shown."""
    stays = [i for i, row in enumerate(tail.rows) if row["trace_id"] not in traces]
    return replace(
        tail,
        touched=tail.touched | traces,
        rows=tuple(tail.rows[i] for i in stays),
        vectors=tail.vectors[stays] if stays else _NO_VECTORS,
    )


def extend_tail(
    tail: Tail, news: News, stores: Stores, embedder: TextEncoder, levers: InputLevers
) -> Tail:
    """The tail with the news; only the traces that they speak of are read and embedded."""
    made, keys, left_out = _read(stores, sorted(news.traces), levers)
    kept = without(tail, news.traces)
    vectors = [kept.vectors] if kept.rows else []
    if keys:
        vectors.append(vectors_of(embedder, keys, "application"))
    missing = [i for i in tail.missing if i not in news.arrived] + [*news.passed]
    return Tail(
        news.newest,
        tuple(missing[-MOST_MISSING:]),
        kept.touched,
        (*kept.rows, *made),
        np.concatenate(vectors) if vectors else _NO_VECTORS,
        dict(Counter(tail.left_out) + left_out),
    )


def _read(
    stores: Stores, trace_ids: Sequence[str], levers: InputLevers
) -> tuple[list[Row], list[KeyTurns], Counter[str]]:
    words = words_of(levers, "application")
    labels = _labels(stores.ledger, trace_ids)
    current = _current_versions(stores.ledger, trace_ids)
    probabilities = _probabilities(stores.ledger, [trace_id for trace_id, _ in labels])
    rows: list[Row] = []
    keys: list[KeyTurns] = []
    left_out: Counter[str] = Counter()
    for version, label in labels.items():
        trace_id, content_hash = version
        if current.get(trace_id) != content_hash:
            left_out["the trace has changed, or cannot be shown"] += 1
            continue
        try:
            example = _example(stores, label, words)
        except BadArtifact:
            left_out["its document is damaged"] += 1
            continue
        if isinstance(example, str):
            left_out[example] += 1
            continue
        row, key = example
        judged = probabilities.get(version)
        row["disagreement"] = judged is not None and (judged >= 0.5) != row["perceived_error"]
        rows.append(row)
        keys.append(key)
    return rows, keys, left_out


def _example(stores: Stores, label: Row, words: InputLevers) -> tuple[Row, KeyTurns] | str:
    """The row and the key of a label; else why it is no example."""
    document = open_document(stores, label["trace_id"], label["content_hash"])
    header = document.header
    if header.split not in SHOWN_SPLITS:
        return "kept for measuring"
    messages = document.messages(0, header.n_messages)
    said = [Message(m.position, m.role, m.content, m.tool_calls_json) for m in messages]
    conversation = Conversation(
        header.trace_id, header.content_hash, words.turns(said), header.session_id, header.app
    )
    row = label | {
        "session_id": header.session_id,
        "user_id": header.user_id or None,
        "app": header.app,
        "original_tool_calls": _calls_at(document, label["corrected_turn"]),
    }
    key = key_of(row, conversation, "application")
    if isinstance(key, str):
        return key
    place = place_of(row, key[1], steps_of_document(document, messages))
    return row | asdict(place) | {"turn_text": key[0].text, "answer_text": key[1].text}, key


def _calls_at(document: Document, position: int | None) -> str | None:
    if position is None or position >= document.header.n_messages:
        return None
    return document.message(position).tool_calls_json


def _labels(ledger: Ledger, trace_ids: Sequence[str]) -> dict[_Version, Row]:
    """What people's words on these traces amount to, one entry a version; sensitive ones left out.

    As sql/corrections/derive_labels.sql and derive_corrections.sql have it.
    """
    said: defaultdict[str, list[Said]] = defaultdict(list)
    with ledger.read() as connection:
        for some in parts(trace_ids):
            wanted = sa.select(decisions).where(decisions.c.trace_id.in_(some))
            for row in connection.execute(wanted.order_by(decisions.c.decision_id)):
                said[row.trace_id].append(row)
    found: dict[_Version, Row] = {}
    for trace_id, rows in said.items():
        undone = {row.undoes for row in rows if row.kind == "undo"}
        standing = [row for row in rows if row.kind != "undo" and row.decision_id not in undone]
        if any(row.kind == "sensitive" for row in standing):
            continue
        for content_hash in {row.content_hash for row in standing}:
            label = _label([row for row in standing if row.content_hash == content_hash])
            if label is not None:
                found[trace_id, content_hash] = label
    return found


def _label(standing: Iterable[Said]) -> Row | None:
    """The label of one version from the rows that stand, by their ids; None where they tie."""
    votes: dict[str, Said] = {}
    settled: Said | None = None
    for row in standing:
        if row.kind == "decide":
            votes[row.reviewer] = row
        elif row.kind == "adjudicate":
            settled = row
    balance = sum(1 if vote.perceived_error else -1 for vote in votes.values())
    if settled is None and balance == 0:
        return None
    side = balance > 0 if settled is None else bool(settled.perceived_error)
    # Who settled it speaks last.
    spoken = sorted(votes.values(), key=lambda vote: vote.decision_id)
    spoken += [] if settled is None else [settled]
    of_side = [word for word in spoken if bool(word.perceived_error) == side]
    better = [w for w in of_side if w.corrected_turn is not None and _has_better(w)]
    last, correction = of_side[-1], better[-1] if better else None
    correction_id = str(max(word.decision_id for word in spoken))
    return {
        "faiss_id": faiss_id(correction_id),
        "correction_id": correction_id,
        "trace_id": last.trace_id,
        "content_hash": last.content_hash,
        "perceived_error": side,
        "evidence_turn": last.evidence_turn,
        "decided_at": in_utc(spoken[-1].decided_at).replace(tzinfo=None),
        "corrected_text": correction.corrected_text if correction else None,
        "corrected_tool_calls": correction.corrected_tool_calls if correction else None,
        "corrected_turn": correction.corrected_turn if correction else None,
    }


def _has_better(word: Said) -> bool:
    return word.corrected_text is not None or word.corrected_tool_calls is not None


def _current_versions(ledger: Ledger, trace_ids: Sequence[str]) -> dict[str, str]:
    """The version of each trace that was published last, so far as any was."""
    found: dict[str, str] = {}
    columns = trace_documents.c["trace_id", "content_hash"]
    with ledger.read() as connection:
        for some in parts(trace_ids):
            wanted = sa.select(*columns).where(
                trace_documents.c.trace_id.in_(some), trace_documents.c.is_last
            )
            found |= {row[0]: row[1] for row in connection.execute(wanted)}
    return found


def _probabilities(ledger: Ledger, trace_ids: Sequence[str]) -> dict[_Version, float]:
    """What the judge had said of these traces when they were drawn for the queue."""
    found: dict[_Version, float] = {}
    columns = queue_items.c["trace_id", "content_hash", "probability"]
    with ledger.read() as connection:
        for some in parts(trace_ids):
            wanted = sa.select(*columns).where(queue_items.c.trace_id.in_(some))
            rows = connection.execute(wanted.order_by(queue_items.c.item_id))
            found |= {(row[0], row[1]): row[2] for row in rows if row[2] is not None}
    return found
