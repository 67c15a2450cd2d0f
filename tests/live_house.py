"""A real server of live talks on loopback, for tests."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from protocols.duplex import FRAME_SIZE, Audio, Step, SystemInfo


class Slow:
    """Repeats the user; takes `seconds(k)` for step k."""

    def __init__(self, seconds: Callable[[int], float] = lambda k: 0.0, slots: int = 64) -> None:
        self.info = SystemInfo("slow", "1", slots=slots)
        self._seconds = seconds

    def open(self, seed: int, sample_id: str | None = None) -> "SlowSession":
        return SlowSession(self._seconds)

    def close(self) -> None:
        pass


class SlowSession:
    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds, self._k = seconds, 0

    def step(self, frame: Audio) -> Step:
        time.sleep(self._seconds(self._k))
        self._k += 1
        return Step(frame.copy())

    def close(self) -> None:
        pass


class Singer:
    """Says its own noise whatever it hears: every frame is different, so a shift can be read off exactly."""

    def __init__(self, slots: int = 64) -> None:
        self.info = SystemInfo("singer", "1", slots=slots)

    def open(self, seed: int, sample_id: str | None = None) -> "SingerSession":
        return SingerSession(seed)

    def close(self) -> None:
        pass


class SingerSession:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def step(self, frame: Audio) -> Step:
        return Step(self._rng.uniform(-0.3, 0.3, FRAME_SIZE).astype(np.float32))

    def close(self) -> None:
        pass


class House:
    """Where a running server is."""

    def __init__(self, live: Any, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.live, self.port, self.loop = live, port, loop
        self.ws = f"ws://127.0.0.1:{port}/live/ws"
        self.page = f"http://127.0.0.1:{port}/"

    def invite(self, arm: str = "a", talk: str | None = None, **rules: Any) -> str:
        from app.live.talk import Rules

        async def invite() -> str:
            return str(self.live.invite(arm, Rules(**rules), talk))

        return asyncio.run_coroutine_threadsafe(invite(), self.loop).result()

    def cut(self, token: str) -> None:
        """Close the socket of a talk in progress."""
        line = self.live._talks[self.live.talk_of(token)].line
        self.loop.call_soon_threadsafe(line.hang_up, None)

    def settled(self) -> None:
        """Wait until no talk is being closed."""
        while self.live._closing:
            time.sleep(0.02)

    def folder(self, token: str) -> Path:
        """The talk's folder, once it is closed."""
        from app.live.folder import read_talk

        path = Path(self.live.root) / self.live.talk_of(token)
        while read_talk(path).status == "live":
            time.sleep(0.02)
        return path


@contextmanager
def serving(live: Any, app: Any) -> Iterator[House]:
    """uvicorn on a free port, in a thread."""
    import uvicorn

    from app.live.serve import uvicorn_options

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, **{**uvicorn_options(), "timeout_graceful_shutdown": 1}, log_level="warning")
    )
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield House(live, listener.getsockname()[1], loops[0])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
