"""Generations of the correction index: published whole, replaced at once, read by many.

Key vectors and rows in, a folder `index/<version>` of the artifacts out, and the pointer
`index/current` that names it. The one idea is that a generation never changes: an update takes a
copy in memory, changes that, and publishes it under a name that says what is in it.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import BadArtifact
from flywheel.models.embedder import Vectors
from flywheel.retrieval.ranking import Bools, Floats, Integers
from flywheel.retrieval.vectors import Kind, VectorIndex, read_vectors
from flywheel.store import Stores
from flywheel.store.artifacts import sha256_of, sync_folder

Objects = np.ndarray[Any, np.dtype[np.object_]]

KIND = "index"
POINTER = "current"
# Generations kept: the current one and those that a reader or a repair may still need.
KEPT = 3

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
        # Null in generations that were written before there were any.
        ("corrected_tool_calls", pa.string()),
        # Whether the judge's verdict differed from the label when the example was first indexed: a
        # judge that was trained on it later agrees by rote, and that says nothing.
        ("disagreement", pa.bool_()),
        ("turn_text", pa.string()),
        ("answer_text", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation is; `levers` is the hash of what was cut from the texts.

    `parent` is the generation that it was made from; `sha256` is by file name.
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


def publish(stores: Stores, manifest: Manifest, index: VectorIndex, rows: pa.Table) -> Manifest:
    """Write a generation, point to it, and drop those that nobody needs; its manifest, named.

    Raises BadArtifact where rows and vectors are not the same examples.
    """
    steps = np.diff(rows["faiss_id"].to_numpy())
    if not (steps > 0).all() or len(index) != len(rows):
        raise BadArtifact(
            f"the index would hold {len(index)} vectors for {len(rows)} rows, of which "
            f"{(steps == 0).sum()} repeat a correction; nothing was published"
        )
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    content = sink.getvalue()
    hashes = {"rows.parquet": hashlib.sha256(content).hexdigest()}
    manifest = replace(manifest, version=_name(manifest, hashes))
    if not _is_whole(stores, manifest.version):
        stores.artifacts.remove(KIND, manifest.version)
        with stores.artifacts.new_folder(KIND, manifest.version) as folder:
            (folder / "rows.parquet").write_bytes(content)
            index.write(folder / "index.faiss")
            hashes["index.faiss"] = sha256_of(folder / "index.faiss")
            manifest = replace(manifest, sha256=hashes)
            (folder / "manifest.json").write_text(
                json.dumps(asdict(manifest), indent=1, sort_keys=True), encoding="utf-8"
            )
    point_to(stores, manifest.version)
    _prune(stores, manifest.version)
    return _read_manifest(stores.artifacts.root / KIND / manifest.version)


def point_to(stores: Stores, version: str) -> None:
    """Make `version` the current generation: readers see the old one or the new one, whole."""
    folder = stores.artifacts.root / KIND
    scratch = folder / f".{POINTER}-{os.getpid()}"
    with scratch.open("w", encoding="utf-8") as file:
        file.write(version)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, folder / POINTER)
    sync_folder(folder)


def current_version(stores: Stores) -> str | None:
    """The name of the current generation; None where nothing has been published."""
    pointer = stores.artifacts.root / KIND / POINTER
    return pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None


def read_current(stores: Stores, threads: int = 1) -> CorrectionIndex | None:
    """The current generation, verified; the one before where it is damaged; None without any.

    Raises BadArtifact, naming the file, where no generation is whole.
    """
    version = current_version(stores)
    first: BadArtifact | None = None
    for name in _generations(stores, version) if version is not None else ():
        try:
            index = read_generation(stores, name, threads)
        except BadArtifact as error:
            first = first or error
            continue
        index.damaged = str(first) if first else None
        return index
    if first is None:
        return None
    folder = stores.artifacts.root / KIND
    raise BadArtifact(f"{first}; remove {folder} and update the index, it is made from the labels")


def read_generation(stores: Stores, version: str, threads: int = 1) -> CorrectionIndex:
    """One generation by its name.

    Raises BadArtifact where a file is missing or not what the manifest says.
    """
    folder = stores.artifacts.root / KIND / version
    manifest = _read_manifest(folder)
    for name in ("rows.parquet", "index.faiss"):
        path = folder / name
        if not path.exists() or sha256_of(path) != manifest.sha256.get(name):
            raise BadArtifact(f"{path} is damaged: its content is not what the manifest says")
    vectors = read_vectors(
        folder / "index.faiss", manifest.kind, manifest.nlist, manifest.nprobe, threads
    )
    return CorrectionIndex(manifest, vectors, pq.read_table(folder / "rows.parquet", schema=ROWS))


@contextmanager
def only_writer(stores: Stores) -> Iterator[None]:
    """One update at a time: the second waits, and then finds what the first has done."""
    folder = stores.artifacts.root / KIND
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _objects(rows: pa.Table, column: str) -> Objects:
    return np.asarray(rows[column].to_numpy(), object)


def _name(manifest: Manifest, hashes: dict[str, str]) -> str:
    what = [manifest.embedder, manifest.levers, manifest.kind, manifest.nlist, hashes]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _read_manifest(folder: Path) -> Manifest:
    path = folder / "manifest.json"
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadArtifact(f"{path} cannot be read: {error}") from error
    if manifest.version != folder.name:
        raise BadArtifact(f"{path} is the manifest of {manifest.version}, not of {folder.name}")
    return manifest


def _is_whole(stores: Stores, version: str) -> bool:
    try:
        read_generation(stores, version)
    except BadArtifact:
        return False
    return True


def _prune(stores: Stores, version: str) -> None:
    for name in _generations(stores, version)[KEPT:]:
        stores.artifacts.remove(KIND, name)


def _generations(stores: Stores, version: str) -> list[str]:
    """This generation and then every other that is on disk, the newest first."""
    others = [
        (folder.stat().st_mtime_ns, folder.name)
        for folder in (stores.artifacts.root / KIND).iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and folder.name != version
    ]
    return [version, *(name for _, name in sorted(others, reverse=True))]
