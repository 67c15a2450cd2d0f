"""A chat server whose answers come in pieces, well or as they are told: late, cut, silent, endless, nonsense."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from judge_server import Handler, Server


def chunk(text: str | None, end: bool = False, **more: Any) -> bytes:
    choice = {
        "index": 0,
        "delta": {"content": text} if text is not None else {},
        "finish_reason": "stop" if end else None,
    }
    body = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class ChatPeer:
    """Answers every question with `pieces`, the first `delay` seconds late; `faults`: of the first requests."""

    def __init__(
        self, faults: Sequence[str] = (), pieces: Sequence[str] = ("Hel", "lo there."), delay: float = 0.0
    ) -> None:
        self.faults, self.pieces, self.delay = list(faults), list(pieces), delay
        self.pause = 0.0  # seconds between pieces
        self.server = Server()
        self.server.act = self._act

    @property
    def histories(self) -> list[list[tuple[str, str]]]:
        """What every request held, without the instructions."""
        return [[(m["role"], m["content"]) for m in asked["messages"][1:]] for asked in self.server.asked]

    def _act(self, handler: Handler, number: int, body: dict[str, Any]) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        assert body["stream"]
        if fault in STATUSES:
            handler.send(*STATUSES[fault])
            return
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            self._stream(handler, fault)

    def _stream(self, handler: Handler, fault: str) -> None:
        def write(data: bytes) -> None:
            handler.wfile.write(data)
            handler.wfile.flush()

        if fault == "hangs":
            time.sleep(3.0)
            return
        time.sleep(self.delay)
        for number, piece in enumerate(self.pieces):
            write(chunk(piece))
            time.sleep(self.pause)
            if fault == "cuts" and number == 0:
                return
            if fault in GARBAGE:
                write(GARBAGE[fault])
                return
            if fault == "stalls":
                time.sleep(3.0)
                return
        while fault == "endless":
            write(chunk(" word"))
            time.sleep(0.02)
        write(chunk(None, end=True))
        write(chunk(None, usage={"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34}))
        write(b"data: [DONE]\n\n")


STATUSES = {
    "500": (500, b'{"error": {"message": "out of memory"}}'),
    "429": (429, b'{"error": {"message": "too many"}}'),
    "401": (401, b'{"error": {"message": "no such key"}}'),
    "404": (404, b'{"error": {"message": "no such model"}}'),
    "no stream": (200, b'{"answer": "hello"}'),
}
GARBAGE = {
    "garbage": b"data: {this is no JSON\n\n",
    "other": b'data: {"choices": [{"delta": 7}]}\n\n',
    "error": b'data: {"error": {"message": "out of memory"}}\n\n',
    "list": b"data: [1, 2]\n\n",
}


@contextlib.contextmanager
def chat_peer(faults: Sequence[str] = (), **answer: Any) -> Iterator[ChatPeer]:
    peer = ChatPeer(faults, **answer)
    try:
        yield peer
    finally:
        peer.server.shutdown()
        peer.server.server_close()
