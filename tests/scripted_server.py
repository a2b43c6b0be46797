"""A server that answers as it is told: late, wrongly, drop by drop, or not at all."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Script:
    """What is answered; `requests` are (path, body), in the order of their arrival."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    # Seconds between two bytes of the answer, and how long it waits for `release` before it speaks.
    drip_s: float = 0.0
    hangs: bool = False
    refuses: Callable[[bytes], bool] = lambda _: False
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def events(self) -> list[dict[str, object]]:
        """All events that came, as often as they came."""
        found: list[dict[str, object]] = []
        for path, body in list(self.requests):
            if path.endswith("/v1/traces"):
                found += [json.loads(line) for line in body.splitlines()]
            elif path.endswith("/v1/feedback"):
                found += json.loads(body)
        return found


@contextmanager
def scripted(script: Script, port: int = 0) -> Iterator[Script]:
    """A server that follows a script, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if script.hangs:
                script.release.wait(60)
                return
            status = 422 if script.refuses(body) else script.status
            if status == 200:
                script.requests.append((self.path, body))
            self.send_response(status)
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(script.body)))
            self.end_headers()
            for at in range(len(script.body)):
                if script.drip_s and script.release.wait(script.drip_s):
                    return
                self.wfile.write(script.body[at : at + 1])

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that has gone is no error here."""

    server = Server(("127.0.0.1", port), Handler)
    script.port = server.server_address[1]
    serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    try:
        yield script
    finally:
        script.release.set()
        server.shutdown()
        server.server_close()
