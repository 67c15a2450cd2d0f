"""A small HTTP server that speaks chat completions, and breaks the protocol wherever a test wants it."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Chat completions; `act` decides what happens to each request, and gets its number and its body."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.act: Callable[[Handler, int, dict[str, Any]], None] = lambda h, n, body: h.reply("VERDICT: comply")
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
            n = len(self.server.asked)
        self.server.act(self, n, body)

    def reply(self, text: str | None, usage: bool = True) -> None:
        message = {"role": "assistant", "content": text}
        body: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        body["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
        if usage:
            body["usage"] = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
        self.send(200, json.dumps(body).encode())

    def send(self, status: int, data: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in {"retry-after-ms": "5", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Tests print nothing."""
