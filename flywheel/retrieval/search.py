"""The examples that are like a request: of the published index, and of what was decided since.

A query's vector in, rows with their numbers out. The one idea is that both halves give candidates
of one kind, and that these are ranked together by the formula of `ranking`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from flywheel.models.embedder import Vectors
from flywheel.retrieval.examples import Row
from flywheel.retrieval.generation import CorrectionIndex, Objects, utc_microseconds
from flywheel.retrieval.places import NOWHERE, Place, closeness
from flywheel.retrieval.ranking import (
    Bools,
    Candidates,
    Floats,
    Integers,
    rank_examples,
    score_examples,
)
from flywheel.retrieval.tail import Tail
from flywheel.retrieval.vectors import FLAT_UP_TO, VectorIndex, build_vectors
from flywheel.settings import RetrievalSettings

# A better answer beside the one that it replaces; an answer that was fine; one that was not.
ExampleKind = Literal["correction", "good", "bad"]
EXAMPLE_KINDS: tuple[ExampleKind, ...] = get_args(ExampleKind)
# Nearest neighbours that are looked at first; each further time it is so many times as many.
FIRST_DEPTH = 64
DEEPER = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked for, and what may not be shown: `hidden` are corrections switched off.

    Examples near `place` come first; none is left out for being elsewhere.
    """

    app: str
    vector: Vectors
    k: int
    kinds: frozenset[ExampleKind] = frozenset(EXAMPLE_KINDS)
    session_id: str | None = None
    user_id: str | None = None
    trace_id: str | None = None
    hidden: frozenset[str] = frozenset()
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Found:
    """An example with its numbers; similarity is a cosine in [-1, 1], age in days."""

    row: Row
    similarity: float
    age_days: float
    score: float


def kind_of(row: Row) -> ExampleKind:
    """What an example shows: a correction shows two answers, the others one."""
    if row["corrected_text"] is not None or row["corrected_tool_calls"] is not None:
        return "correction"
    return "bad" if row["perceived_error"] else "good"


class Published:
    """A generation of the applications' index, searched one application at a time."""

    def __init__(self, index: CorrectionIndex, threads: int):
        self.index = index
        self._threads = threads
        self._rows = index.rows.combine_chunks()
        apps = self._rows["app"].to_numpy()
        self._apps, self._app_of = np.unique(np.asarray(apps, object), return_inverse=True)
        has_better = [
            self._rows[name].is_valid().to_numpy()
            for name in ("corrected_text", "corrected_tool_calls")
        ]
        plain = np.where(index.perceived_error, "bad", "good")
        self._kind = np.where(has_better[0] | has_better[1], "correction", plain)
        self._node_at, self._parent_at = (_words(self._rows[name]) for name in ("node", "parent"))
        # An application's own vectors, where they are few among others.
        self._parts: dict[str, VectorIndex | None] = {}

    def nearest(
        self, wish: Wish, answered: frozenset[str], floor: float
    ) -> tuple[Integers, Floats]:
        """Positions of the nearest rows that may be shown, and their similarities from `floor` on.

        `answered` are traces that the tail answers for. At least `wish.k` where there are so many.
        """
        place = int(np.searchsorted(self._apps, wish.app))
        if place == len(self._apps) or self._apps[place] != wish.app:
            return np.empty(0, np.int64), np.empty(0)
        vectors = self._vectors_of(wish.app, place)
        depth = min(max(FIRST_DEPTH, 8 * wish.k), len(vectors))
        while True:
            found, similarity = vectors.nearest(wish.vector, depth)
            positions = np.searchsorted(self.index.ids, found)
            is_near = similarity >= floor
            shown = is_near & self._may_be_shown(positions, wish, answered, place)
            is_all = len(found) < depth or depth == len(vectors) or not is_near.all()
            if shown.sum() >= wish.k or is_all:
                return positions[shown], similarity[shown]
            depth = min(DEEPER * depth, len(vectors))

    def closeness(self, wish: Wish, positions: Integers) -> Floats:
        """How near these rows are to the node that asks; 0 where none does."""
        if wish.place == NOWHERE:
            return np.zeros(len(positions))
        (nodes, node_of), (parents, parent_of) = self._node_at, self._parent_at
        return closeness(
            wish.place, nodes[node_of[positions]].tolist(), parents[parent_of[positions]].tolist()
        )

    def row(self, position: int) -> Row:
        """All that is known of an example."""
        row: Row = self._rows.slice(position, 1).to_pylist()[0]
        return row

    def _vectors_of(self, app: str, place: int) -> VectorIndex:
        if app not in self._parts:
            (positions,) = np.nonzero(self._app_of == place)
            is_part = len(positions) < len(self.index) and len(positions) <= FLAT_UP_TO
            self._parts[app] = (
                build_vectors(
                    self.index.ids[positions],
                    self.index.vectors_at(positions),
                    FLAT_UP_TO,
                    self._threads,
                )
                if is_part
                else None
            )
        return self._parts[app] or self.index.vectors

    def _may_be_shown(
        self, positions: Integers, wish: Wish, answered: frozenset[str], place: int
    ) -> Bools:
        index = self.index
        shown = self._app_of[positions] == place
        if len(wish.kinds) < len(EXAMPLE_KINDS):
            shown &= np.isin(self._kind[positions], list(wish.kinds))
        if wish.session_id:
            shown &= index.session_id[positions] != wish.session_id
        if wish.user_id:
            shown &= index.user_id[positions] != wish.user_id
        left_out = answered | {wish.trace_id} if wish.trace_id else answered
        if left_out:
            shown &= [trace_id not in left_out for trace_id in index.trace_id[positions]]
        if wish.hidden:
            shown &= [number not in wish.hidden for number in index.correction_id[positions]]
        return np.asarray(shown, bool)


