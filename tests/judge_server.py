"""A small HTTP server that speaks chat completions, and breaks the protocol wherever a test wants it."""

import json
import socket
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
        self._going = threading.Condition()
        self._lines = 0  # connections that are open
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._going:
            self._lines += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._going:
            self._lines -= 1
            self._going.notify_all()

    def settled(self) -> None:
        """Wait until everything is counted that clients sent before they went away."""
        with socket.create_connection(self.server_address) as last:  # they are accepted in the order they came
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        with self._going:
            self._going.wait_for(lambda: not self._lines)

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
