"""A page without a browser: speaks the call's protocol for load tests and for tests of the server.

It keeps the page's clock on an absolute schedule, plays through a queue with a prebuffer as the page does (without
trimming), and notes when every agent frame arrived. It answers for nothing that only a browser can show.
"""

import asyncio
import time
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import websockets

from app.live.wire import (
    AgentFrame,
    End,
    Hello,
    Mark,
    Moved,
    Noted,
    Over,
    Packet,
    Pcm,
    Ping,
    Ready,
    Refused,
    Told,
    Waiting,
    pack_packet,
    read_frame,
    read_told,
    to_text,
)  # fmt: skip
from protocols.duplex import SAMPLE_RATE

PREBUFFER = 0.06  # seconds


class Spoken(NamedTuple):
    """What a robot saw of its talk."""

    over: Over | Refused | Moved | None  # None: it left before the end
    mic: Pcm  # what it sent, [n]
    heard: Pcm  # what it played beside it, [n]
    arrivals: tuple[tuple[int, float], ...]  # agent frame number, seconds on the robot's clock
    positions: tuple[int, ...]  # highest place in the waiting line first
    missed: int
    token: str  # for the next connection
    packets: int


class Loudspeaker:
    """The page's queue: plays from `prebuffer` samples after the first frame on; silence where nothing has arrived."""

    def __init__(self, prebuffer: int) -> None:
        self.prebuffer = prebuffer
        self.position = self.missed = 0
        self._queue = np.zeros(0, np.int16)
        self._countdown: int | None = None

    def arrive(self, frame: AgentFrame) -> None:
        if not len(self._queue):
            self.position = frame.position
            self._countdown = self.prebuffer if self._countdown is None else self._countdown
        self._queue = np.concatenate([self._queue, frame.audio])

    def play(self, n: int) -> Pcm:
        """The next n samples."""
        out = np.zeros(n, np.int16)
        if self._countdown is None:
            self.missed += n if self.position else 0
            return out
        silent = min(self._countdown, n)
        self._countdown -= silent
        playing = self._queue[: n - silent]
        out[silent : silent + len(playing)] = playing
        self._queue = self._queue[len(playing) :]
        self.position += len(playing)
        self.missed += n - silent - len(playing)
        if silent + len(playing) < n:
            self._countdown = None
        return out


class Robot:
    """One visitor. `talk` may be called again to go on after it left."""

    def __init__(self, url: str, token: str, packet: float = 0.02, rate: int = SAMPLE_RATE, keep: bool = True) -> None:
        """keep: its own sound, for comparison and for sending again. Like a page that was just loaded, a new robot
        begins where the server says."""
        self.url, self.token, self.rate = url, token, rate
        self.packet = round(packet * rate)
        self._keep = keep
        self.speaker = Loudspeaker(round(PREBUFFER * rate))
        self.number = 0
        self._mic: list[Pcm] = []
        self._heard: list[Pcm] = []
        self._arrivals: list[tuple[int, float]] = []
        self._positions: list[int] = []
        self._over: Over | Refused | Moved | None = None
        self._start: float | None = None  # of the clock that shows packet 0
        self._first = 0  # packet it made
        self.marks: dict[int, str] = {}  # kinds by the packet during which they are marked
        self.noted: list[Noted] = []
        self._kept: list[bytes] = []

    @property
    def origin(self) -> str:
        return self.url.replace("ws", "http", 1).rsplit("/live", 1)[0]

    async def talk(self, mic: Pcm, seconds: float, end: bool = True) -> Spoken:
        """Say `mic` from the first packet on (then silence) until the page's clock shows `seconds` or the talk is
        over. end: end the talk then; else only leave."""
        async with websockets.connect(self.url, origin=self.origin, compression=None) as socket:  # type: ignore[arg-type]
            hello = Hello(self.token, self.rate, self.packet, None if self._start is None else self._now())
            await socket.send(to_text(hello))
            if (ready := await self._ready(socket)) is not None:
                self.token = ready.token
                listening = asyncio.create_task(self._listen(socket))
                await self._speak(socket, mic, seconds, ready)
                if end and self._over is None:
                    with suppress(websockets.ConnectionClosed):  # the talk was over before it could be ended
                        await socket.send(to_text(End()))
                    await listening
                listening.cancel()
        return self.spoken()

    def spoken(self) -> Spoken:
        mic, heard = (np.concatenate(parts or [np.zeros(0, np.int16)]) for parts in (self._mic, self._heard))
        return Spoken(
            self._over, mic, heard, tuple(self._arrivals), tuple(self._positions), self.speaker.missed, self.token,
            self.number,
        )  # fmt: skip

    def _now(self) -> int:
        """The packet the page's clock is at: it runs on while there is no connection."""
        assert self._start is not None
        return max(self.number, int((time.perf_counter() - self._start) * self.rate / self.packet))

    async def _ready(self, socket: websockets.ClientConnection) -> Ready | None:
        while True:
            told = await self._told(socket)
            if isinstance(told, Ready):
                return told
            if isinstance(told, Waiting):
                self._positions.append(told.position)
                await socket.send(to_text(Ping(0.0)))
            if isinstance(told, Over | Refused | Moved):
                self._over = told
                return None

    async def _told(self, socket: websockets.ClientConnection) -> Told | None:
        message = await socket.recv()
        return read_told(message) if isinstance(message, str) else None

    async def _speak(self, socket: websockets.ClientConnection, mic: Pcm, seconds: float, ready: Ready) -> None:
        if self._start is None:
            self.number = self._first = ready.expects
            self.speaker.position = ready.position
            self._start = time.perf_counter() - self.number * self.packet / self.rate
        for data in self._kept[ready.expects - self._first :]:
            await socket.send(data)
        while self.number * self.packet < seconds * self.rate and self._over is None:
            due = self._start + (self.number + 1) * self.packet / self.rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            data = self._record(mic)
            try:
                await socket.send(data)
                if (kind := self.marks.get(self.number - 1)) is not None:
                    await socket.send(to_text(Mark((self.number - 1) * self.packet, kind)))
            except websockets.ConnectionClosed:
                return

    def _record(self, mic: Pcm) -> bytes:
        """The next packet of the page's clock."""
        said = np.zeros(self.packet, np.int16)
        part = mic[self.number * self.packet : (self.number + 1) * self.packet]
        said[: len(part)] = part
        heard = self.speaker.play(self.packet)
        data = pack_packet(Packet(self.number, self.speaker.position, 0, self.speaker.missed, said, heard))
        if self._keep:
            self._mic.append(said)
            self._heard.append(heard)
            self._kept.append(data)
        self.number += 1
        return data

    async def _listen(self, socket: websockets.ClientConnection) -> None:
        try:
            async for message in socket:
                if isinstance(message, bytes):
                    frame = read_frame(message)
                    self._arrivals.append((frame.number, time.perf_counter()))
                    self.speaker.arrive(frame)
                elif isinstance(told := read_told(message), Over | Refused | Moved):
                    self._over = told
                    return
                elif isinstance(told, Noted):
                    self.noted.append(told)
        except websockets.ConnectionClosed:
            return
