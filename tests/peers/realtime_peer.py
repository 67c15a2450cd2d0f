"""A small server that speaks OpenAI's Realtime interface: it answers 300 ms after the user's last sound, or fails.

It hears where the user begins and ends by loudness, says so as the real one does, answers with sound that it sends much
faster than it is heard, and cancels what it is saying when the user speaks over it.
"""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from builders import tone

RATE = 24_000
LOUD = 300 / 32_768
PAUSE = 0.13  # seconds of quiet that end a turn
FAULT_AT = 5  # frames into a talk
MINUTES = f'{{"type": "response.output_audio.delta", "item_id": "a", "delta": "{"A" * (160 * RATE * 8 // 3)}"}}'
USAGE = {
    "total_tokens": 160,
    "input_tokens": 110,
    "output_tokens": 50,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 100, "cached_tokens": 30},
    "output_token_details": {"text_tokens": 20, "audio_tokens": 30},
}


class Talk:
    """One session. Times are samples of what was heard."""

    def __init__(self, connection: ServerConnection, fault: str, answer: float) -> None:
        self._connection, self._fault, self._answer = connection, fault, answer
        self._began: float | None = None  # when sample 0 was spoken, on our clock
        self._heard = 0
        self._last: int | None = None  # loud sample of the turn under way
        self._turns = 0
        self.received: list[dict[str, Any]] = []

    def hold(self) -> None:
        self._send("session.created", session={})
        if self._fault == "no setup":
            self._listen_for_ever()
        self.received.append(json.loads(self._connection.recv()))
        if self._fault == "refuses":
            self._send("error", error={"type": "invalid_request_error", "message": "no such voice"})
        self._send("session.updated", session={})
        frames = 0
        while True:
            event = json.loads(self._connection.recv())
            self.received.append(event)
            if event["type"] != "input_audio_buffer.append":
                continue
            frames += 1
            if frames == FAULT_AT:
                self._misbehave()
            self._hear(np.frombuffer(base64.b64decode(event["audio"]), "<i2") / 32_768)

    def _hear(self, frame: np.ndarray) -> None:
        if self._began is None:
            self._began = time.perf_counter() - len(frame) / RATE
        loud = np.flatnonzero(np.abs(frame) > LOUD)
        if loud.size:
            if self._last is None:
                self._turns += 1
                ms = 1000 * (self._heard + int(loud[0])) / RATE
                self._send("input_audio_buffer.speech_started", item_id=f"user-{self._turns}", audio_start_ms=int(ms))
            self._last = self._heard + int(loud[-1]) + 1
        self._heard += len(frame)
        if self._last is not None and self._heard - self._last > PAUSE * RATE:
            self._end_turn(self._last)
            self._last = None

    def _end_turn(self, last: int) -> None:
        name = f"user-{self._turns}"
        self._send("input_audio_buffer.speech_stopped", item_id=name, audio_end_ms=1000 * last // RATE)
        completed = "conversation.item.input_audio_transcription.completed"
        self._send(completed, item_id=name, content_index=0, transcript="two words")
        assert self._began is not None
        due = self._began + last / RATE + 0.3
        threading.Timer(max(due - time.perf_counter(), 0), self._say, (f"agent-{self._turns}",)).start()

    def _say(self, name: str) -> None:
        with contextlib.suppress(ConnectionClosed):
            self._send("response.created", response={})
            pcm = np.round(32_767 * tone(self._answer)).astype("<i2").tobytes()
            for i, start in enumerate(range(0, len(pcm), 9_600)):
                audio = base64.b64encode(pcm[start : start + 9_600]).decode()
                self._send("response.output_audio.delta", item_id=name, delta=audio)
                if i == 0:
                    self._send("response.output_audio_transcript.delta", item_id=name, delta="one two ")
            self._send("response.output_audio_transcript.delta", item_id=name, delta="three four")
            failed = {"status_details": {"error": {"code": "rate_limit_exceeded", "message": "too many tokens"}}}
            if self._fault == "fails to answer":
                self._send("response.done", response={"status": "failed", **failed})
            self._send("response.done", response={"status": "completed", "usage": USAGE})

    def _misbehave(self) -> None:
        if self._fault == "cuts":
            self._connection.close()
        elif self._fault == "dies":
            self._connection.socket.close()
        elif self._fault == "errors":
            self._send("error", error={"type": "server_error", "message": "the session is over"})
        elif self._fault == "garbage":
            self._connection.send("{hello")
        elif self._fault == "wrong types":
            self._send("response.output_audio.delta", item_id=7, delta=None)
        elif self._fault == "no pcm":
            self._send("response.output_audio.delta", item_id="a", delta="?")
        elif self._fault == "events":
            for _ in range(5_000):
                self._send("rate_limits.updated")
        elif self._fault == "floods":
            self._connection.send(MINUTES)
            self._connection.send(MINUTES)
        elif self._fault == "stalls":
            self._listen_for_ever()

    def _listen_for_ever(self) -> None:
        while True:
            self._connection.recv()

    def _send(self, kind: str, **fields: Any) -> None:
        self._connection.send(json.dumps({"type": kind, "event_id": "e", **fields}))


class Peer:
    """`faults`: what goes wrong in the first talk, the second, ...; `answer`: seconds of sound in each answer."""

    def __init__(self, faults: Sequence[str], answer: float) -> None:
        self._faults, self._answer = list(faults), answer
        self.talks: list[Talk] = []
        self.headers: list[Headers] = []
        self.paths: list[str] = []

    def gate(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(request.headers)
        self.paths.append(request.path)
        if "wrong" in request.headers.get("Authorization", ""):
            return connection.respond(401, f"no such key: {request.headers['Authorization']}\n")
        return None

    def talk(self, connection: ServerConnection) -> None:
        talk = Talk(connection, self._faults.pop(0) if self._faults else "", self._answer)
        self.talks.append(talk)
        with contextlib.suppress(ConnectionClosed, OSError):
            talk.hold()


@contextlib.contextmanager
def realtime_peer(faults: Sequence[str] = (), answer: float = 0.5) -> Iterator[tuple[Peer, str]]:
    """A running peer and its address."""
    peer = Peer(faults, answer)
    with serve(peer.talk, "127.0.0.1", 0, process_request=peer.gate, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield peer, f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join(5)
