"""The inbox: what applications send while they run, from its commit until it is archived.

Bodies of requests in, rows of the ledger's `inbox`; whole traces out, as an artifact of JSON lines
and a row of `imports`, which `load_imports` treats like any file. The one idea is that a row leaves
the inbox in the same transaction in which the ledger learns of the artifact that holds it, so that
a process may be killed between any two steps and every span is still in exactly one place.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Literal, get_args

import sqlalchemy as sa
import zstandard

from flywheel.errors import TryAgain
from flywheel.store.ledger import Ledger, in_utc, now
from flywheel.store.tables import inbox

# otlp: an ExportTraceServiceRequest in protobuf; otlp-json: the same in JSON; flywheel: traces in
# our own JSON lines.
InboxKind = Literal["otlp", "otlp-json", "flywheel"]
INBOX_KINDS: tuple[InboxKind, ...] = get_args(InboxKind)

# While nothing is drained, a full inbox stays full; a sensor looks every half minute.
RETRY_AFTER_S = 15
# For how long the fill that was last seen is believed: other processes fill it too, and drain it.
_BELIEVED_S = 1.0
_LEVEL = 1

_INSERT = inbox.insert()
_FILL = sa.select(
    sa.func.count(),
    sa.func.coalesce(sa.func.sum(inbox.c.n_bytes), 0),
    sa.func.coalesce(sa.func.sum(inbox.c.n_spans), 0),
    sa.func.min(inbox.c.received_at),
)


class InboxFull(TryAgain):
    """The inbox holds as much as it may; `wait_s` says when to come again."""

    def __init__(self, limit_mb: int):
        super().__init__(
            f"the inbox holds its {limit_mb} MB of traces already, and waits to be drained; "
            "send them again later"
        )
        self.wait_s = RETRY_AFTER_S


@dataclass(frozen=True, slots=True)
class Fill:
    """What waits in the inbox: rows, plain bytes, spans, and the age of the oldest row."""

    rows: int
    n_bytes: int
    spans: int
    oldest_age_s: float


@dataclass(slots=True)
class _Seen:
    """The fill as this process knows it, and when the ledger was last asked."""

    n_bytes: int = 0
    asked_at: float = float("-inf")
    refused: int = 0
    lock: Lock = field(default_factory=Lock)


class Inbox:
    """The inbox of one ledger, that holds `limit_mb` at most; used by many threads."""

    def __init__(self, ledger: Ledger, limit_mb: int):
        self._ledger = ledger
        self._limit_mb = limit_mb
        self._seen = _Seen()

    @property
    def refused(self) -> int:
        """Requests that this process has sent away since it started, since the inbox was full."""
        return self._seen.refused

    def check_room(self) -> None:
        """Raise InboxFull where there is no room; before a body is worked on."""
        seen = self._seen
        with seen.lock:
            if time.monotonic() - seen.asked_at > _BELIEVED_S:
                seen.n_bytes, seen.asked_at = fill_of(self._ledger).n_bytes, time.monotonic()
            if seen.n_bytes < self._limit_mb * 1_000_000:
                return
            seen.refused += 1
        raise InboxFull(self._limit_mb)

    def take_in(self, kind: InboxKind, app: str, body: bytes, n_spans: int) -> None:
        """Commit a checked body of `n_spans` spans (or traces); when it returns, it is safe."""
        row = inbox_row(kind, app, body, n_spans, now())
        with self._ledger.begin() as connection:
            connection.execute(_INSERT, row)
        with self._seen.lock:
            self._seen.n_bytes += len(body)


def state_of(ledger: Ledger, idle_s: float) -> str:
    """What waits in the inbox, as a name that changes when draining it may do something new.

    That is when something came, or left, or has grown so old that nothing more is waited for; empty
    where nothing waits.
    """
    idle_since = now() - timedelta(seconds=idle_s)
    looked = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(inbox.c.batch_id), 0),
        sa.func.count().filter(inbox.c.received_at <= idle_since),
    )
    with ledger.read() as connection:
        rows, ids, idle = connection.execute(looked).one()
    return f"{rows}-{ids}-{idle}" if rows else ""


def inbox_row(
    kind: InboxKind, app: str, body: bytes, n_spans: int, received_at: datetime
) -> dict[str, object]:
    """A row of the inbox with this plain body."""
    return {
        "kind": kind,
        "app": app,
        "n_bytes": len(body),
        "n_spans": n_spans,
        "received_at": received_at,
        "body": zstandard.ZstdCompressor(level=_LEVEL).compress(body),
    }


def plain_body(packed: bytes) -> bytes:
    """The body of a row as it was taken in."""
    plain: bytes = zstandard.ZstdDecompressor().decompress(packed)
    return plain


def fill_of(ledger: Ledger) -> Fill:
    """What waits in the inbox now."""
    with ledger.read() as connection:
        return fill_in(connection)


def fill_in(connection: sa.Connection) -> Fill:
    """The same, for who has a connection."""
    rows, n_bytes, spans, oldest = connection.execute(_FILL).one()
    age_s = 0.0 if oldest is None else (now() - in_utc(oldest)).total_seconds()
    return Fill(rows, int(n_bytes), int(spans), max(age_s, 0.0))
