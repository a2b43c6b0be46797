"""A folder for what could not be sent: bounded, and sent later, by one process at a time.

Lines of JSON in, files of them out, one a request. A file is written under another name, synced
and renamed, so that a killed process leaves whole files only; who holds the lock on the folder
sends. The one idea is that a file may be sent twice (every event is known by its id) and is never
lost but by the bounds, which count what they drop.
"""

import fcntl
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

# Files are joined up to this size, so that a long outage leaves few.
JOINED_BYTES = 256_000
# Of the oldest, one at random is sent next: one that the server chokes on holds up no other.
DRAWN_FROM = 8
_LOCK = "lock"
_ENDING = ".jsonl"


@dataclass(frozen=True, slots=True)
class SpilledFile:
    """A file of events of one kind; its name says when they were spilled and how many they are."""

    path: Path
    spilled_at: float
    kind: str
    n_events: int
    n_bytes: int


class Spill:
    """What waits on disk for the server; of all processes that were given the same folder."""

    def __init__(self, folder: Path, max_bytes: int, max_age_s: float):
        """Raises OSError where the folder cannot be made."""
        self.folder = folder
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._number = count()
        self._held: int | None = None
        # What users said is in there.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def forget(self) -> None:
        """Leave the lock to the process that this one was copied from."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def files(self) -> list[SpilledFile]:
        """What is there, oldest first."""
        found = []
        for path in sorted(self.folder.glob(f"*{_ENDING}")):
            try:
                nanoseconds, _, kind, n_events = path.name.removesuffix(_ENDING).split("-")
                spilled_at, n = int(nanoseconds) / 1e9, int(n_events)
                found.append(SpilledFile(path, spilled_at, kind, n, path.stat().st_size))
            except (ValueError, OSError):
                # Not ours, or sent by another process in this moment.
                continue
        return found

    def n_events(self) -> int:
        """Events that wait."""
        return sum(file.n_events for file in self.files())

    def keep(self, kind: str, lines: Sequence[bytes]) -> int:
        """Keep events of a kind; how many older ones had to go for them. Raises OSError."""
        with self.turn() as is_ours:
            last = next((f for f in reversed(self.files()) if f.kind == kind), None)
            is_joined = is_ours and last is not None and last.n_bytes < JOINED_BYTES
            joined = last if is_joined else None
            before = [] if joined is None else _lines_of(joined.path)
            self._write(kind, [*before, *lines], joined.spilled_at if joined else time.time())
            if joined is not None:
                joined.path.unlink(missing_ok=True)
        return self._make_room()

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether it is this process's turn to send; nobody else's, for as long as it lasts."""
        own = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held = own
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except OSError:
            is_ours = False
        try:
            yield is_ours
        finally:
            self._held = None
            # With its last descriptor goes the lock.
            os.close(own)

    def next_file(self) -> SpilledFile | None:
        """One of the oldest; None where nothing waits."""
        oldest = self.files()[:DRAWN_FROM]
        return random.choice(oldest) if oldest else None

    def lines_of(self, file: SpilledFile) -> list[bytes]:
        """The events of a file; none where another process has sent it. Raises OSError."""
        return _lines_of(file.path)

    def remove(self, file: SpilledFile) -> None:
        """Forget a file that the server has."""
        file.path.unlink(missing_ok=True)

    def _write(self, kind: str, lines: Sequence[bytes], spilled_at: float) -> None:
        name = f"{int(spilled_at * 1e9):020d}-{os.getpid()}.{next(self._number)}-{kind}"
        path = self.folder / f"{name}-{len(lines)}{_ENDING}"
        unready = path.with_suffix(".part")
        with open(unready, "wb", opener=_for_us_alone) as file:
            file.write(b"".join(line + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        unready.rename(path)

    def _make_room(self) -> int:
        """Remove what is too old, and the oldest of what is too much; how many events that were."""
        files = self.files()
        n_bytes = sum(file.n_bytes for file in files)
        oldest = time.time() - self._max_age_s
        n_dropped = 0
        for file in files:
            if n_bytes <= self._max_bytes and file.spilled_at >= oldest:
                break
            file.path.unlink(missing_ok=True)
            n_bytes -= file.n_bytes
            n_dropped += file.n_events
        return n_dropped


def _lines_of(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line]
    except FileNotFoundError:
        return []


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
