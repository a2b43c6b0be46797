"""One request to the server, over by a deadline however slowly the other side answers.

A path and a body in, an `Answer` out, whatever goes wrong. The one idea is that every wait of a
socket is cut to what is left until the deadline; only the look-up of a name cannot be, and so
whoever must not wait for that asks from a thread (`asking`).
"""

import http.client
import io
import json
import os
import socket
import ssl
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Seconds that a connection may rest before it is taken again; the server ends it after 5.
IDLE_S = 4.0
MAX_IDLE = 8
# Longer answers are none of ours.
MAX_ANSWER_BYTES = 32 << 20
# A server may ask for patience, not for silence.
MAX_RETRY_AFTER_S = 600.0
# Requests in threads of their own at once; a look-up of a name that hangs holds one.
MAX_ASKING = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; `status` is 0 where it said nothing, and `why` tells what went wrong.

    `retry_after_s` is what it asked for, in seconds; None where it did not.
    """

    status: int
    body: bytes = b""
    why: str = ""
    retry_after_s: float | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the server has it."""
        return 200 <= self.status < 300

    @property
    def is_for_later(self) -> bool:
        """Whether the same request may succeed later: all but what is wrong with itself."""
        return not self.is_taken and self.status not in (400, 409, 411, 413, 415, 422)

    def refused(self) -> tuple[int, str]:
        """How many events of a request the server did not take, and why; the others it has."""
        if b'"rejected"' not in self.body:
            return 0, ""
        try:
            said = json.loads(self.body)["rejected"]
            return len(said), str(said[0]["why"]) if said else ""
        except (ValueError, RecursionError, TypeError, LookupError):
            return 0, ""


class _Reader(io.RawIOBase):
    """What comes in over a socket, until its deadline."""

    def __init__(self, timed: "_Timed"):
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        return self._timed.receive(buffer)


class _Timed:
    """A socket of whose waits all end at one deadline; what `http.client` needs of a socket."""

    def __init__(self, own: socket.socket, deadline: float):
        self._own = own
        self.deadline = deadline

    def sendall(self, content: bytes) -> None:
        self._own.settimeout(left_until(self.deadline))
        self._own.sendall(content)

    def receive(self, buffer: "WriteableBuffer") -> int:
        self._own.settimeout(left_until(self.deadline))
        return self._own.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        self._own.close()

    def __del__(self) -> None:
        # Of a client that nobody closed.
        self._own.close()


class Wire:
    """The server's address, and connections to it that rest until the next request."""

    def __init__(self, url: str, api_key: str):
        """Raises ValueError where `url` is no address of a server."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address; write it as https://flywheel.example.com")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._base = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Authorization": f"Bearer {api_key}",
            "User-Agent": "flywheel-client",
        }
        self.forget()
        _LIVING.add(self)

    def forget(self) -> None:
        """Leave resting connections and threads alone: after a fork they are another process's."""
        self._resting: list[tuple[float, http.client.HTTPConnection, _Timed]] = []
        self._lock = threading.Lock()
        self._room = threading.Semaphore(MAX_ASKING)

    def close(self) -> None:
        """End the connections that rest."""
        with self._lock:
            resting, self._resting = self._resting, []
        for _, _, timed in resting:
            timed.close()

    def post(self, path: str, content_type: str, body: bytes, timeout_s: float) -> Answer:
        """Send a body, and answer within `timeout_s` but for the look-up of the server's name."""
        deadline = time.monotonic() + timeout_s
        try:
            rested = self._rested(deadline)
            if rested is not None:
                try:
                    return self._exchange(*rested, path, content_type, body)
                except (http.client.RemoteDisconnected, ConnectionError):
                    # The server ended it meanwhile. What is sent twice is kept once.
                    pass
            return self._exchange(*self._connected(deadline), path, content_type, body)
        except TimeoutError:
            return Answer(0, why=f"no answer within {timeout_s:g} s")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(0, why=f"{type(error).__name__}: {error}")

    def asking(
        self, path: str, content_type: str, body: bytes, timeout_s: float
    ) -> "Future[Answer]":
        """The same in a thread of its own, so that whoever waits can stop waiting at any time."""
        asked: Future[Answer] = Future()
        room = self._room
        if not room.acquire(blocking=False):
            asked.set_result(Answer(0, why=f"{MAX_ASKING} requests are under way already"))
            return asked

        def ask() -> None:
            try:
                answer = self.post(path, content_type, body, timeout_s)
            finally:
                room.release()
            # Whoever asked may have stopped waiting.
            if asked.set_running_or_notify_cancel():
                asked.set_result(answer)

        try:
            threading.Thread(target=ask, name="flywheel-asks", daemon=True).start()
        except RuntimeError as error:
            room.release()
            asked.set_result(Answer(0, why=f"no thread: {error}"))
        return asked

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        timed: _Timed,
        path: str,
        content_type: str,
        body: bytes,
    ) -> Answer:
        is_whole = False
        try:
            headers = {**self._headers, "Content-Type": content_type}
            connection.request("POST", self._base + path, body, headers)
            response = connection.getresponse()
            content = response.read(MAX_ANSWER_BYTES)
            is_whole = response.isclosed() and not response.will_close
        finally:
            if is_whole:
                self._rest(connection, timed)
            else:
                timed.close()
        status = response.status
        why = "" if 200 <= status < 300 else f"the server answered {status}: {_said(content)}"
        return Answer(status, content, why, retry_after_s(response.headers.get("Retry-After")))

    def _connected(self, deadline: float) -> tuple[http.client.HTTPConnection, _Timed]:
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        failure: OSError = ConnectionError(f"{self._host} has no address")
        for n_left, (family, kind, protocol, _, address) in zip(
            range(len(found), 0, -1), found, strict=True
        ):
            own = socket.socket(family, kind, protocol)
            try:
                # An address that is silent leaves time for the others.
                own.settimeout(left_until(deadline) / n_left)
                own.connect(address)
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    own.settimeout(left_until(deadline))
                    own = self._tls.wrap_socket(own, server_hostname=self._host)
            except OSError as error:
                own.close()
                failure = error
                continue
            timed = _Timed(own, deadline)
            connection = http.client.HTTPConnection(self._host, self._port)
            connection.sock = timed
            # Never a connection without a deadline.
            connection.auto_open = 0
            return connection, timed
        raise failure

    def _rested(self, deadline: float) -> tuple[http.client.HTTPConnection, _Timed] | None:
        with self._lock:
            while self._resting:
                since, connection, timed = self._resting.pop()
                if time.monotonic() - since < IDLE_S:
                    timed.deadline = deadline
                    return connection, timed
                timed.close()
        return None

    def _rest(self, connection: http.client.HTTPConnection, timed: _Timed) -> None:
        with self._lock:
            if len(self._resting) < MAX_IDLE:
                self._resting.append((time.monotonic(), connection, timed))
                return
        timed.close()


def left_until(deadline: float) -> float:
    """Seconds until then; raises TimeoutError where it is past."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline is past")
    return left


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, in either of its forms; None where it says nothing."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if seconds == seconds else None


def _said(content: bytes) -> str:
    return " ".join(content[:300].decode("utf-8", "replace").split())


_LIVING: "weakref.WeakSet[Wire]" = weakref.WeakSet()


def _forget_all() -> None:
    for wire in list(_LIVING):
        wire.forget()


if hasattr(os, "register_at_fork"):
    # Two processes that talk on one connection would read each other's answers.
    os.register_at_fork(after_in_child=_forget_all)
