"""`moshi-server:ws://HOST:PORT`: a server that speaks Kyutai's protocol: Moshi's own (Python, Rust, MLX) and its kin.

Binary WebSocket messages, the first byte is the kind: 0 handshake, 1 Ogg-Opus audio at 24 kHz (both ways), 2 text,
3 control, 4 metadata, 5 error, 6 ping; other kinds are to be ignored. Such a server holds one talk at a time and has
the next one wait for its handshake, so `open` queues: first among the sessions of this process, then at the server.

A server that streams its silence too would be late for ever after one hiccup, if all it sends were heard one after
the other. So silence that would have to wait is left out, as a player that catches up does; sound
never is.

The one non-obvious decision: a text piece has no time of its own. The server sends it right after the audio of the
frame it belongs to, so it is dated by the end of what has been placed by then. The server answers every frame with a
frame; one that falls `BEHIND` seconds behind has stalled or is slower than speech, and the talk fails. Seeds and
decoding are the server's own; parameters in its address (`?text_temperature=0.7`) lie in the system's name.
"""

import logging
import os
import threading
import time
from collections import defaultdict, deque
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from model.systems.paced import PacedSession
from protocols.duplex import FRAME, SAMPLE_RATE, Audio, SystemInfo, TextPiece
from protocols.errors import InputError, PeerFailed, SystemUnreachable

HANDSHAKE, AUDIO, TEXT, CONTROL, METADATA, ERROR, PING = range(7)
PATH = "/api/chat"
TOKEN = "DUOLOGUE_SERVER_TOKEN"  # the environment variable with a bearer token, for servers behind a door
BEHIND = 3.0  # seconds
AHEAD = 10.0  # seconds
CATCH_UP = 0.02  # seconds that silence may wait to be heard
QUIET = 0.003  # RMS of audio that is silence
LONGEST_MESSAGE = 1 << 20  # bytes

_queues: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # one talk at a time for each server
_quiet = logging.getLogger("duologue.wire")  # a WebSocket library's debug log would hold the headers
_quiet.setLevel(logging.CRITICAL)


class Patience(NamedTuple):
    """How many seconds a server may take."""

    connect: float = 10.0
    queue: float = 600.0  # until a talk of this process with the same server is over
    handshake: float = 60.0  # somebody else may be talking to it
    behind: float = BEHIND


PATIENCE = Patience()


class MoshiServerSystem:
    """A server by its address. Nothing is connected until a talk opens."""

    def __init__(self, address: str, patience: Patience = PATIENCE) -> None:
        try:
            import sphn  # noqa: F401
            import websockets  # noqa: F401
        except ImportError as error:
            raise InputError(f"moshi-server needs {error.name}; pip install -e '.[moshi-server]'") from error
        try:
            parts = urlsplit(address)
            _ = parts.port
        except ValueError as error:
            raise InputError(f"{address} is no address: {error}") from error
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise InputError(f"{address} is no WebSocket address; write moshi-server:ws://HOST:PORT")
        self._address = (parts if parts.path not in ("", "/") else parts._replace(path=PATH)).geturl()
        self._patience = patience
        self.info = SystemInfo(f"moshi-server:{address}", "protocol 0", real_time_only=True)

    def open(self, seed: int, sample_id: str | None = None) -> "MoshiServerSession":
        """Wait for the server's handshake. SystemUnreachable if nobody is there, PeerFailed if nobody shakes hands."""
        turn = _queues[self._address]
        if not turn.acquire(timeout=self._patience.queue):
            raise PeerFailed(f"{self._address} was busy with another talk of ours for {self._patience.queue:g} s")
        try:
            connection = _connect(self._address, self._patience.connect)
            try:
                _shake_hands(connection, self._address, self._patience.handshake)
            except BaseException:
                connection.close()
                raise
            session = MoshiServerSession(self.info, self._address, connection, turn, self._patience.behind)
        except BaseException:
            turn.release()
            raise
        session.begin()
        return session

    def close(self) -> None:
        pass


