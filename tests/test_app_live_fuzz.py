"""No message breaks the server: what a page would send, damaged in every way, beside a neighbour who talks on.

The app is driven without a network, so that many messages can be tried; DUOLOGUE_FUZZ says how many.
"""

import asyncio
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")

from app.live import wire
from app.live.page import live_app
from app.live.robot import Robot
from app.live.server import Live, Options
from app.live.talk import Rules
from live_house import House, Slow, serving

pytestmark = [pytest.mark.needs("live"), pytest.mark.real_time]

MESSAGES = int(os.environ.get("DUOLOGUE_FUZZ", "3000"))
RULES = Rules(lag=30.0, away=30.0, kinds=("nice",))


def damaged(rng: np.random.Generator, token: str) -> bytes | str:
    """A message of a page with a few bits, letters or ends changed; sometimes none."""
    silence = np.zeros(480, np.int16)
    sound = wire.pack_packet(wire.Packet(int(rng.integers(0, 200)), 0, 0, 0, silence, silence))
    words: list[wire.Said] = [wire.Ping(1.0), wire.Mark(5, "nice"), wire.Hello(token, 24_000, 480), wire.End()]
    text = wire.to_text(words[rng.choice(4, p=[0.4, 0.3, 0.28, 0.02])])
    data = bytearray(sound if rng.random() < 0.4 else text.encode())
    for _ in range(rng.integers(0, 4)):
        way, at = rng.integers(0, 5), int(rng.integers(0, len(data) + 1))
        if way == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif way == 1:
            del data[at:]
        elif way == 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 40)))
        elif way == 3:
            data[at : at + 9] = rng.choice([b"null", b"1e999", b'"\\u0000"', b"[[[[", b"{}", b"-1", b"NaN"]).item()
        else:
            data += data[at:]
    return bytes(data) if rng.random() < 0.5 else data.decode("utf-8", "replace")


class Page:
    """One connection to the app, from the hello to the first refusal."""

    def __init__(self, token: str, messages: Iterator[bytes | str]) -> None:
        self.token, self.sent = token, 0
        self.told: list[wire.Told] = []
        self._messages, self._over = messages, asyncio.Event()
        self._state = "new"

    async def receive(self) -> dict[str, Any]:
        if self._state == "new":
            self._state = "open"
            return {"type": "websocket.connect"}
        if self._state == "open":
            self._state = "greeted"
            return self._message(wire.to_text(wire.Hello(self.token, 24_000, 480, None)))
        message = None if self._over.is_set() else next(self._messages, None)
        if message is None:
            return {"type": "websocket.disconnect", "code": 1000}
        self.sent += 1
        await asyncio.sleep(0)  # let the server answer
        return self._message(message)

    async def send(self, message: dict[str, Any]) -> None:
        if isinstance(message.get("text"), str):
            told = wire.read_told(message["text"])
            self.told.append(told)
            if isinstance(told, wire.Ready):
                self.token = told.token
        if message["type"] == "websocket.close":
            self._over.set()

    @staticmethod
    def _message(data: bytes | str) -> dict[str, Any]:
        return {"type": "websocket.receive", "bytes" if isinstance(data, bytes) else "text": data}


SCOPE = {
    "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "path": "/live/ws",
    "raw_path": b"/live/ws", "root_path": "", "query_string": b"", "subprotocols": [], "client": ("127.0.0.9", 1),
    "server": ("here", 80), "headers": [(b"host", b"here"), (b"origin", b"http://here")],
}  # fmt: skip


async def storm(live: Live, app: Any, messages: int) -> list[wire.Told]:
    """Send that many damaged messages, each connection until it is refused; the last words of every connection."""
    rng = np.random.default_rng(0)
    token, last, sent = live.invite("a"), [], 0
    while sent < messages:
        page = Page(token, (damaged(rng, token) for _ in range(50)))
        await app(dict(SCOPE), page.receive, page.send)
        sent, token = sent + page.sent, page.token
        last.append(page.told[-1])
        if isinstance(page.told[-1], wire.Over):
            token = live.invite("a")
    return last


@pytest.mark.timeout(60 + MESSAGES // 50)
def test_damaged_messages_end_their_connection_and_disturb_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live(tmp_path, {"a": Slow()}, Options(rules=RULES))
    app = live_app(live)
    with serving(live, app) as house, caplog.at_level(logging.INFO):
        neighbour, last = visits(house, app)
    assert isinstance(neighbour.over, wire.Over)
    assert neighbour.over.outcome == "done"
    refused = [told for told in last if isinstance(told, wire.Refused)]
    assert len(refused) > MESSAGES / 20
    for reason in ("a packet of", "not a message", "a second hello"):
        assert any(reason in told.reason for told in refused), reason
    logged = Counter(str(r.args[1]) for r in caplog.records if r.name == "duologue.live" and len(r.args or ()) == 2)  # type: ignore[index]
    assert Counter(told.reason for told in refused) <= logged
    assert [r for r in caplog.records if r.levelno > logging.WARNING] == []


def visits(house: House, app: Any) -> tuple[Any, list[wire.Told]]:
    """The storm on the server's own loop, and a neighbour over a real socket meanwhile."""
    storming = asyncio.run_coroutine_threadsafe(storm(house.live, app, MESSAGES), house.loop)
    mic = np.random.default_rng(1).integers(-9_000, 9_000, 24_000).astype(np.int16)
    neighbour = asyncio.run(Robot(house.ws, house.invite("a", lag=30.0)).talk(mic, 1.0))
    return neighbour, storming.result()


def test_every_refusal_can_be_read_by_a_page() -> None:
    for told in (wire.Refused("why"), wire.Over("voided", "x"), wire.Moved(), wire.Noted(1, "nice")):
        assert wire.read_told(wire.to_text(told)) == told
        assert json.loads(wire.to_text(told))["type"] == type(told).__name__.lower()
