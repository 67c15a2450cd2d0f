"""One WebSocket from the first byte to the last: origin, token, waiting line, packets, and how it is refused.

Every refusal is one `Refused` message (or a plain 403 before the handshake), one line in the log, and the end of this
connection only. A connection that is silent for a few seconds is dead: the talk waits for the next one.
"""

import asyncio
import logging
import time
from collections import deque

from fastapi import WebSocket, WebSocketDisconnect

from app.live.events import Marked
from app.live.server import Invitation, Live
from app.live.talk import Ending, Talk
from app.live.tokens import Pass
from app.live.wire import (
    End,
    Hello,
    Malformed,
    Mark,
    Moved,
    Noted,
    Over,
    Ping,
    Pong,
    Ready,
    Refused,
    Told,
    Waiting,
    read_packet,
    read_said,
    to_text,
)  # fmt: skip
from protocols.errors import DuologueError, InputError, StoreError

log = logging.getLogger("duologue.live")

BURST, PER_SECOND = 3_000.0, 120.0  # messages: a page that was away for a minute, and one that talks
SLOWEST = 200  # unsent messages: the page does not read
POLICY = 1008  # close code of a refused handshake


class Gone(Exception):
    """The page is no longer there."""


class Connection:
    """What the rest of the server sees of a socket."""

    def __init__(self, socket: WebSocket, silence: float) -> None:
        self._socket, self._silence = socket, silence
        self._unsent: deque[bytes | str] = deque()
        self._wake = asyncio.Event()
        self._closing = self._stuck = False
        self._allowed, self._refilled = BURST, time.monotonic()
        self._heard_at = time.monotonic()
        self._sender = asyncio.create_task(self._drain())

    # --- out ---

    def send(self, data: bytes | str) -> None:
        if len(self._unsent) < SLOWEST:
            self._unsent.append(data)
        else:
            self._stuck = True
        self._wake.set()

    def tell(self, message: Told) -> None:
        self.send(to_text(message))

    def hang_up(self, ending: Ending | None) -> None:
        """Send what is unsent, say how the talk ended, and close."""
        if ending is not None:
            self.tell(Over(ending.outcome, ending.reason))
        self._closing = True
        self._wake.set()

    def wait_at(self, position: int) -> None:
        self.tell(Waiting(position))

    def move_away(self) -> None:
        """Another tab goes on with the talk."""
        self.tell(Moved())
        self.hang_up(None)

    async def _drain(self) -> None:
        try:
            while not self._closing or self._unsent:
                while self._unsent:
                    data = self._unsent.popleft()
                    await (self._socket.send_bytes(data) if isinstance(data, bytes) else self._socket.send_text(data))
                if self._closing:
                    break
                self._wake.clear()
                if time.monotonic() - self._heard_at > self._silence:
                    break
                try:
                    async with asyncio.timeout(self._silence):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            await self._socket.close()
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # the page went first

    # --- in ---

    async def receive(self) -> bytes | str:
        """The next message. Gone if there is none, Malformed if there are too many."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise Gone
        if self._stuck:
            raise Malformed("the page does not read")
        now = time.monotonic()
        self._heard_at = now
        self._allowed = min(BURST, self._allowed + (now - self._refilled) * PER_SECOND) - 1
        self._refilled = now
        if self._allowed < 0:
            raise Malformed("too many messages")
        data: bytes | None = message.get("bytes")
        return data if data is not None else str(message.get("text") or "")

    async def finished(self) -> None:
        """Wait until everything is sent and the socket is closed."""
        self.hang_up(None)
        if self._stuck:
            self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)


async def serve(live: Live, socket: WebSocket) -> None:
    """Hold one connection."""
    address = socket.client.host if socket.client else ""
    why = _refusal(live, socket, address)
    if why is not None:
        log.warning("refused a connection from %s: %s", address, why)
        await socket.close(POLICY)
        return
    live.addresses[address] += 1
    await socket.accept()
    connection = Connection(socket, live.options.silence)
    try:
        await _hold(live, connection)
    except InputError as error:
        log.warning("refused a connection from %s: %s", address, error)
        connection.tell(Refused(str(error)))
    except DuologueError as error:
        log.error("a connection from %s failed: %s", address, error)
        connection.tell(Refused("the talk could not be recorded; please tell the researcher"))
    except Gone:
        pass
    finally:
        live.addresses[address] -= 1
        if not live.addresses[address]:
            del live.addresses[address]
        await connection.finished()


def _refusal(live: Live, socket: WebSocket, address: str) -> str | None:
    """Why a handshake is refused: a page of another site, or too many connections."""
    origin = socket.headers.get("origin", "")
    if not live.is_ours(origin, socket.headers.get("host", "")):
        return f"its origin is {origin[:100]!r}"
    if live.addresses[address] >= live.options.per_address:
        return "too many connections from its address"
    return None


async def _hold(live: Live, connection: Connection) -> None:
    hello = await _hello(connection)
    right = live.signer.read(hello.token)
    found = live.find(right)
    if isinstance(found, Over):
        connection.hang_up(Ending(found.outcome, found.reason))
        return
    number = hello.number
    if isinstance(found, Invitation):
        live.signer.refuse_old(hello.token)
        talk = await _admitted(live, found, hello, connection)
        number = 0
    else:
        talk = found
        if (hello.rate, hello.packet) != (talk.rate, talk.packet):
            raise Malformed("a page that goes on at another rate")
    if talk.line is not None:
        talk.line.move_away()  # another tab, or a socket that is dead and nobody has told us
    position = talk.position
    talk.attach(connection, number, time.perf_counter())
    token = live.signer.sign(Pass(right.talk, right.connection + 1))
    connection.tell(Ready(talk.expected, position, token, talk.left))
    try:
        await _packets(talk, right, connection)
    finally:
        if talk.line is connection:
            live.lost(talk)
            talk.detach()


async def _hello(connection: Connection) -> Hello:
    message = await connection.receive()
    said = read_said(message) if isinstance(message, str) else None
    if not isinstance(said, Hello):
        raise Malformed("the first message is not a hello")
    return said


async def _admitted(live: Live, invitation: Invitation, hello: Hello, connection: Connection) -> Talk:
    """Wait in line, then begin the talk. Leaving the line is part of every way out."""
    place = live.enter(invitation, connection)
    try:
        while not place.admitted.is_set():
            await _pinged(connection, place.admitted)
        if place.owner is not connection:
            raise Gone
        talk = await live.begin(invitation, hello)
        if place.owner is not connection:  # another tab came while the talk was begun
            raise Gone
        return talk
    except BaseException:
        if place.owner is connection:
            live.leave(invitation)
        raise


async def _pinged(connection: Connection, admitted: asyncio.Event) -> None:
    """Answer one ping, or return when the visitor is admitted."""
    heard = asyncio.ensure_future(connection.receive())
    turn = asyncio.ensure_future(admitted.wait())
    try:
        await asyncio.wait({heard, turn}, return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            _answer(heard.result(), connection)
    finally:
        turn.cancel()
        heard.cancel()


def _answer(message: bytes | str, connection: Connection) -> None:
    said = read_said(message) if isinstance(message, str) else None
    if not isinstance(said, Ping):
        raise Malformed("only pings are expected while waiting")
    connection.tell(Pong(said.at))


async def _packets(talk: Talk, right: Pass, connection: Connection) -> None:
    """Everything the page says during the talk."""
    while True:
        message = await connection.receive()
        if talk.ended is not None or talk.line is not connection:
            return
        try:
            if isinstance(message, bytes):
                talk.hear(read_packet(message, talk.packet), time.perf_counter())
                talk.connection = right.connection + 1  # the token is spent
            else:
                _hear_word(talk, message, connection)
        except StoreError as error:
            log.error("a talk is void: %s", error)
            talk.end("voided", "the recording could not be written")


def _hear_word(talk: Talk, message: str, connection: Connection) -> None:
    said = read_said(message)
    if isinstance(said, Ping):
        connection.tell(Pong(said.at))
    elif isinstance(said, Mark):
        if said.kind not in talk.rules.kinds:
            raise Malformed(f"a mark of a kind this talk has not: {said.kind!r}")
        talk.mark(Marked(said.sample, said.kind))
        connection.tell(Noted(said.sample, said.kind))
    elif isinstance(said, End):
        talk.end("done", "ended by the person")
    else:
        raise Malformed("a second hello")
