"""Servers on loopback for the endpoint's tests: a double that answers at once, and a faulty proxy.

`Double` is no model: it speaks enough of OpenAI's API to answer any prompt in a way that a test can
work out. `FaultyProxy` stands before it, or before a real server, and breaks requests in a
sequence that follows from its seed and from the prompt, whatever else is under way.
"""

import hashlib
import json
import random
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"
LABEL = "perceived_error"

# What can be wrong with a reply; "" is nothing.
FAULTS = ("", "limited", "broken", "cut", "half", "refusal", "silence")
RETRY_AFTER_S = 0.2
# Nobody waits for its end: who asked gives up before, and the end of a test ends it.
SILENCE_S = 60.0

Json = dict[str, object]


@dataclass(frozen=True)
class Seen:
    """A request that a server got."""

    at: float
    key: str
    body: Json
    headers: dict[str, str]
    fault: str = ""


@dataclass
class Log:
    """What a server got, and how many requests it had at once."""

    seen: list[Seen] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def during(self, one: Seen) -> Iterator[None]:
        with self._turn:
            self.seen.append(one)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._turn:
                self._now -= 1

    def requests_by_key(self) -> Counter[str]:
        with self._turn:
            return Counter(one.key for one in self.seen)


def key_of(messages: object) -> str:
    """The hash of what is asked."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


class Server:
    """An HTTP server in a thread, that logs what it gets."""

    def __init__(self) -> None:
        self.log = Log()
        self._http = ThreadingHTTPServer((HOST, 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://{HOST}:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def answer(self, handler: "Handler", body: Json) -> None:
        raise NotImplementedError

    def fault_of(self, key: str) -> str:
        return ""

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type["Handler"]:
        return type("BoundHandler", (Handler,), {"owner": self})


class Handler(BaseHTTPRequestHandler):
    """One connection to a `Server`."""

    owner: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = key_of(body["messages"])
        headers = {name.lower(): value for name, value in self.headers.items()}
        one = Seen(time.monotonic(), key, body, headers, self.owner.fault_of(key))
        with self.owner.log.during(one):
            self.fault = one.fault
            self.owner.answer(self, body)

    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": [{"id": "double", "object": "model"}]})

    def reply(self, status: int, body: object, **headers: str) -> None:
        """Send JSON, or text as it is."""
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def hang_up(self, after: str = "") -> None:
        """Promise more than is sent, and close the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(after.encode()) + 100))
        self.end_headers()
        self.wfile.write(after.encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing is written to the tests' output."""


def said(messages: object) -> str:
    """What the double replies: the label follows from the hash of the prompt."""
    label = int(key_of(messages), 16) % 2 == 0
    reason = "The user says “no, that is wrong”."
    return json.dumps({LABEL: label, "reason": reason}, ensure_ascii=False)


def completion(text: str, usage: tuple[int, int] = (100, 20), **message: object) -> Json:
    """The body of a chat completion."""
    finish = message.pop("finish_reason", "stop")
    choice: Json = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **message},
    }
    if logprobs := message.pop("logprobs", None):
        choice["logprobs"] = logprobs
    total = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    about = {"id": "1", "object": "chat.completion", "created": 0, "model": "double"}
    return {**about, "choices": [choice], "usage": total}


class Double(Server):
    """A test double of an OpenAI-compatible server: its reply follows from the prompt.

    `reply` makes another one: of the request's body, a status and a body.
    """

    def __init__(
        self,
        reply: Callable[[Json], tuple[int, object]] | None = None,
        delay_s: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__()
        self._reply = reply or (lambda body: (200, completion(said(body["messages"]))))
        self._delay_s = delay_s
        self._headers = dict(headers or {})

    def answer(self, handler: Handler, body: Json) -> None:
        time.sleep(self._delay_s)
        handler.reply(*self._reply(body), **self._headers)


class FaultyProxy(Server):
    """Hands requests on to `upstream`, and breaks some: each of the faults with equal chance.

    The faults of a prompt's requests are those of a sequence that its text and the seed determine.
    """

    def __init__(self, upstream: str, seed: int, faults: Sequence[str] = FAULTS):
        super().__init__()
        self.upstream = upstream
        self.seed = seed
        self.faults = faults
        self._turn = threading.Lock()
        self._n_of: Counter[str] = Counter()
        # What a silent server waits for; set when the test is over.
        self._over = threading.Event()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        super().__exit__()

    def fault_of(self, key: str) -> str:
        with self._turn:
            number = self._n_of[key]
            self._n_of[key] += 1
        return self.sequence(key, number + 1)[number]

    def sequence(self, key: str, n: int) -> list[str]:
        """The faults of the first `n` requests for a prompt."""
        drawn = random.Random(f"{self.seed} {key}")
        return [drawn.choice(self.faults) for _ in range(n)]

    def answer(self, handler: Handler, body: Json) -> None:
        match handler.fault:
            case "limited":
                why = {"error": {"message": "Too many requests.", "type": "requests"}}
                handler.reply(429, why, retry_after=str(RETRY_AFTER_S))
            case "broken":
                handler.reply(500, "<html>Internal Server Error</html>")
            case "cut":
                handler.hang_up('{"choices": [{"mess')
            case "silence":
                self._over.wait(SILENCE_S)
                handler.close_connection = True
            case "refusal":
                handler.reply(200, completion("", refusal="I cannot judge this."))
            case "half":
                handler.reply(200, completion('{"perceived_error": true, "rea'))
            case _:
                handler.reply(200, self._from_upstream(body))

    def _from_upstream(self, body: Json) -> str:
        request = urllib.request.Request(
            f"{self.upstream}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with no_proxy.open(request, timeout=120) as reply:
            return str(reply.read().decode())
