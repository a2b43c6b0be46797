"""Generations of the correction indexes: published whole, replaced at once, read by many.

Key vectors and rows in, a folder `<kind>/<version>` of the artifacts out, and the pointer
`<kind>/current` that names it; judges and applications have an index each, in a kind of its own.
The one idea is that a generation never changes: an update takes a copy in memory, changes that, and
publishes it under a name that says what is in it. Only up to which decision it speaks is noted anew
in its manifest where a later one changes nothing.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import BadArtifact
from flywheel.retrieval.generation import ROWS, CorrectionIndex, Held, Manifest
from flywheel.retrieval.vectors import VectorIndex, read_vectors
from flywheel.store import Stores
from flywheel.store.artifacts import sha256_of, sync_folder

# Whom examples are for. A judge is shown reactions like the one it judges, with the answers that
# they speak of; an application is shown requests like the one that it answers.
Purpose = Literal["judge", "application"]
KINDS: dict[Purpose, str] = {"judge": "index", "application": "application_index"}
POINTER = "current"
MANIFEST = "manifest.json"
# Generations kept: the current one and those that a reader or a repair may still need.
KEPT = 3


def publish(
    stores: Stores,
    manifest: Manifest,
    index: VectorIndex,
    rows: pa.Table,
    purpose: Purpose = "judge",
) -> Manifest:
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
    kind = KINDS[purpose]
    if not _is_whole(stores, manifest.version, purpose):
        stores.artifacts.remove(kind, manifest.version)
        with stores.artifacts.new_folder(kind, manifest.version) as folder:
            (folder / "rows.parquet").write_bytes(content)
            index.write(folder / "index.faiss")
            hashes["index.faiss"] = sha256_of(folder / "index.faiss")
            manifest = replace(manifest, sha256=hashes)
            (folder / MANIFEST).write_text(_as_json(manifest), encoding="utf-8")
    # A generation that was there already may not have spoken of as much.
    note_held(stores, manifest.version, manifest.held, purpose)
    point_to(stores, manifest.version, purpose)
    _prune(stores, manifest.version, purpose)
    return read_manifest(stores, manifest.version, purpose)


def note_held(stores: Stores, version: str, held: Held, purpose: Purpose = "judge") -> None:
    """Note up to which decision a generation speaks; nothing is written where that is known."""
    manifest = read_manifest(stores, version, purpose)
    if manifest.held != held:
        _replace(folder_of(stores, purpose) / version / MANIFEST, _as_json(manifest, held))


def point_to(stores: Stores, version: str, purpose: Purpose = "judge") -> None:
    """Make `version` the current generation: readers see the old one or the new one, whole."""
    _replace(folder_of(stores, purpose) / POINTER, version)


def folder_of(stores: Stores, purpose: Purpose) -> Path:
    """Where the generations for judges or for applications stand."""
    return stores.artifacts.root / KINDS[purpose]


def current_version(stores: Stores, purpose: Purpose = "judge") -> str | None:
    """The name of the current generation; None where nothing has been published."""
    pointer = folder_of(stores, purpose) / POINTER
    return pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None


def read_current(
    stores: Stores, threads: int = 1, purpose: Purpose = "judge"
) -> CorrectionIndex | None:
    """The current generation, verified; the one before where it is damaged; None without any.

    Raises BadArtifact, naming the file, where no generation is whole.
    """
    version = current_version(stores, purpose)
    first: BadArtifact | None = None
    for name in _generations(stores, version, purpose) if version is not None else ():
        try:
            index = read_generation(stores, name, threads, purpose)
        except BadArtifact as error:
            first = first or error
            continue
        index.damaged = str(first) if first else None
        return index
    if first is None:
        return None
    folder = folder_of(stores, purpose)
    raise BadArtifact(f"{first}; remove {folder} and update the index, it is made from the labels")


def read_generation(
    stores: Stores, version: str, threads: int = 1, purpose: Purpose = "judge"
) -> CorrectionIndex:
    """One generation by its name.

    Raises BadArtifact where a file is missing or not what the manifest says.
    """
    folder = folder_of(stores, purpose) / version
    manifest = read_manifest(stores, version, purpose)
    for name in ("rows.parquet", "index.faiss"):
        path = folder / name
        if not path.exists() or sha256_of(path) != manifest.sha256.get(name):
            raise BadArtifact(f"{path} is damaged: its content is not what the manifest says")
    vectors = read_vectors(
        folder / "index.faiss", manifest.kind, manifest.nlist, manifest.nprobe, threads
    )
    return CorrectionIndex(manifest, vectors, pq.read_table(folder / "rows.parquet", schema=ROWS))


@contextmanager
def only_writer(stores: Stores, purpose: Purpose = "judge") -> Iterator[None]:
    """One update at a time: the second waits, and then finds what the first has done."""
    folder = folder_of(stores, purpose)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _name(manifest: Manifest, hashes: dict[str, str]) -> str:
    what = [manifest.embedder, manifest.levers, manifest.kind, manifest.nlist, hashes]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def read_manifest(stores: Stores, version: str, purpose: Purpose = "judge") -> Manifest:
    """What a generation says of itself; raises BadArtifact where that cannot be read."""
    path = folder_of(stores, purpose) / version / MANIFEST
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        held = said.pop("held", {"decision_id": 0, "missing": []})
        manifest = Manifest(**said, held=Held(int(held["decision_id"]), tuple(held["missing"])))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadArtifact(f"{path} cannot be read: {error}") from error
    if manifest.version != version:
        raise BadArtifact(f"{path} is the manifest of {manifest.version}, not of {version}")
    return manifest


def _as_json(manifest: Manifest, held: Held | None = None) -> str:
    said = asdict(manifest) | ({} if held is None else {"held": asdict(held)})
    return json.dumps(said, indent=1, sort_keys=True)


def _replace(path: Path, text: str) -> None:
    """Write a small file such that readers see the old one or the new one, whole."""
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
    sync_folder(path.parent)


def _is_whole(stores: Stores, version: str, purpose: Purpose) -> bool:
    try:
        read_generation(stores, version, purpose=purpose)
    except BadArtifact:
        return False
    return True


def _prune(stores: Stores, version: str, purpose: Purpose) -> None:
    for name in _generations(stores, version, purpose)[KEPT:]:
        stores.artifacts.remove(KINDS[purpose], name)


def _generations(stores: Stores, version: str, purpose: Purpose) -> list[str]:
    """This generation and then every other that is on disk, the newest first."""
    others = [
        (folder.stat().st_mtime_ns, folder.name)
        for folder in folder_of(stores, purpose).iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and folder.name != version
    ]
    return [version, *(name for _, name in sorted(others, reverse=True))]
