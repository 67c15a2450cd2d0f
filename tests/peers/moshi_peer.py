"""A small server that speaks Kyutai's protocol: it answers 300 ms after the user's last sound, or fails as it is told.

Like a Moshi server it answers every frame with a frame. What it says in answer to frame k is heard in frame k + 1 at
the earliest, so it begins in the frame before the one that is due.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import sphn
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from builders import tone

RATE, SIZE = 24_000, 1_920
LOUD = 300 / 32_768
FAULT_AT = 5  # frames into a talk


class Answerer:
    """Hears and says frames; its answer begins `latency` after the last loud sample."""

    def __init__(self, latency: float = 0.3, babbles: bool = False) -> None:
        self._latency, self._babbles = round(latency * RATE), babbles
        self._answer = tone(0.5)
        self._now = 0  # samples heard
        self._last: int | None = None
        self._begins: int | None = None
        self.word_due = False

    def hear(self, frame: np.ndarray) -> np.ndarray:
        """What is said in the frame after `frame`, [SIZE]."""
        loud = np.flatnonzero(np.abs(frame) > LOUD)
        if loud.size:
            self._last = self._now + int(loud[-1]) + 1
        self._now += len(frame)
        if self._begins is None and self._last is not None and self._now - self._last > 0.13 * RATE:
            self._begins = self._last + self._latency
        out = np.zeros(SIZE, np.float32)
        if self._babbles:
            return tone(SIZE / RATE)
        self.word_due = False
        if self._begins is not None:
            low, high = max(self._begins, self._now), min(self._begins + len(self._answer), self._now + SIZE)
            if low < high:
                self.word_due = low == self._begins
                out[low - self._now : high - self._now] = self._answer[low - self._begins : high - self._begins]
        return out


class Peer:
    """`faults`: what goes wrong in the first talk, the second, ...; later ones go well."""

    def __init__(self, faults: Sequence[str] = ()) -> None:
        self._faults = list(faults)
        self._one = threading.Lock()  # such a server holds one talk at a time
        self.authorizations: list[str | None] = []
        self.paths: list[str] = []
        self.side_by_side = 0
        self._open = 0

    def talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.authorizations.append(connection.request.headers.get("Authorization"))
        self.paths.append(connection.request.path)
        fault = self._faults.pop(0) if self._faults else ""
        with self._one, contextlib.suppress(ConnectionClosed):
            self._hold(connection, fault)

    def _hold(self, connection: ServerConnection, fault: str) -> None:
        if fault == "no handshake":
            time.sleep(1.0)
            return
        connection.send(b"\x05full" if fault == "refuses" else b"\x04{}")
        connection.send(b"\x00" + (b"\x07\x00\x00\x00" if fault == "other version" else b"\x00" * 8))
        writer, reader = sphn.OpusStreamWriter(RATE), sphn.OpusStreamReader(RATE)
        answerer = Answerer(babbles=fault == "babbles")
        frames = 0
        while True:
            data = connection.recv()
            assert isinstance(data, bytes)
            pcm = reader.append_bytes(data[1:])
            for start in range(0, len(pcm) - SIZE + 1, SIZE):
                frames += 1
                if frames >= FAULT_AT and self._misbehave(connection, fault, writer, frames):
                    return
                if fault == "slow" and frames % 3:
                    continue
                said = answerer.hear(pcm[start : start + SIZE])
                connection.send(b"\x01" + writer.append_pcm(said))
                if answerer.word_due:
                    connection.send("\x02 hé".encode())
                    connection.send(b"\x02llo")
                connection.send(b"\x06")
                connection.send(b"\x07 a kind from the future")

    def _misbehave(self, connection: ServerConnection, fault: str, writer: sphn.OpusStreamWriter, frames: int) -> bool:
        """Whether the talk is over for the server."""
        if fault == "cuts":
            connection.close()
        elif fault == "dies":
            connection.socket.close()
        elif fault == "stalls":
            while True:
                connection.recv()
        elif fault == "floods":
            for pages in [writer.append_pcm(tone(SIZE / RATE)) for _ in range(150)]:
                connection.send(b"\x01" + pages)
        elif fault == "pings":
            for _ in range(5_000):
                connection.send(b"\x06")
        elif fault in GARBAGE:
            connection.send(GARBAGE[fault])
        else:
            if fault == "hiccups" and frames == FAULT_AT:
                time.sleep(0.5)
            return False
        time.sleep(0.1)
        return True


GARBAGE: dict[str, bytes | str] = {
    "no opus": b"\x01this is no sound at all, not even a header",
    "no utf-8": b"\x02\xff\xfe",
    "text": "hello",
    "error": b"\x05out of memory",
    "too long": b"\x01" + bytes(3 << 20),
}


@contextlib.contextmanager
def moshi_peer(faults: Sequence[str] = ()) -> Iterator[tuple[Peer, str]]:
    """A running peer and its address."""
    peer = Peer(faults)
    with serve(peer.talk, "127.0.0.1", 0, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield peer, f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(5)
