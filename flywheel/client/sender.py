"""What an application says on its way to the server: in memory, on the wire, or on disk.

Events in, requests out, from one thread in the background. The one idea is that the application
only ever appends to a bounded list: whatever the server does, the thread waits and not it. What the
server cannot take now is spilled, and what has no room is dropped and counted.
"""

import atexit
import logging
import os
import random
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flywheel.client.spill import Spill
from flywheel.client.wire import Answer, Wire

logger = logging.getLogger("flywheel.client")

# Where events of a kind go, and how a request is made of their lines.
KINDS: dict[str, tuple[str, str, Callable[[Sequence[bytes]], bytes]]] = {
    "traces": ("/v1/traces", "application/x-ndjson", lambda lines: b"\n".join(lines) + b"\n"),
    "feedback": (
        *("/v1/feedback", "application/json"),
        lambda lines: b"[" + b",".join(lines) + b"]",
    ),
}
# A kind and a line of JSON.
Event = tuple[str, bytes]
# Of a request.
MAX_EVENTS, MAX_BYTES = 100, 1_000_000
# Between two tries, in seconds: doubled from the first to the last, half of it by chance.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 60.0
# Between two looks at what lies on disk, in seconds.
LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client holds and how long it takes."""

    buffer_events: int = 10_000
    buffer_bytes: int = 16_000_000
    event_bytes: int = 8_000_000
    flush_s: float = 0.5
    send_s: float = 10.0
    exit_s: float = 2.0


@dataclass(frozen=True, slots=True)
class ClientStats:
    """What became of this client's events; the counts are of events since it was made.

    `buffered` wait in memory and `on_disk` in its folder, from whatever process. `dropped` are
    lost, with why: `no_room`, `too_large`, `unwritable` (no JSON can be made of them), `refused`
    (the server says they are wrong), `too_old_or_many` (on disk), `no_disk` and `at_exit`.
    """

    taken: int
    sent: int
    spilled: int
    buffered: int
    on_disk: int
    dropped: dict[str, int] = field(default_factory=dict)
    last_error: str = ""


class Sender:
    """The buffer of one client, and the thread that empties it."""

    def __init__(self, wire: Wire, spill: Spill | None, limits: Limits):
        self._wire, self._spill, self._limits = wire, spill, limits
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._last_error = ""
        self._warned: set[str] = set()
        self._is_closed = False
        self.forget()
        _LIVING.add(self)

    @property
    def exit_s(self) -> float:
        """Seconds that the end of the process may take."""
        return self._limits.exit_s

    def forget(self) -> None:
        """Begin anew in a copied process: what was in the buffer, its original sends."""
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._n_bytes = 0
        # What the thread has in hand: it is spilled where the process ends under it.
        self._in_hand: list[Event] = []
        self._thread: threading.Thread | None = None
        self._away_until = 0.0
        self._n_failures = 0
        self._is_flushing = False
        if self._spill is not None:
            self._spill.forget()

    def put(self, kind: str, line: bytes) -> bool:
        """Take an event; False where there is no room for it, and it is dropped."""
        if len(line) > self._limits.event_bytes:
            return self.drop("too_large", f"an event has {len(line)} bytes")
        with self._changed:
            is_full = (
                len(self._waiting) >= self._limits.buffer_events
                or self._n_bytes + len(line) > self._limits.buffer_bytes
            )
            if self._is_closed or is_full:
                why = "the client is closed" if self._is_closed else "the buffer is full"
                return self.drop("no_room", why)
            self._waiting.append((kind, line))
            self._n_bytes += len(line)
            self._counts["taken"] += 1
            if len(self._waiting) in (1, MAX_EVENTS):
                self._changed.notify_all()
        self.start()
        return True

    def start(self) -> None:
        """Have the thread run."""
        with self._changed:
            is_running = self._thread is not None and self._thread.is_alive()
            if is_running or self._is_closed:
                return
            thread = threading.Thread(target=self._work, name="flywheel-sends", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self.warn("thread", f"no thread could be started: {error}")
                return
            self._thread = thread

    def drop(self, why: str, words: str, n_events: int = 1) -> bool:
        """Count events as lost; False."""
        if n_events:
            self._dropped[why] += n_events
            self.warn(why, f"dropped: {words}")
        return False

    def warn(self, about: str, words: str) -> None:
        """Say it in the log, once until it is over."""
        if about not in self._warned:
            self._warned.add(about)
            logger.warning("flywheel: %s", words)

    def stats(self) -> ClientStats:
        """What became of the events so far."""
        with self._changed:
            n_buffered = len(self._waiting) + len(self._in_hand)
        counts = self._counts
        return ClientStats(
            *(counts["taken"], counts["sent"], counts["spilled"], n_buffered),
            self._spill.n_events() if self._spill is not None else 0,
            dict(self._dropped),
            self._last_error,
        )

    def flush(self, timeout_s: float) -> bool:
        """Send what waits in memory now, or spill it; whether nothing is left there by then."""
        deadline = time.monotonic() + timeout_s
        self.start()
        with self._changed:
            self._is_flushing = True
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: not self._waiting and not self._in_hand, deadline - time.monotonic()
            )

    def close(self, timeout_s: float) -> None:
        """Send what there is time for, spill the rest, and take no more."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        with self._changed:
            left = [*self._in_hand, *self._waiting]
            self._waiting.clear()
        if left:
            self._keep(left)

    def _work(self) -> None:
        self._send_spilled()
        while True:
            batch = self._next_batch()
            if batch:
                self._deliver(batch)
            elif self._is_closed:
                self._wire.close()
                return
            if not self._is_away() and not self._is_closed:
                self._send_spilled()

    def _next_batch(self) -> list[Event]:
        """Events of one kind that go into one request, after a moment in which more may come."""
        with self._changed:
            self._wait()
            n_bytes = 0
            must_stay = self._spill is None and self._is_away()
            while self._waiting and len(self._in_hand) < MAX_EVENTS and not must_stay:
                kind, line = self._waiting[0]
                is_other = bool(self._in_hand) and self._in_hand[0][0] != kind
                if is_other or (self._in_hand and n_bytes + len(line) > MAX_BYTES):
                    break
                n_bytes += len(line)
                self._in_hand.append(self._waiting.popleft())
            self._n_bytes -= n_bytes
            if not self._waiting:
                self._is_flushing = False
            self._changed.notify_all()
            return list(self._in_hand)

    def _wait(self) -> None:
        """Wait for something to do: an event and a moment for more, or a look at the disk."""
        if self._spill is None:
            # Nobody keeps them but the buffer.
            away_s = self._away_until - time.monotonic()
            self._changed.wait_for(lambda: self._is_closed, max(0.0, away_s))
        self._changed.wait_for(lambda: self._waiting or self._is_urgent(), LOOK_S)
        if self._waiting:
            self._changed.wait_for(
                lambda: len(self._waiting) >= MAX_EVENTS or self._is_urgent(), self._limits.flush_s
            )

    def _is_urgent(self) -> bool:
        return self._is_closed or self._is_flushing

    def _deliver(self, batch: list[Event]) -> None:
        is_done = not self._is_away() and self._send(batch[0][0], [line for _, line in batch])
        if not is_done and self._spill is not None:
            self._keep(batch)
        with self._changed:
            if not is_done and self._spill is None and not self._is_closed:
                self._waiting.extendleft(reversed(batch))
                self._n_bytes += sum(len(line) for _, line in batch)
            elif not is_done and self._spill is None:
                self._drop_at_exit(batch)
            self._in_hand.clear()
            self._changed.notify_all()

    def _send(self, kind: str, lines: list[bytes]) -> bool:
        """Whether the server has these events, or will never take them; False where it may later.

        Of a request that is wrong, each half is tried, so that one event spoils no other.
        """
        path, content_type, as_body = KINDS[kind]
        answer = self._wire.post(path, content_type, as_body(lines), self._limits.send_s)
        if answer.is_taken:
            self._is_back()
            n_refused, why = answer.refused()
            self.drop("refused", why, n_refused)
            self._counts["sent"] += len(lines) - n_refused
            return True
        self._last_error = answer.why
        if answer.is_for_later:
            self._go_away(answer)
            return False
        if len(lines) == 1:
            self.drop("refused", answer.why)
            return True
        half = len(lines) // 2
        return self._send(kind, lines[:half]) and self._send(kind, lines[half:])

    def _send_spilled(self) -> None:
        """Send files, where it is this process's turn, until fresh events want the wire."""
        if self._spill is None or not self._spill.files():
            return
        try:
            with self._spill.turn() as is_ours:
                while is_ours and not self._is_closed and len(self._waiting) < MAX_EVENTS:
                    file = self._spill.next_file()
                    if file is None:
                        return
                    lines = self._spill.lines_of(file)
                    if lines and file.kind in KINDS and not self._send(file.kind, lines):
                        return
                    self._spill.remove(file)
        except OSError as error:
            self.warn("disk", f"{self._spill.folder} cannot be read: {error}")

    def _keep(self, events: Sequence[Event]) -> None:
        """Spill events, or count them as lost."""
        if self._spill is None:
            self._drop_at_exit(events)
            return
        for kind in KINDS:
            lines = [line for of, line in events if of == kind]
            if not lines:
                continue
            try:
                n_dropped = self._spill.keep(kind, lines)
            except OSError as error:
                self.drop("no_disk", f"{self._spill.folder}: {error}", len(lines))
                continue
            self._counts["spilled"] += len(lines)
            self.drop("too_old_or_many", f"{self._spill.folder} is full", n_dropped)

    def _drop_at_exit(self, events: Sequence[Event]) -> None:
        self.drop("at_exit", self._last_error or "no time was left", len(events))

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def _go_away(self, answer: Answer) -> None:
        """Leave the server alone for a while: longer each time, and as long as it asks for."""
        pause_s = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._n_failures, 20))
        pause_s *= random.uniform(0.5, 1.0)
        self._away_until = time.monotonic() + max(pause_s, answer.retry_after_s or 0.0)
        self._n_failures += 1
        where = "kept on disk" if self._spill else "dropped"
        self.warn("away", f"events are {where} until the server takes them: {answer.why}")

    def _is_back(self) -> None:
        if self._n_failures:
            logger.info("flywheel: the server takes events again")
        self._n_failures = 0
        self._away_until = 0.0
        self._warned.discard("away")


_LIVING: "weakref.WeakSet[Sender]" = weakref.WeakSet()


def _forget_all() -> None:
    for sender in list(_LIVING):
        sender.forget()


def _close_all() -> None:
    deadline = time.monotonic()
    for sender in list(_LIVING):
        # Together they take no longer than the most patient one.
        sender.close(max(0.0, deadline + sender.exit_s - time.monotonic()))


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
