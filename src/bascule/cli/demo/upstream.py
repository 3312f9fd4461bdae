"""A stand-in for a model vendor: a real HTTP server on loopback that speaks OpenAI's format and counts its calls.

It is no model. It answers every chat with a fixed sentence that says so, after the time a vendor would take.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

THINKING_S: Final = 0.4
SENTENCE: Final = "I am the demo's stand-in for a model. This is reply number {number} that I have sent."
MAX_BODY_BYTES: Final = 1_000_000


class StandIn(ThreadingHTTPServer):
    """`calls`: chat requests answered so far."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls = 0
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def count(self) -> int:
        with self._lock:
            self.calls += 1
            return self.calls


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_POST(self) -> None:
        """Any path ending in /chat/completions; everything else is 404."""
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(min(length, MAX_BODY_BYTES))
        if not self.path.endswith("/chat/completions"):
            self._send(404, {"error": {"message": "only chat completions here", "type": "invalid_request_error"}})
            return
        number = self.server.count()
        time.sleep(THINKING_S)
        self._send(200, _completion(number, json.loads(body).get("model", "stand-in")))

    def _send(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


def _completion(number: int, model: str) -> dict[str, object]:
    message = {"role": "assistant", "content": SENTENCE.format(number=number)}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 18, "completion_tokens": 21, "total_tokens": 39},
    }


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Listening while the block runs."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
