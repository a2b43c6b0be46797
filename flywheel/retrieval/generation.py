"""One generation of an index in memory: who may be shown what, and what is nearest to a query.

The vectors and rows of a generation in, positions of rows out; the one idea is that rows stand in
the order of their numbers in FAISS, so that both speak of the same example.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from flywheel.models.embedder import Vectors
from flywheel.retrieval.ranking import Bools, Floats, Integers
from flywheel.retrieval.vectors import Kind, VectorIndex

Objects = np.ndarray[Any, np.dtype[np.object_]]

# One row an example; `faiss_id` is a hash of `correction_id`, and rows stand in its order.
ROWS = pa.schema(
    [
        ("faiss_id", pa.int64()),
        ("correction_id", pa.string()),
        ("trace_id", pa.string()),
        ("content_hash", pa.string()),
        ("session_id", pa.string()),
        ("user_id", pa.string()),
        ("app", pa.string()),
        ("perceived_error", pa.bool_()),
        ("evidence_turn", pa.int32()),
        ("decided_at", pa.timestamp("us")),
        ("corrected_text", pa.string()),
        # These are null in generations that were written before there were any.
        ("corrected_tool_calls", pa.string()),
        ("corrected_turn", pa.int32()),
        ("original_tool_calls", pa.string()),
        # The step that it speaks of and the one that called it, as `kind:name`, empty where that is
        # not known; null in an index for judges, who judge whole conversations, as well.
        ("node", pa.string()),
        ("parent", pa.string()),
        # Whether the judge's verdict differed from the label when the example was first indexed: a
        # judge that was trained on it later agrees by rote, and that says nothing.
        ("disagreement", pa.bool_()),
        # What the user said: the reaction for a judge, the request for an application; and the
        # answer that it is about.
        ("turn_text", pa.string()),
        ("answer_text", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Held:
    """Which decisions of the ledger a generation speaks of: all up to `decision_id` but `missing`.

    Missing are ids of transactions that were under way when the labels were made, or were rolled
    back; they are looked for among the last ones before `decision_id`.
    """

    decision_id: int = 0
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation is; `levers` is the hash of what was cut from the texts.

    `parent` is the generation that it was made from; `sha256` is by file name. `held` is no part of
    its name.
    """

    embedder: str
    levers: str
    kind: Kind
    nlist: int
    nprobe: int
    n: int
    parent: str | None
    sha256: dict[str, str]
    version: str = ""
    held: Held = Held()


class CorrectionIndex:
    """One generation in memory: vectors in FAISS, and what is known of each of them in `rows`.

    `damaged` says what was wrong with a newer generation, where this one had to stand in for it.
    """

    def __init__(self, manifest: Manifest, vectors: VectorIndex, rows: pa.Table):
        self.manifest = manifest
        self.vectors = vectors
        self.rows = rows
        self.damaged: str | None = None
        self.ids: Integers = rows["faiss_id"].to_numpy()
        self.decided_at = rows["decided_at"].to_numpy()
        self.disagreement: Bools = rows["disagreement"].to_numpy()
        self.perceived_error: Bools = rows["perceived_error"].to_numpy()

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def correction_id(self) -> Objects:
        """Of each row, as the next three."""
        return _objects(self.rows, "correction_id")

    @cached_property
    def trace_id(self) -> Objects:
        """The trace that was decided on."""
        return _objects(self.rows, "trace_id")

    @cached_property
    def session_id(self) -> Objects:
        """Its session."""
        return _objects(self.rows, "session_id")

    @cached_property
    def user_id(self) -> Objects:
        """Its user; None where unknown."""
        return _objects(self.rows, "user_id")

    @property
    def version(self) -> str:
        """The generation's name."""
        return self.manifest.version

    def nearest(
        self, queries: Vectors, depth: int, positions: Integers | None = None
    ) -> tuple[Integers, Floats]:
        """The `depth` rows nearest to any query, and their similarities, the most similar first.

        With `positions`, the nearest among those rows, by exact search.
        """
        if not len(self) or (positions is not None and not len(positions)):
            return np.empty(0, np.int64), np.empty(0)
        among = None if positions is None else self.ids[positions]
        found, similarity = self.vectors.nearest(queries, min(depth, len(self)), among)
        return np.searchsorted(self.ids, found), similarity

    def vectors_at(self, positions: Integers) -> Vectors:
        """The key vectors of these rows, float32 of shape (n_positions, dim)."""
        return self.vectors.take(self.ids[positions])

    def is_allowed(
        self,
        as_of: datetime,
        exclude_session: str | None,
        exclude_user: str | None,
        positions: Integers | slice = slice(None),
    ) -> Bools:
        """Which rows were decided by then, of another session and another user."""
        allowed = self.decided_at[positions] <= utc_microseconds(as_of)
        if exclude_session:
            allowed = allowed & (self.session_id[positions] != exclude_session)
        if exclude_user:
            allowed = allowed & (self.user_id[positions] != exclude_user)
        return np.asarray(allowed, bool)


def utc_microseconds(moment: datetime) -> np.datetime64:
    """A moment as the rows have it: in UTC, without a zone; a naive one is UTC already."""
    plain = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return np.datetime64(plain, "us")


def faiss_id(correction_id: str) -> int:
    """The number that FAISS knows a correction by: 63 bits of a hash."""
    digest = hashlib.blake2b(correction_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _objects(rows: pa.Table, column: str) -> Objects:
    return np.asarray(rows[column].to_numpy(), object)
