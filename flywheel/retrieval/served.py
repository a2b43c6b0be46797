"""What applications were given, so that its effect can be measured later.

Served examples in, rows of `served_examples` out; exposures to an experiment take the same way. The
one idea is that an application does not wait for a disk: rows are written together by a thread a
quarter of a second later, and who finds too many of them waiting writes them itself. A power cut
loses that quarter of a second, and nothing else of what the ledger holds.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from threading import Event, Lock, Thread
from typing import TypeAlias

import sqlalchemy as sa

from flywheel.retrieval.search import Found
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import served_examples

logger = logging.getLogger("flywheel.retrieval")

FLUSH_S = 0.25
# Rows that may wait; a thousand requests of five examples.
MOST_WAITING = 5_000

ServedRow: TypeAlias = dict[str, object]
Write: TypeAlias = Callable[[sa.Connection, list[ServedRow]], None]
_INSERT = served_examples.insert()


@dataclass(frozen=True, slots=True)
class ServedFor:
    """For what examples were served; ids are the application's own, None where it gave none."""

    request_id: str
    app: str
    trace_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None


def served_rows(
    served_for: ServedFor, found: Sequence[Found], index_version: str
) -> list[ServedRow]:
    """What is noted of examples, best first, that were chosen from `index_version`."""
    return [
        asdict(served_for)
        | {
            "correction_id": one.row["correction_id"],
            "example_trace_id": one.row["trace_id"],
            "rank": rank,
            "similarity": one.similarity,
            "score": one.score,
            "index_version": index_version,
        }
        for rank, one in enumerate(found, 1)
    ]


def _write_served(connection: sa.Connection, rows: list[ServedRow]) -> None:
    connection.execute(_INSERT, rows)


class ServedLog:
    """Rows on their way into the ledger; `close` writes what is left.

    `write` puts them into their table, and `moment` is the column of when they were given.
    """

    def __init__(self, ledger: Ledger, write: Write = _write_served, moment: str = "served_at"):
        self._ledger = ledger
        self._write_rows, self._moment = write, moment
        self._waiting: deque[ServedRow] = deque()
        # One writes at a time, so that rows stand in the order in which they were served.
        self._writing = Lock()
        self._starting = Lock()
        self._wake, self._over = Event(), Event()
        self._thread: Thread | None = None
        # Rows that the ledger will never take, such as of a text that it has no letters for.
        self.lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, rows: Sequence[ServedRow]) -> None:
        """Take rows, each with the columns of its table but its number and its time."""
        if not rows:
            return
        moment = now()
        self._waiting.extend(row | {self._moment: moment} for row in rows)
        if len(self._waiting) >= MOST_WAITING:
            self.flush()
            return
        self._start()
        self._wake.set()

    def flush(self) -> None:
        """Write all that waits now; what cannot be written now waits on."""
        with self._writing:
            rows = list(self._waiting)
            if not rows:
                return
            try:
                with self._ledger.begin() as connection:
                    self._write_rows(connection, rows)
            except (sa.exc.DataError, sa.exc.StatementError, UnicodeError) as error:
                if isinstance(error, sa.exc.OperationalError):
                    raise
                self.lost += len(rows)
                logger.error("rows of what was given are lost: %s", str(error).splitlines()[0])
            for _ in rows:
                self._waiting.popleft()

    def close(self) -> None:
        """Write what is left, and end the thread; it starts again with the next row."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            self._wake.set()
            thread.join()
            self._over.clear()
        self.flush()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = Thread(target=self._write, name="served-examples", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        while not self._over.is_set():
            self._wake.wait()
            self._wake.clear()
            # Others come in meanwhile, and are written in the same transaction.
            self._over.wait(FLUSH_S)
            try:
                self.flush()
            except sa.exc.SQLAlchemyError as error:
                logger.error("rows of what was given wait on: %s", str(error).splitlines()[0])
                self._wake.set()
