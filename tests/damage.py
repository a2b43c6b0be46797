"""Damage to what is stored: a full disk, and the last bytes of a file changed or cut off."""

import os
import random
import resource
import subprocess
from collections.abc import Iterable
from pathlib import Path

# What a project of some dozens of days takes, and its rebuild.
DISK_MB = 400
# Files by their kind, under the data folder.
FILES = {
    "raw archive": "artifacts/raw/*.zst",
    "snapshot": "artifacts/snapshots/*.parquet",
    "document": "artifacts/documents/*.pack",
    "published report": "artifacts/quality/*.json",
    "index": "artifacts/index/*/*.*",
    "index for applications": "artifacts/application_index/*/*.*",
    "vectors": "artifacts/vectors-*/*.parquet",
    "warehouse": "warehouse.duckdb",
    "ledger": "ledger.sqlite",
    "write-ahead log": "ledger.sqlite-wal",
}


class Disk:
    """A small file system of its own, where this user may mount one, or else a limit on files.

    `kind` says which. A limit stops the processes that it is given from making any file longer.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "flywheel-faults", str(folder)]
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.kind = "tmpfs" if is_mounted else "RLIMIT_FSIZE"
        self._ballast = folder / "ballast"

    def fill(self, pids: Iterable[int]) -> None:
        """Let nothing more fit on it."""
        if self.kind != "tmpfs":
            for pid in pids:
                _limit(pid, 4096)
            return
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * (1 << 20))
            except OSError:
                pass
            try:
                while True:
                    file.write(b"\0" * 512)
            except OSError:
                pass

    def make_room(self, pids: Iterable[int]) -> None:
        """Undo `fill`."""
        self._ballast.unlink(missing_ok=True)
        if self.kind != "tmpfs":
            for pid in pids:
                _limit(pid, resource.RLIM_INFINITY)

    def unmount(self) -> None:
        """Let go of it."""
        if self.kind == "tmpfs":
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


def _limit(pid: int, n_bytes: int) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (n_bytes, hard))
    except ProcessLookupError:
        pass


def damage(chance: random.Random, path: Path) -> str:
    """Change or cut off some of the last bytes of a file; what was done, in words."""
    content = path.read_bytes()
    n = min(len(content), chance.choice((1, 8, 64, 4096)))
    if chance.random() < 0.5:
        os.truncate(path, len(content) - n)
        return f"{n} bytes cut off {path.name}"
    changed = bytes(byte ^ chance.randint(1, 255) for byte in content[-n:])
    with path.open("r+b") as file:
        file.seek(len(content) - n)
        file.write(changed)
    return f"the last {n} bytes of {path.name} changed"


def one_of(chance: random.Random, folder: Path, kind: str) -> Path | None:
    """A file of this kind, if there is one."""
    found = sorted(path for path in folder.glob(FILES[kind]) if path.stat().st_size)
    return chance.choice(found) if found else None