class MoshiServerSession(PacedSession):
    """One talk; gives its turn back when it is closed."""

    def __init__(self, info: SystemInfo, address: str, connection: Any, turn: threading.Lock, behind: float) -> None:
        import sphn

        super().__init__(info, address)
        self._connection, self._turn, self._behind = connection, turn, behind
        self._writer, self._reader = sphn.OpusStreamWriter(SAMPLE_RATE), sphn.OpusStreamReader(SAMPLE_RATE)
        self._received = 0  # samples
        self._pieces: deque[TextPiece] = deque()

    def _encode(self, frame: Audio) -> bytes:
        opus: bytes = self._writer.append_pcm(frame)
        return bytes([AUDIO]) + opus if opus else b""

    def _send(self, data: bytes) -> None:
        self._connection.send(data)

    def _receive(self) -> None:
        kind, payload = _message(self._connection.recv(), self._peer)
        if kind == AUDIO:
            self._hear(payload)
        elif kind == TEXT:
            # dated by the frame of audio that came just before it
            end = max(self._playout.end, self._clock.now())
            self._pieces.append(TextPiece(_utf8(payload, self._peer), end - FRAME, end))
        elif kind == ERROR:
            raise self._failed(f"said: {_utf8(payload, self._peer)}")

    def _hear(self, opus: bytes) -> None:
        try:
            audio = self._reader.append_bytes(opus)
        except Exception as error:
            raise self._failed(f"sent audio that is not Ogg-Opus: {error}") from error
        if not audio.size:
            return
        now = self._clock.now()
        self._received += len(audio)
        waits = self._playout.ahead(now)
        if waits <= CATCH_UP or float(np.sqrt(np.mean(audio**2))) > QUIET:
            self._playout.add(audio, now)
        if self._playout.ahead(now) > AHEAD:
            raise self._failed(f"sent more than {AHEAD:g} s of audio ahead of its time")

    def _check(self) -> None:
        behind = self._frames * self._info.frame - self._received / SAMPLE_RATE
        if behind > self._behind:
            raise self._failed(f"stalled or is slower than speech: it is {behind:.1f} s of audio behind")

    def _text(self, until: float) -> tuple[TextPiece, ...]:
        due = []
        while self._pieces and (self._pieces[0].start or 0.0) < until:
            due.append(self._pieces.popleft())
        return tuple(due)

    def _hang_up(self) -> None:
        try:
            self._connection.close()
        finally:
            self._turn.release()


def _connect(address: str, patience: float) -> Any:
    from websockets.exceptions import InvalidHandshake, InvalidURI
    from websockets.sync.client import connect

    token = os.environ.get(TOKEN)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return connect(
            address, additional_headers=headers, open_timeout=patience, close_timeout=1.0, compression=None,
            max_size=LONGEST_MESSAGE, logger=_quiet,
        )  # fmt: skip
    except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
        raise SystemUnreachable(f"no server takes talks at {address}: {error}; is it running?") from error
    except InvalidURI as error:
        raise InputError(f"{address} is no WebSocket address") from error


def _shake_hands(connection: Any, address: str, patience: float) -> None:
    """Wait for kind 0; what comes before it, but an error, is ignored."""
    from websockets.exceptions import ConnectionClosed

    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        try:
            kind, payload = _message(connection.recv(timeout=left), address)
        except TimeoutError:
            break
        except ConnectionClosed as error:
            raise PeerFailed(f"{address} cut the connection before its handshake ({error})") from error
        if kind == ERROR:
            raise PeerFailed(f"{address} said: {_utf8(payload, address)}")
        if kind == HANDSHAKE:
            if len(payload) >= 4 and (version := int.from_bytes(payload[:4], "little")):
                raise PeerFailed(f"{address} speaks version {version} of the protocol; only 0 is known")
            return
    raise PeerFailed(
        f"{address} did not shake hands within {patience:g} s: it is busy with another talk, or no such server"
    )


def _message(data: bytes | str, address: str) -> tuple[int, bytes]:
    """Kind and payload. The protocol has no text messages."""
    if isinstance(data, str):
        raise PeerFailed(f"{address} sent text where the protocol has bytes: {data[:60]!r}")
    return (data[0], data[1:]) if data else (PING, b"")


def _utf8(payload: bytes, address: str) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PeerFailed(f"{address} sent text that is not UTF-8: {payload[:30]!r}") from error
