"""The manifest of a backup: every file with its size and hash, and which version wrote them.

A folder in, "whole" or one sentence out; the one idea is that no byte of a backup is believed: the
files are held against the manifest, and the manifest against the hash beside it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from alembic.script import ScriptDirectory

from flywheel import __version__
from flywheel.errors import BadArtifact, BadInput, Refused
from flywheel.store.artifacts import sha256_of, sync_folder
from flywheel.store.ledger import MIGRATIONS
from flywheel.store.queries import schema_files

MANIFEST, ITS_HASH = "manifest.json", "manifest.sha256"
FORMAT = 1
LEDGER, WAREHOUSE, ARTIFACTS, FILES = "ledger.sqlite", "warehouse.duckdb", "artifacts", "project"
DAGSTER = "dagster/dagster.yaml"
_BLOCK = 1 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its place below the backup's folder, its bytes, and their SHA-256."""

    path: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds; `taken_at` is in ISO form and UTC, `warehouse_schema` 0 without one."""

    format: int
    product: str
    taken_at: str
    ledger_revision: str
    warehouse_schema: int
    files: tuple[Entry, ...]

    @property
    def n_bytes(self) -> int:
        """Of all files together."""
        return sum(entry.n_bytes for entry in self.files)

    def below(self, folder: str) -> Iterator[tuple[Entry, PurePosixPath]]:
        """The files below a folder of the backup, each with its place below that."""
        for entry in self.files:
            place = PurePosixPath(entry.path)
            if place.parts[0] == folder and len(place.parts) > 1:
                yield entry, PurePosixPath(*place.parts[1:])

    def named(self, path: str) -> Entry | None:
        """The file of this place, if the backup has it."""
        return next((entry for entry in self.files if entry.path == path), None)


def write_manifest(
    folder: Path, taken_at: str, revision: str, entries: Iterable[Entry]
) -> Manifest:
    """Close a backup: the manifest and its hash, synced; it is whole from then on."""
    files = tuple(sorted(entries, key=lambda entry: entry.path))
    has_warehouse = any(entry.path == WAREHOUSE for entry in files)
    schema = newest_schema() if has_warehouse else 0
    manifest = Manifest(FORMAT, __version__, taken_at, revision, schema, files)
    content = json.dumps(asdict(manifest), indent=1, ensure_ascii=False).encode() + b"\n"
    written = {MANIFEST: content, ITS_HASH: _hash_line(content)}
    for name, plain in written.items():
        with (folder / name).open("wb") as file:
            file.write(plain)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the backup in `folder`.

    Raises BadInput where there is none, BadArtifact where it is damaged, and Refused where a newer
    version of the product wrote it.
    """
    try:
        content, line = (folder / MANIFEST).read_bytes(), (folder / ITS_HASH).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{folder} is no backup, or one that was not finished: "
            f"it has no {MANIFEST} with its {ITS_HASH}"
        ) from None
    if line != _hash_line(content):
        raise BadArtifact(f"{folder / MANIFEST} is damaged: it does not have the hash beside it")
    manifest = _parsed(content, folder)
    _refuse_newer(manifest)
    return manifest


def _parsed(content: bytes, folder: Path) -> Manifest:
    try:
        values = json.loads(content)
        found = values["format"]
        if found == FORMAT:
            files = tuple(Entry(**entry) for entry in values.pop("files"))
            manifest = Manifest(**values, files=files)
    except (ValueError, TypeError, LookupError) as error:
        raise BadInput(f"{folder / MANIFEST} is no manifest of a backup") from error
    if found != FORMAT:
        raise Refused(f"{folder} is a backup of form {found!r}, and this version knows {FORMAT}")
    for entry in manifest.files:
        place = PurePosixPath(entry.path)
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise BadInput(f"{folder / MANIFEST} names {entry.path!r}, which is outside of it")
    return manifest


def _refuse_newer(manifest: Manifest) -> None:
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    install = f"install flywheel-loop {manifest.product} or newer"
    if manifest.ledger_revision not in known:
        what = f"its ledger is at migration {manifest.ledger_revision}"
    elif manifest.warehouse_schema > newest_schema():
        what = f"its warehouse has schema {manifest.warehouse_schema}"
    else:
        return
    raise Refused(
        f"the backup is newer than this version: {what}, which it does not know; {install}"
    )


def verify(folder: Path, manifest: Manifest, progress: Progress | None = None) -> None:
    """Read every file and hold it against the manifest; raises BadArtifact at the first fault."""
    done = 0
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file() or path.is_symlink():
            raise BadArtifact(f"the backup is not whole: {entry.path} is missing")
        size = path.stat().st_size
        if size < entry.n_bytes:
            raise BadArtifact(
                f"the backup is not whole: {entry.path} was cut off after {size} of "
                f"{entry.n_bytes} bytes"
            )
        if size > entry.n_bytes or sha256_of(path) != entry.sha256:
            raise BadArtifact(f"the backup is damaged: {entry.path} has another content than then")
        done += entry.n_bytes
        if progress is not None:
            progress(done, manifest.n_bytes)


def copy_file(source: Path, target: Path, path: str) -> Entry:
    """Copy a file, synced; its entry under `path` is of the bytes that were written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    seen, n_bytes = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            seen.update(block)
            n_bytes += len(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return Entry(path, n_bytes, seen.hexdigest())


def copy_back(folder: Path, entry: Entry, target: Path) -> None:
    """Copy a file of a backup, and see once more that it is what it was."""
    if copy_file(folder / entry.path, target, entry.path) != entry:
        raise BadArtifact(f"the backup changed while it was read: {entry.path}; restore it again")


def newest_schema() -> int:
    """The warehouse's schema that this version writes."""
    return int(schema_files()[-1].name.split("_")[0])


def _hash_line(content: bytes) -> bytes:
    # As `sha256sum --check` reads it.
    return f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()
