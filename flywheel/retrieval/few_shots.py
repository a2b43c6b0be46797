"""Examples for a conversation: those worth showing, as they were known at that time.

Sampled traces of a day and the published index in, rows of `few_shot_corrections` out. The one idea
is that a day is answered as of its end: an example that was decided later is not there yet, however
often the day is run again.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time

import numpy as np
import pyarrow as pa

from flywheel.models.embedder import Embedder, Vectors
from flywheel.records import Conversation, Hit, PartitionReport
from flywheel.retrieval.generation import CorrectionIndex, utc_microseconds
from flywheel.retrieval.index import read_current
from flywheel.retrieval.keys import key_vectors, query_turns
from flywheel.retrieval.ranking import (
    Candidates,
    Floats,
    Integers,
    Policy,
    rank_examples,
    score_examples,
)
from flywheel.settings import RetrievalSettings
from flywheel.store import Stores
from flywheel.store.snapshots import write_partition
from flywheel.traces.conversations import InputLevers, read_traces

# Nearest neighbours that are ranked, at least, and for each example that is asked for.
MIN_DEPTH = 50
DEPTH_PER_EXAMPLE = 10
# Conversations that are embedded together.
BATCH = 500

_ROWS = pa.schema(
    [
        ("day", pa.date32()),
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("correction_id", pa.string()),
        ("rank", pa.int32()),
        ("similarity", pa.float64()),
        ("age_days", pa.float64()),
        ("score", pa.float64()),
        ("perceived_error", pa.bool_()),
        ("index_version", pa.string()),
    ]
)


def find_examples(
    index: CorrectionIndex,
    key_vectors: Vectors,
    as_of: datetime,
    settings: RetrievalSettings,
    exclude_session: str | None = None,
    exclude_user: str | None = None,
    policy: Policy = "full",
) -> list[Hit]:
    """Examples for one conversation, best first, at most `settings.k`.

    `key_vectors` has one row a reaction; an example's similarity is the largest over them. Examples
    decided after `as_of`, and those of the same session or user, are left out. Ranked are the
    nearest of the index; where too few of those may be shown, the nearest of all that may.
    """
    if not len(index) or not len(key_vectors):
        return []
    excluded = (as_of, exclude_session, exclude_user)
    if policy == "random":
        allowed = np.flatnonzero(index.is_allowed(*excluded))
        drawn = _draw(allowed, key_vectors, settings.k)
        candidates = _candidates(index, drawn, _similarity(index, drawn, key_vectors), as_of)
        return _hits(index, candidates, drawn, range(len(drawn)), settings, policy)
    depth = max(MIN_DEPTH, DEPTH_PER_EXAMPLE * settings.k)
    found, similarity = index.nearest(key_vectors, depth)
    is_allowed = index.is_allowed(*excluded, positions=found)
    found, similarity = found[is_allowed], similarity[is_allowed]
    if len(found) < settings.k:
        allowed = np.flatnonzero(index.is_allowed(*excluded))
        found, similarity = index.nearest(key_vectors, depth, allowed)
    candidates = _candidates(index, found, similarity, as_of)
    ranked = rank_examples(candidates, settings, policy)
    return _hits(index, candidates, found, ranked, settings, policy)


def few_shots_for_day(
    stores: Stores,
    embedder: Embedder,
    settings: RetrievalSettings,
    levers: InputLevers,
    day: date,
) -> PartitionReport:
    """Examples for every sampled, eligible trace of the day, as of the day's end (UTC).

    Nothing is embedded where no example can be found: without an index, with one of another
    embedder, or with examples that were all decided later.
    """
    index = read_current(stores, embedder.threads)
    as_of = datetime.combine(day, time.max, UTC)
    obstacle = _obstacle(index, embedder, as_of)
    with stores.warehouse.open() as connection:
        asked = connection.rows("retrieval/queries_of_day", day=day)
        users = {str(trace_id): user for trace_id, _, user in asked}
        words = levers.of_words
        conversations = [] if obstacle else read_traces(connection, users, words)
    skipped: Counter[str] = Counter()
    rows: list[dict[str, object]] = []
    done = 0
    if index is None or obstacle:
        skipped[obstacle] += len(asked)
    else:
        for conversation, keys in _embedded(embedder, conversations):
            user = users[conversation.trace_id]
            exclude_user = None if user is None else str(user)
            hits = find_examples(
                index, keys, as_of, settings, conversation.session_id, exclude_user
            )
            done += bool(hits)
            skipped["no similar example of another session"] += not hits
            rows += _rows(day, conversation, hits, index.version)
    write_partition(
        stores,
        {"few_shot_corrections": ({"day": day}, pa.Table.from_pylist(rows, schema=_ROWS))},
    )
    return PartitionReport(day, len(asked), done, dict(+skipped), {})


def _obstacle(index: CorrectionIndex | None, embedder: Embedder, as_of: datetime) -> str:
    """Why no example can be found for any trace of the day; empty where one may be."""
    if index is None or not len(index):
        return "no examples yet"
    if index.manifest.embedder != embedder.version:
        return "index made by another embedder"
    if index.decided_at.min() > utc_microseconds(as_of):
        return "no example decided before that day"
    return ""


def _embedded(
    embedder: Embedder, conversations: list[Conversation]
) -> Iterable[tuple[Conversation, Vectors]]:
    for start in range(0, len(conversations), BATCH):
        batch = conversations[start : start + BATCH]
        turns = [query_turns(conversation) for conversation in batch]
        vectors = key_vectors(embedder, [key for keys in turns for key in keys])
        ends = np.cumsum([len(keys) for keys in turns])
        yield from zip(batch, np.split(vectors, ends[:-1]), strict=True)


def _candidates(
    index: CorrectionIndex, positions: Integers, similarity: Floats, as_of: datetime
) -> Candidates:
    age = (utc_microseconds(as_of) - index.decided_at[positions]) / np.timedelta64(1, "D")
    return Candidates(
        ids=index.ids[positions],
        similarity=np.clip(similarity, -1.0, 1.0),
        age_days=np.maximum(age, 0.0),
        disagreement=index.disagreement[positions],
        perceived_error=index.perceived_error[positions],
        vectors=index.vectors_at(positions),
        # A judge is shown examples for a whole conversation.
        closeness=np.zeros(len(positions)),
    )


def _similarity(index: CorrectionIndex, positions: Integers, keys: Vectors) -> Floats:
    if not len(positions):
        return np.empty(0)
    products = np.einsum("nd,md->nm", index.vectors_at(positions), keys)
    return np.asarray(products.max(axis=1), np.float64)


def _draw(positions: Integers, keys: Vectors, k: int) -> Integers:
    """At most k of the positions, at random; the same for the same query."""
    seed = np.frombuffer(keys.tobytes()[:32], np.uint32)
    return np.random.default_rng(seed).permutation(positions)[:k]


def _hits(
    index: CorrectionIndex,
    candidates: Candidates,
    positions: Integers,
    ranked: Iterable[int],
    settings: RetrievalSettings,
    policy: Policy,
) -> list[Hit]:
    scores = score_examples(candidates, settings, policy)
    return [
        Hit(
            correction_id=index.correction_id[positions[i]],
            trace_id=index.trace_id[positions[i]],
            similarity=float(candidates.similarity[i]),
            age_days=float(candidates.age_days[i]),
            score=float(scores[i]),
            perceived_error=bool(candidates.perceived_error[i]),
        )
        for i in ranked
    ]


def _rows(
    day: date, conversation: Conversation, hits: list[Hit], version: str
) -> list[dict[str, object]]:
    return [
        {
            "day": day,
            "trace_id": conversation.trace_id,
            "content_hash": conversation.content_hash,
            "correction_id": hit.correction_id,
            "rank": rank,
            "similarity": hit.similarity,
            "age_days": hit.age_days,
            "score": hit.score,
            "perceived_error": hit.perceived_error,
            "index_version": version,
        }
        for rank, hit in enumerate(hits, 1)
    ]