def find_alike(
    published: Published | None, tail: Tail, wish: Wish, settings: RetrievalSettings, now: datetime
) -> list[Found]:
    """Examples for one request, best first, at most `wish.k`; none under `min_similarity`."""
    floor = max(settings.min_similarity, np.nextafter(0.0, 1.0))
    if published is None:
        positions, similarity = np.empty(0, np.int64), np.empty(0)
    else:
        positions, similarity = published.nearest(wish, tail.touched, floor)
    recent, recent_similarity = _of_tail(tail, wish, floor)
    candidates = _together(
        [
            *([_published(published, positions, similarity, wish, now)] if published else []),
            *([_recent(tail, recent, recent_similarity, wish, now)] if recent else []),
        ]
    )
    if candidates is None:
        return []
    how = settings.model_copy(update={"k": wish.k})
    scores = score_examples(candidates, how)
    n_published = len(positions)

    def row_at(i: int) -> Row:
        if published is not None and i < n_published:
            return published.row(int(positions[i]))
        return tail.rows[recent[i - n_published]]

    return [
        Found(
            row_at(i),
            float(candidates.similarity[i]),
            float(candidates.age_days[i]),
            float(scores[i]),
        )
        for i in rank_examples(candidates, how)
    ]


def _words(column: pa.ChunkedArray) -> tuple[Objects, Integers]:
    """The different words of a column, and of each row which of them it has."""
    coded = column.combine_chunks().fill_null("").dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), object)
    return names, coded.indices.to_numpy().astype(np.int64)


def _of_tail(tail: Tail, wish: Wish, floor: float) -> tuple[list[int], Floats]:
    if not tail.rows:
        return [], np.empty(0)
    similarity = np.einsum("nd,d->n", tail.vectors, wish.vector[0]).astype(np.float64)
    near = [
        int(i) for i in np.nonzero(similarity >= floor)[0] if _is_shown(tail.rows[int(i)], wish)
    ]
    return near, similarity[near]


def _is_shown(row: Row, wish: Wish) -> bool:
    return (
        row["app"] == wish.app
        and kind_of(row) in wish.kinds
        and not (wish.session_id and row["session_id"] == wish.session_id)
        and not (wish.user_id and row["user_id"] == wish.user_id)
        and row["trace_id"] != wish.trace_id
        and row["correction_id"] not in wish.hidden
    )


def _published(
    published: Published, positions: Integers, similarity: Floats, wish: Wish, now: datetime
) -> Candidates:
    index = published.index
    return Candidates(
        ids=index.ids[positions],
        similarity=np.clip(similarity, -1.0, 1.0),
        age_days=_age_days(index.decided_at[positions], now),
        disagreement=index.disagreement[positions],
        perceived_error=index.perceived_error[positions],
        vectors=index.vectors_at(positions) if len(positions) else np.empty((0, 0), np.float32),
        closeness=published.closeness(wish, positions),
    )


def _recent(
    tail: Tail, places: Sequence[int], similarity: Floats, wish: Wish, now: datetime
) -> Candidates:
    rows = [tail.rows[i] for i in places]
    return Candidates(
        ids=np.array([row["faiss_id"] for row in rows], np.int64),
        similarity=np.clip(similarity, -1.0, 1.0),
        age_days=_age_days(np.array([row["decided_at"] for row in rows], "datetime64[us]"), now),
        disagreement=np.array([row["disagreement"] for row in rows], bool),
        perceived_error=np.array([row["perceived_error"] for row in rows], bool),
        vectors=tail.vectors[list(places)],
        closeness=closeness(
            wish.place, [row["node"] for row in rows], [row["parent"] for row in rows]
        ),
    )


def _age_days(
    decided_at: "np.ndarray[tuple[int], np.dtype[np.datetime64]]", now: datetime
) -> Floats:
    age = (utc_microseconds(now) - decided_at) / np.timedelta64(1, "D")
    return np.asarray(np.maximum(age, 0.0), np.float64)


def _together(parts: Iterable[Candidates]) -> Candidates | None:
    held = [part for part in parts if len(part.ids)]
    if not held:
        return None
    return Candidates(
        *(
            np.concatenate([getattr(part, name) for part in held])
            for name in Candidates.__dataclass_fields__
        )
    )
