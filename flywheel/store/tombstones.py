"""Tombstones: who was forgotten, as keyed hashes, beside the project's settings.

A name in, "forgotten" or not out; nobody can read a name from the file, and without the key nobody
can try names out. It stands outside the data folder, so that an older copy of that folder still
meets it when it is put back.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from flywheel.errors import BadInput
from flywheel.store.artifacts import sync_folder

TOMBSTONES, KEY = "tombstones.jsonl", "tombstones.key"
Kind = Literal["user", "trace", "session"]

_MARK_CHARACTERS = 32
_MARKS_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One line of the file: who was forgotten, or what of theirs was found; hashes only.

    `app` is empty for all applications. `adapters` are versions that had learnt from the user.
    """

    forgetting_id: str
    at: str
    app: str = ""
    user: str = ""
    traces: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()


class Tombstones:
    """The tombstones of one project; the file is read again when it has changed.

    `lock` is the file on which who forgets and who stores wait for each other.
    """

    def __init__(self, folder: Path, lock: Path):
        self._path, self._key_path, self._lock = folder / TOMBSTONES, folder / KEY, lock
        self._seen: tuple[int, int] | None = None
        self._lines: list[Tombstone] = []
        self._marks: dict[Kind, set[str]] = {"user": set(), "trace": set(), "session": set()}
        self._mark = lru_cache(maxsize=_MARKS_REMEMBERED)(self._hash)
        self._key: bytes | None = None

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Nobody is forgotten while the block runs: who was looked up in it may be stored in it."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """For who forgets: nobody else does so meanwhile, and nobody stores what he has read."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a") as lock:
            fcntl.flock(lock, how)
            yield

    def lines(self) -> list[Tombstone]:
        """All of them, oldest first.

        Raises BadInput where the file cannot be read or its key is gone.
        """
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return []
        if self._seen != (stat.st_mtime_ns, stat.st_size):
            self._read()
            self._seen = (stat.st_mtime_ns, stat.st_size)
        return self._lines

    def __bool__(self) -> bool:
        return bool(self.lines())

    def mark(self, kind: Kind, name: str, app: str = "") -> str:
        """The keyed hash of a name; the key is made where there is none yet."""
        return self._mark(kind, name, app if kind == "user" else "")

    def is_gone(self, kind: Kind, name: str, apps: Iterable[str] = ()) -> bool:
        """Whether this was forgotten: for all applications, or for one of these."""
        self.lines()
        marks = self._marks[kind]
        return bool(marks) and any(self.mark(kind, name, app) in marks for app in ("", *apps))

    def are_of(
        self, app: str, user: str | None, trace: str | None, session: str | None = None
    ) -> bool:
        """Whether any of these names, as a request of the application gives them, was forgotten."""
        named: tuple[tuple[Kind, str | None], ...] = (
            ("user", user),
            ("trace", trace),
            ("session", session),
        )
        return any(name and self.is_gone(kind, name, (app,)) for kind, name in named)

    def of_user(self, user: str, app: str) -> list[Tombstone]:
        """What stands of the forgetting of this user, if it was begun."""
        mark = self.mark("user", user, app)
        ids = {line.forgetting_id for line in self.lines() if line.user == mark}
        return [line for line in self.lines() if line.forgetting_id in ids]

    def add(self, tombstone: Tombstone) -> None:
        """Append a line; when this returns it survives a power cut."""
        line = json.dumps(asdict(tombstone), sort_keys=True)
        is_whole = not self._path.exists() or self._path.read_bytes()[-1:] in (b"\n", b"")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("" if is_whole else "\n") + line + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._path.parent)

    def _read(self) -> None:
        lines = []
        text = self._path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                values = json.loads(line)
                several = {name: tuple(values[name]) for name in ("traces", "sessions", "adapters")}
                lines.append(Tombstone(**values | several))
            except (ValueError, TypeError, LookupError) as error:
                if number == text.count("\n") + 1:
                    # Cut off while it was written; whoever wrote it writes it again.
                    continue
                raise BadInput(
                    f"{self._path}:{number} is no tombstone; restore the file"
                ) from error
        if lines and not self._key_path.exists():
            raise BadInput(
                f"{self._path} is there and its key {self._key_path} is not, so nobody can tell "
                "who was forgotten; restore the key"
            )
        self._lines = lines
        self._marks["user"] = {line.user for line in lines} - {""}
        self._marks["trace"] = {mark for line in lines for mark in line.traces}
        self._marks["session"] = {mark for line in lines for mark in line.sessions}

    def _hash(self, kind: Kind, name: str, app: str) -> str:
        if self._key is None:
            self._key = self._make_key()
        said = f"{kind}\0{app}\0{name}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:_MARK_CHARACTERS]

    def _make_key(self) -> bytes:
        if not self._key_path.exists():
            self._key_path.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._key_path.with_name(f".{KEY}-{os.getpid()}")
            handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                # The first of two processes makes it.
                os.link(scratch, self._key_path)
            except FileExistsError:
                pass
            finally:
                scratch.unlink()
            sync_folder(self._key_path.parent)
        return bytes.fromhex(self._key_path.read_text(encoding="utf-8").strip())
