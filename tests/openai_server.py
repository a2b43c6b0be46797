"""An OpenAI-compatible server that looks up an order by a tool, and then says what it found.

What it answers is fixed, so that a test knows every word; the client that speaks to it is real.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALL = {
    "id": "call_7",
    "type": "function",
    "function": {"name": "find_order", "arguments": '{"number": 4711}'},
}
FOUND = "Order 4711 leaves on Friday."


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_answered = asked["messages"][-1]["role"] != "user"
        message: dict[str, object] = {"role": "assistant", "content": FOUND}
        if not is_answered:
            message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "stop" if is_answered else "tool_calls",
        }
        answer = json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1772445600,
                "model": asked["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def openai_server() -> Iterator[str]:
    """The base URL of a running one, for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
