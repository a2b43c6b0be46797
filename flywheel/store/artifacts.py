"""Files that are named by their content: raw imports, adapters, index generations, snapshots.

Bytes in, a name out; the one idea is that a file is whole or absent. It is written under a
temporary name, synced and renamed, and its name is its SHA-256, so that a reader can tell it is
what was meant.
"""

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import zstandard

from flywheel.errors import BadArtifact, NotFound

_BLOCK = 1 << 20
# What is being written; who is killed leaves it. No writer is silent for a day.
_NEW, _LEFT_S = ".new-", 86_400


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Artifacts:
    """A folder of content-addressed files and folders, one subfolder a kind."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, kind: str, name: str) -> Path:
        """Where the artifact stands; raises NotFound where it does not."""
        path = self.root / kind / name
        if not path.exists():
            raise NotFound(f"{kind} artifact", name)
        return path

    def whole(self, kind: str, name: str) -> Path:
        """Where a file stands that is named by its bytes, which have been looked at.

        Raises NotFound, and BadArtifact where they do not have the hash in its name.
        """
        path = self.path(kind, name)
        if sha256_of(path) != path.stem:
            raise BadArtifact(_damaged(path))
        return path

    def put_compressed(self, kind: str, source: Path) -> str:
        """Store a copy of `source`, compressed, under the hash of its plain bytes; its name.

        It is read once, so that the name is right even where somebody still writes to `source`.
        """
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        plain_hash = hashlib.sha256()
        with tempfile.TemporaryDirectory(prefix=_NEW, dir=folder) as scratch:
            path = Path(scratch) / "content.zst"
            with (
                source.open("rb") as plain,
                path.open("wb") as packed,
                zstandard.ZstdCompressor(level=3).stream_writer(packed, closefd=False) as writer,
            ):
                while block := plain.read(_BLOCK):
                    plain_hash.update(block)
                    writer.write(block)
            # Also where it stands already: that one may be damaged.
            name = f"{plain_hash.hexdigest()}.zst"
            _publish(path, folder / name)
        return name

    @contextmanager
    def plain(self, kind: str, name: str) -> Iterator[Path]:
        """A compressed artifact as a plain file, for as long as the block runs.

        Raises BadArtifact where its bytes do not have the hash in its name.
        """
        packed = self.path(kind, name)
        with tempfile.TemporaryDirectory(prefix="flywheel-") as scratch:
            path = Path(scratch) / packed.stem
            try:
                with packed.open("rb") as source, path.open("wb") as target:
                    zstandard.ZstdDecompressor().copy_stream(source, target)
                is_whole = sha256_of(path) == packed.stem
            except zstandard.ZstdError:
                is_whole = False
            if not is_whole:
                raise BadArtifact(_damaged(packed))
            yield path

    @contextmanager
    def new_file(self, kind: str, suffix: str) -> Iterator["NewFile"]:
        """Write a file of yet unknown content; `.name` is set when the block ends well."""
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_NEW, dir=folder) as scratch:
            new = NewFile(Path(scratch) / f"content{suffix}")
            yield new
            new.name = f"{sha256_of(new.path)}{suffix}"
            _publish(new.path, folder / new.name)

    @contextmanager
    def new_folder(self, kind: str, name: str) -> Iterator[Path]:
        """Write a folder that appears under `name`, whole, when the block ends well.

        `name` must itself say what the content is (a version); an existing one is kept.
        """
        parent = self.root / kind
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_NEW, dir=parent) as scratch:
            folder = Path(scratch) / "content"
            folder.mkdir()
            yield folder
            for path in folder.rglob("*"):
                if path.is_file():
                    _sync_file(path)
            if not (parent / name).exists():
                os.rename(folder, parent / name)
                sync_folder(parent)

    def leftovers(self, at: datetime) -> list[Path]:
        """What writers that were killed have left, which nobody has written to for a day."""
        long_ago = at.timestamp() - _LEFT_S
        return sorted(path for path in self.root.glob(f"*/{_NEW}*") if _touched(path) < long_ago)

    def sweep(self, at: datetime) -> None:
        """Remove what writers that were killed have left."""
        for path in self.leftovers(at):
            shutil.rmtree(path, ignore_errors=True)

    def remove(self, kind: str, name: str) -> None:
        """Remove an artifact; nothing happens where there is none."""
        path = self.root / kind / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class NewFile:
    """A file being written: `path` to write to, `name` once it is stored."""

    def __init__(self, path: Path):
        self.path = path
        self.name = ""


def _damaged(path: Path) -> str:
    return (
        f"{path} is damaged: its content has another hash than its name; put it back from a backup"
    )


def _touched(folder: Path) -> float:
    """When anything in it was last written; now, where it goes while it is looked at."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return math.inf


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _publish(path: Path, target: Path) -> None:
    _sync_file(path)
    os.replace(path, target)
    sync_folder(target.parent)
