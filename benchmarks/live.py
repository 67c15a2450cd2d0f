"""Many live talks at once: a generator without browsers that speaks the call's protocol over real sockets.

The server runs in a process of its own; the generator keeps every talk's clock on an absolute schedule. A frame's
lateness is how long after the earliest possible moment it arrived: the earliest moment of a talk is its best frame's,
and the following ones are due 80 ms apart. That is what a page's queue has to bridge. The reply time is from the last
packet of a user frame to the frame that answers it; it holds the wait for the batch and the step.

`python -m benchmarks.live SYSTEM TALKS SECONDS` measures one row; a row states how many talks were held to the end.
"""

import asyncio
import multiprocessing
import os
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.systems.simple import EchoSystem
from protocols.duplex import FRAME

COLUMNS = ["live talks", "held to the end", "frame lateness p50 / p99 / max", "frames over 80 ms", "server, cores"]
PACKET = 0.04


class Load(NamedTuple):
    """What a number of talks at once did."""

    talks: int
    held: int  # ended as they should, none voided
    late: np.ndarray  # seconds per frame of all talks
    cores: float  # processor seconds of the server per second


def _server(pipe: Connection, system: str, talks: int) -> None:
    """In its own process: serve until told to stop; then say how much processor time the talks took."""
    from app.live.page import live_app
    from app.live.serve import uvicorn_options
    from app.live.server import Live, Options
    from app.live.talk import Rules
    from app.serve import open_live

    async def run(root: str) -> None:
        import uvicorn

        options = Options(rules=Rules(lag=2.0), per_address=10_000)
        opened = open_live(system)
        if isinstance(opened, EchoSystem):  # it costs nothing, so it shows what the server itself can carry
            opened.info = opened.info._replace(slots=talks)
        live = Live(Path(root), {"a": opened}, options)
        server = uvicorn.Server(uvicorn.Config(live_app(live), port=0, log_level="error", **uvicorn_options()))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        pipe.send((port, [live.invite("a") for _ in range(talks)]))
        before = sum(os.times()[:2])  # what it took to get here is no cost of a talk
        await asyncio.to_thread(pipe.recv)
        pipe.send(sum(os.times()[:2]) - before)
        server.should_exit = True
        await serving

    with tempfile.TemporaryDirectory() as root:
        asyncio.run(run(root))


async def _talks(port: int, tokens: list[str], seconds: float) -> tuple[int, np.ndarray]:
    from app.live.robot import Robot
    from app.live.wire import Over

    rng = np.random.default_rng(0)
    mic = rng.integers(-3_000, 3_000, round(seconds * 24_000)).astype(np.int16)

    async def talk(token: str, start: float) -> tuple[bool, np.ndarray]:
        await asyncio.sleep(start)
        spoken = await Robot(f"ws://127.0.0.1:{port}/live/ws", token, PACKET, keep=False).talk(mic, seconds)
        held = isinstance(spoken.over, Over) and spoken.over.outcome == "done"
        if not spoken.arrivals:
            return held, np.zeros(0)
        numbers, moments = np.array(spoken.arrivals).T
        offsets = moments - numbers * FRAME
        return held, offsets - offsets.min()

    starts = rng.uniform(0.0, 2.0, len(tokens))
    found = await asyncio.gather(*(talk(*one) for one in zip(tokens, starts.tolist(), strict=True)))
    return sum(held for held, _ in found), np.concatenate([late for _, late in found])


def load(system: str, talks: int, seconds: float) -> Load:
    """Hold that many talks at once with a system."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_server, args=(theirs, system, talks))
    server.start()
    port, tokens = ours.recv()
    held, late = asyncio.run(_talks(port, tokens, seconds))
    ours.send("stop")
    spent = ours.recv()
    server.join()
    return Load(talks, held, late, spent / (seconds + 2.0))


def row(system: str, talks: int, seconds: float) -> list[str]:
    found = load(system, talks, seconds)
    p50, p99, most = (np.percentile(found.late, [50, 99, 100]) * 1e3).tolist() if len(found.late) else (0.0,) * 3
    return [
        f"{talks} with {system}, {seconds:g} s each",
        f"{found.held} of {talks}",
        f"{p50:.0f} / {p99:.0f} / {most:.0f} ms",
        f"{np.mean(found.late > FRAME):.2%}" if len(found.late) else "no frame arrived",
        f"{found.cores:.2f}",
    ]


def table() -> list[list[str]]:
    """The echo system here; the embedded model where it is shipped."""
    from app.systems import NAMED

    rows = [row("echo", 16, 20.0), row("echo", 200, 20.0)]
    return [*rows, row("tiny:base", 16, 20.0)] if (NAMED["base"] / "model.safetensors").exists() else rows


if __name__ == "__main__":
    print(COLUMNS)
    print(row(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
