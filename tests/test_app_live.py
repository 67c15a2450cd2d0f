"""The server of live talks, spoken to over real sockets on loopback."""

import asyncio
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import click.testing
import itsdangerous
import msgspec
import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")

import websockets

from app.live import events, wire
from app.live.deliver import VIEWS, deliver, run_for
from app.live.folder import LiveTalk, TalkFolder, read_talk, recover
from app.live.page import live_app
from app.live.robot import Robot, Spoken
from app.live.server import Live, Options
from app.live.talk import Ending, Rules
from app.live.tokens import Pass, Signer, new_talk_id
from app.serve import serve
from builders import ROOT
from live_house import House, Singer, Slow, serving
from protocols.errors import InputError, StoreError
from protocols.records import Conversation
from protocols.store import Run

pytestmark = [pytest.mark.needs("live"), pytest.mark.real_time]

FRAME = 1_920
AWAY = 0.5  # seconds without a network


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Systems by arm: one that says noise, one that repeats, one with a single slot, two with a fault."""
    cold = iter([0.6])  # seconds of the very first step
    systems = {
        "singer": Singer(),
        "echo": Slow(),
        "one": Slow(slots=1),
        "stalls": Slow(lambda k: 0.4 if k == 8 else 0.0),
        "slow": Slow(lambda k: 0.095),
        "cold": Slow(lambda k: next(cold, 0.0)),
        "broken": Slow(broken_after(5)),
    }
    live = Live(tmp_path_factory.mktemp("talks"), systems, Options(silence=2.0, rules=Rules(lag=5.0)))
    with serving(live, live_app(live)) as house:
        yield house


def broken_after(steps: int) -> Callable[[int], float]:
    def wait(step: int) -> float:
        if step > steps:
            raise RuntimeError("tiny:secret is out of memory")
        return 0.0

    return wait


class Wire:
    """A network to a server: real TCP that can be cut in the middle and mended."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._open: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Wire":
        await self.mend(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    async def mend(self, port: int | None = None) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port if port is None else port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Both ends see their connection reset, and new ones are refused."""
        self._server.close()
        for end in self._open:
            end.transport.abort()
        self._open.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._open += [writer, back]
        await asyncio.gather(_carry(reader, back), _carry(there, writer))


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


def noise(seconds: float, seed: int = 0) -> wire.Pcm:
    return np.random.default_rng(seed).integers(-9_000, 9_000, round(seconds * 24_000)).astype(np.int16)


def hold(house: House, token: str, seconds: float, seed: int = 0, end: bool = True) -> Spoken:
    return asyncio.run(Robot(house.ws, token).talk(noise(seconds, seed), seconds, end))


def recorded(folder: Path, name: str) -> wire.Pcm:
    """A recording, int16 [2, n]: agent, user."""
    samples, _ = soundfile.read(folder / f"{name}.flac", dtype="int16")
    return np.ascontiguousarray(samples.T)


def logged(folder: Path, kind: type[msgspec.Struct]) -> list:  # type: ignore[type-arg]
    return [e for e in events.read_events((folder / "events.jsonl").read_bytes()) if isinstance(e, kind)]


def refusal(told: list[wire.Told]) -> str:
    [refused] = [t for t in told if not isinstance(t, wire.Ready)]
    assert isinstance(refused, wire.Refused)
    return refused.reason


def skipped(folder: Path) -> int:
    return sum(e.n for e in logged(folder, events.Skipped))


def opening(token: str) -> str:
    return wire.to_text(wire.Hello(token, 24_000, 480))


async def answers(house: House, *messages: str | bytes, origin: str | None = None) -> list[wire.Told]:
    """What the server says to these messages until it closes the socket, or for a second."""
    said: list[wire.Told] = []
    async with websockets.connect(house.ws, origin=origin or house.page[:-1]) as socket:  # type: ignore[arg-type]
        try:
            for message in messages:
                await socket.send(message)
            async with asyncio.timeout(1.0):
                async for answer in socket:
                    if isinstance(answer, str):
                        said.append(wire.read_told(answer))
        except (TimeoutError, websockets.ConnectionClosed):
            pass
    return said


# --- a talk --------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    spoken: Spoken
    folder: Path
    robot: Robot


@pytest.fixture(scope="module")
def held(house: House) -> dict[str, Held]:
    """Talks that do not disturb each other, held at the same time."""
    robots: dict[str, Robot] = {}
    talks: list[Coroutine[None, None, Spoken]] = []

    def plan(name: str, arm: str, seconds: float, rate: int = 24_000, **rules: float | tuple[str, ...]) -> Robot:
        robots[name] = Robot(house.ws, house.invite(arm, **rules), rate=rate)
        talks.append(robots[name].talk(noise(seconds), seconds))
        return robots[name]

    plan("sung", "singer", 1.2)
    plan("stalled", "stalls", 1.9)
    plan("slow", "slow", 9.0, lag=0.25, lag_for=0.1)
    plan("warm", "cold", 1.6)
    plan("broken", "broken", 9.0)
    plan("timed", "echo", 9.0, limit=0.5)
    plan("at 44100", "echo", 1.0, 44_100)
    plan("at 48000", "echo", 1.0, 48_000)
    plan("marked", "echo", 0.6, kinds=("too slow", "nice")).marks = {20: "nice", 3: "too slow"}
    tokens = {name: robot.token for name, robot in robots.items()}

    async def hold_all() -> list[Spoken]:
        return await asyncio.gather(*talks)

    spoken = asyncio.run(hold_all())
    return {name: Held(one, house.folder(tokens[name]), robots[name]) for name, one in zip(robots, spoken, strict=True)}


def test_the_recordings_are_what_was_said_and_heard_to_the_bit(held: dict[str, Held]) -> None:
    spoken, folder, _ = held["sung"]
    heard, modelled, offset = recorded(folder, "heard"), recorded(folder, "modelled"), skipped(folder)
    assert np.array_equal(heard, [spoken.heard, spoken.mic])
    n = modelled.shape[1]
    assert n >= 8 * FRAME
    assert np.array_equal(modelled[1], spoken.mic[offset : offset + n])  # the system's input is the microphone


def test_what_was_heard_is_what_was_said_after_one_constant_shift(held: dict[str, Held]) -> None:
    folder = held["sung"].folder
    heard, modelled = recorded(folder, "heard")[0], recorded(folder, "modelled")[0]
    shift = int(np.flatnonzero(heard)[0]) - FRAME  # frame 0 of the agent is silence
    played = heard[shift:]
    n = min(len(played), len(modelled))
    if not logged(folder, events.Missed):
        assert np.array_equal(played[:n], modelled[:n])
    lag = read_talk(folder).lag_p50
    assert lag is not None
    assert len(logged(folder, events.Missed)) or lag == pytest.approx((shift - skipped(folder)) / 24_000)


def test_every_step_and_the_ending_are_logged(held: dict[str, Held]) -> None:
    folder = held["sung"].folder
    steps = logged(folder, events.Stepped)
    assert [e.frame for e in steps] == list(range(recorded(folder, "modelled").shape[1] // FRAME))
    assert [e.reason for e in logged(folder, events.Ended)] == ["ended by the person"]
    assert read_talk(folder).status == "done"


def test_frames_are_taken_up_at_once_again_after_a_stall(held: dict[str, Held]) -> None:
    late = [e.late_ms for e in logged(held["stalled"].folder, events.Stepped)]
    assert max(late) > 250  # frames that were due during the 400 ms
    assert np.median(late[-6:]) < max(late) - 200


def test_the_slow_first_step_of_a_system_is_over_before_the_first_talk(held: dict[str, Held]) -> None:
    assert max(e.step_ms for e in logged(held["warm"].folder, events.Stepped)) < 600


def test_a_system_slower_than_real_time_voids_the_talk(held: dict[str, Held]) -> None:
    spoken, folder, _ = held["slow"]
    assert isinstance(spoken.over, wire.Over)
    assert spoken.over.outcome == "voided"
    assert "0.25 s are allowed" in spoken.over.reason
    assert read_talk(folder).status == "voided"


def test_a_page_is_not_told_what_broke_in_a_system_only_that_something_did(held: dict[str, Held]) -> None:
    spoken, folder, _ = held["broken"]
    assert spoken.over == wire.Over("voided", "the system failed")
    assert "tiny:secret" in read_talk(folder).detail


def test_a_talk_ends_when_its_time_is_up(held: dict[str, Held]) -> None:
    spoken, folder, _ = held["timed"]
    assert spoken.over == wire.Over("done", "the time is up")
    assert recorded(folder, "heard").shape[1] == 0.5 * 24_000


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_page_at_another_rate_is_recorded_on_its_own_clock(held: dict[str, Held], rate: int) -> None:
    spoken, folder, _ = held[f"at {rate}"]
    heard, seconds = recorded(folder, "heard"), read_talk(folder).modelled.duration  # type: ignore[union-attr]
    assert np.array_equal(heard, [spoken.heard, spoken.mic])
    assert seconds == pytest.approx(1.0, abs=0.5)


def test_a_marked_moment_is_kept_with_its_sample_and_noted(held: dict[str, Held]) -> None:
    _, folder, robot = held["marked"]
    marks = [events.Marked(3 * 480, "too slow"), events.Marked(20 * 480, "nice")]
    assert logged(folder, events.Marked) == marks
    assert read_talk(folder).marks == tuple(marks)
    assert robot.noted == [wire.Noted(m.sample, m.kind) for m in marks]


def test_a_mark_that_is_sent_again_counts_once(house: House) -> None:
    token = house.invite("echo", kinds=("nice",))
    mark = wire.to_text(wire.Mark(17, "nice"))
    told = asyncio.run(answers(house, opening(token), mark, mark, wire.to_text(wire.End())))
    assert told[1:3] == [wire.Noted(17, "nice")] * 2
    assert read_talk(house.folder(token)).marks == (events.Marked(17, "nice"),)


@pytest.mark.parametrize("mark", [wire.Mark(0, "boring"), wire.Mark(10**9, "nice")])
def test_a_mark_of_another_kind_or_of_the_future_is_refused(house: House, mark: wire.Mark) -> None:
    token = house.invite("echo", kinds=("nice",), away=0.1)
    assert refusal(asyncio.run(answers(house, opening(token), wire.to_text(mark)))).startswith("a mark")
    assert read_talk(house.folder(token)).marks == ()


def test_a_talk_that_is_done_becomes_a_conversation_of_a_run(held: dict[str, Held], tmp_path: Path) -> None:
    done, void = held["sung"].folder, held["slow"].folder
    for view in VIEWS:
        run = run_for(Singer(), tmp_path / view, view)
        assert deliver(void, run, view) is None
        made = deliver(done, run, view)
        assert made is not None
        assert deliver(done, run, view) is None  # once
        assert list(run.read(Conversation)) == [made]
        assert made.recording is not None
        assert made.lag == (read_talk(done).lag_p50 if view == "heard" else None)
        there = recorded(done, view)
        assert np.abs(run.read_audio(made.recording) * 32_768 - there).max() <= 1.001
        assert run.verify() == []
    with pytest.raises(StoreError, match="talks with singer"):
        run_for(Slow(), tmp_path / "heard", "heard")


def test_one_command_serves_a_talk_and_keeps_it_as_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = f"-m app.cli serve --system echo --port {port} --out {tmp_path}".split()
    server = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        invitation = _asked(f"http://127.0.0.1:{port}")
        robot = Robot(f"ws://127.0.0.1:{port}/live/ws", invitation["token"])
        spoken = asyncio.run(robot.talk(noise(0.6), 0.6))
        assert spoken.over is not None
        for view in ("heard", "modelled"):
            run = Run(tmp_path / view)
            _until(lambda run=run: len(list(run.read(Conversation))) == 1)  # type: ignore[misc]
    finally:
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=60)
    assert f"Talk at http://127.0.0.1:{port}/" in out


def _asked(origin: str) -> dict[str, str]:
    """A talk of one's own, once the server answers."""
    request = urllib.request.Request(f"{origin}/live/invitation", b"", {"Origin": origin})
    answer: list[dict[str, str]] = []

    def answers() -> bool:
        try:
            with urllib.request.urlopen(request) as response:
                answer.append(json.load(response))
        except urllib.error.URLError:
            return False
        return True

    _until(answers)
    return answer[0]


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1_200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def test_a_system_that_follows_a_script_is_not_served() -> None:
    result = click.testing.CliRunner().invoke(serve, ["--system", "scripted:good"])
    assert isinstance(result.exception, InputError)
    assert "answers nobody" in str(result.exception)


# --- waiting -------------------------------------------------------------------------------------------------------


def test_the_second_visitor_waits_until_the_first_has_gone(house: House) -> None:
    first, second, third = (house.invite("one") for _ in range(3))

    async def visits() -> list[Spoken]:
        one = asyncio.create_task(Robot(house.ws, first).talk(noise(0.6), 0.6))
        await asyncio.sleep(0.2)
        two = asyncio.create_task(Robot(house.ws, second).talk(noise(0.4), 0.4))
        await asyncio.sleep(0.1)
        return [await one, await Robot(house.ws, third).talk(noise(0.2), 0.2), await two]

    one, three, two = asyncio.run(visits())
    assert (one.positions, two.positions) == ((), (1,))
    assert three.positions[-1:] in {(1,), (2,), ()}
    assert all(isinstance(v.over, wire.Over) and v.over.outcome == "done" for v in (one, two, three))


def test_whoever_leaves_the_line_moves_the_others_up(house: House) -> None:
    async def visits() -> list[tuple[int, ...]]:
        first = asyncio.create_task(Robot(house.ws, house_tokens[0]).talk(noise(0.6), 0.6))
        await asyncio.sleep(0.2)
        leaver = asyncio.create_task(Robot(house.ws, house_tokens[1]).talk(noise(0.1), 0.1))
        await asyncio.sleep(0.1)
        last = asyncio.create_task(Robot(house.ws, house_tokens[2]).talk(noise(0.1), 0.1))
        await asyncio.sleep(0.1)
        leaver.cancel()
        await first
        return [(await last).positions]

    house_tokens = [house.invite("one") for _ in range(3)]
    assert asyncio.run(visits()) == [(2, 1)]


# --- faults --------------------------------------------------------------------------------------------------------


def test_a_cut_socket_goes_on_with_the_same_talk_and_loses_no_sound(house: House) -> None:
    token = house.invite("singer")

    async def visit() -> Spoken:
        robot = Robot(house.ws, token)
        await robot.talk(noise(3), 0.6, end=False)
        await asyncio.sleep(0.5)
        while robot.number < robot._now():  # the page's clock runs on while it is away
            robot._record(noise(3))
        return await robot.talk(noise(3), 1.9)

    spoken = asyncio.run(visit())
    folder = house.folder(token)
    heard, modelled = recorded(folder, "heard"), recorded(folder, "modelled")
    assert np.array_equal(heard[1], spoken.mic)
    assert len(logged(folder, events.Cut)) == len(logged(folder, events.Back)) == 1
    assert read_talk(folder).status == "done"
    away = [e for e in logged(folder, events.Skipped) if e.why == "recorded while away"]
    assert sum(e.n for e in away) >= 0.4 * 24_000
    given = np.ones(len(spoken.mic), bool)
    for skip in logged(folder, events.Skipped):
        given[skip.sample : skip.sample + skip.n] = False
    n = modelled.shape[1]
    assert n >= (given.sum() // FRAME - 2) * FRAME
    assert np.array_equal(modelled[1], spoken.mic[given][:n])  # what was skipped is known to the sample


def jumped(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the wall clock of whoever signs tokens and reads their age."""
    for module in ("itsdangerous.timed", "app.live.tokens"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(time=lambda: time.time() + seconds))


@pytest.mark.parametrize("seconds", [7_200, -7_200])
def test_a_network_that_is_gone_for_a_while_and_a_clock_that_jumps_end_no_talk(
    house: House, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    token = house.invite("singer")

    async def visit() -> Spoken:
        async with Wire(house.port) as wire_:
            robot = Robot(f"ws://127.0.0.1:{wire_.port}/live/ws", token)
            going = asyncio.create_task(robot.talk(noise(3), 60.0, end=False))
            while robot.number < 30:
                await asyncio.sleep(0.02)
            wire_.cut()
            await going
            with pytest.raises(OSError):  # noqa: PT011 (the network is down; how a machine says so differs)
                await robot.talk(noise(3), 60.0)
            jumped(monkeypatch, seconds)
            await asyncio.sleep(AWAY)
            while robot.number < robot._now():
                robot._record(noise(3))
            await wire_.mend()
            return await robot.talk(noise(3), robot.number / 50 + 0.4)

    spoken = asyncio.run(visit())
    monkeypatch.undo()
    folder = house.folder(token)
    assert (read_talk(folder).status, len(logged(folder, events.Back))) == ("done", 1)
    assert np.array_equal(recorded(folder, "heard")[1], spoken.mic)


def test_a_page_that_does_not_come_back_voids_its_talk(house: House) -> None:
    token = house.invite("echo", away=0.2)
    hold(house, token, 0.4, end=False)
    assert read_talk(house.folder(token)).reason == "the connection was lost"


def test_a_full_disk_voids_the_talk_and_says_so(house: House) -> None:
    token = house.invite("echo")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        spoken = hold(house, token, 3.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(spoken.over, wire.Over)
    assert spoken.over.outcome == "voided"
    house.settled()
    recover(house.live.root)  # what could not be closed on a full disk is closed at the next start
    assert read_talk(house.folder(token)).status == "voided"
    assert recorded(house.folder(token), "heard").shape[1] > 0


SERVER = """
import sys; from pathlib import Path
sys.path.insert(0, "tests")
from app.live.page import live_app
from app.live.server import Live
from protocols.errors import StoreError
from protocols.records import Conversation
from live_house import Slow, serving
live = Live(Path(sys.argv[1]), {"a": Slow()})
with serving(live, live_app(live)) as house:
    print(house.port, house.invite("a"), flush=True)
    sys.stdin.read()
"""


def test_a_talk_that_a_full_disk_kept_from_being_closed_is_closed_when_there_is_room(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.live.server.AGAIN", 0.05)
    token = house.invite("echo")
    hold(house, token, 0.6, end=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    talk = house.live.talk_of(token)
    try:
        house.loop.call_soon_threadsafe(house.live.void, talk, "a full disk")
        while "could not be closed" not in caplog.text:
            time.sleep(0.01)
        assert house.live.ended(talk) == Ending("voided", "a full disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    record = read_talk(house.folder(token))
    assert (record.status, record.reason, record.heard is not None) == ("voided", "a full disk", True)


def test_a_killed_server_loses_less_than_a_second_and_the_visitor_is_told(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert server.stdout is not None
    port, token = server.stdout.readline().split()
    robot = Robot(f"ws://127.0.0.1:{port}/live/ws", token)

    async def visit() -> None:
        talking = asyncio.create_task(robot.talk(noise(9), 9.0))
        await asyncio.sleep(1.5)
        server.send_signal(signal.SIGKILL)
        await asyncio.wait({talking}, timeout=0.1)
        talking.cancel()

    asyncio.run(visit())
    server.communicate()
    said = robot.spoken()
    live = Live(tmp_path, {"a": Slow()})
    [talk] = live.recovered
    assert (talk.status, talk.reason) == ("voided", "the server stopped during the talk")
    heard = recorded(tmp_path / talk.id, "heard")
    assert heard.shape[1] > len(said.mic) - 24_000
    assert np.array_equal(heard[1], said.mic[: heard.shape[1]])
    with serving(live, live_app(live)) as house:
        told = asyncio.run(answers(house, opening(said.token)))
    assert told == [wire.Over("voided", "the server stopped during the talk")]


def test_the_record_of_a_talk_is_recovered_once(tmp_path: Path) -> None:
    live = Live(tmp_path, {"a": Slow()})
    assert live.recovered == recover(tmp_path) == []


# --- abuse ---------------------------------------------------------------------------------------------------------


def test_forged_expired_and_unknown_tokens_open_nothing(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = house.invite("echo")
    signer, talk = house.live.signer, house.live.talk_of(token)
    with monkeypatch.context() as earlier:
        earlier.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda signer: int(time.time()) - 3_700)
        expired = signer.sign(Pass(talk, 0))
    foreign = Signer(b"another key")
    changed = token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:]
    tries = {
        "not one of ours": [foreign.sign(Pass("0" * 24, 0)), foreign.sign(Pass(talk, 0)), changed, "", "x" * 3_000],
        "expired": [expired],
        "no longer known": [signer.sign(Pass("0" * 24, 0)), signer.sign(Pass("../../etc", 0))],
    }
    with caplog.at_level(logging.WARNING, "duologue.live"):
        for reason, bad in tries.items():
            for one in bad:
                assert reason in refusal(asyncio.run(answers(house, opening(one))))
    assert len(caplog.records) == 8
    assert not (house.live.root / talk).exists()


@pytest.mark.parametrize("path", ["key", "../key", "..%2fkey", "%2e%2e/server.py", "..%5ckey", "%00", "call.js%00"])
def test_no_path_leads_out_of_the_files_of_the_call(house: House, path: str) -> None:
    with socket.create_connection(("127.0.0.1", house.port)) as line:  # clients tidy paths up
        line.sendall(f"GET /live/{path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(4_096), b""))
    assert answer.startswith(b"HTTP/1.1 404")


def test_the_echo_is_measured_for_our_own_page_alone(house: House) -> None:
    sound = noise(1.0)
    both = np.concatenate([sound, np.roll(sound, 1_200) // 4]).tobytes()

    def measured(data: bytes, origin: str) -> dict[str, float] | int:
        request = urllib.request.Request(f"{house.page}live/echo?rate=24000", data, {"Origin": origin})
        try:
            with urllib.request.urlopen(request) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as refused:
            return refused.code

    assert measured(both, house.page[:-1]) == {"level_db": pytest.approx(-12.0, abs=0.3), "delay": 0.05, "reason": None}
    assert measured(both, "https://elsewhere.example") == 403
    assert measured(both[:-2], house.page[:-1]) == 400
    assert measured(bytes(800_000), house.page[:-1]) == 413


def test_a_token_is_spent_by_the_first_sound(house: House) -> None:
    token = house.invite("echo")

    async def visits() -> tuple[list[wire.Told], list[wire.Told], Spoken]:
        first = asyncio.create_task(Robot(house.ws, token).talk(noise(0.9), 0.9))
        await asyncio.sleep(0.4)
        replayed = await answers(house, opening(token))
        spoken = await first
        return replayed, await answers(house, opening(token)), spoken

    during, after, spoken = asyncio.run(visits())
    assert "used before" in refusal(during)
    assert after == [spoken.over]  # a talk that is over only says so
    assert isinstance(spoken.over, wire.Over)


def test_a_second_tab_goes_on_with_the_talk_and_the_first_is_told(house: House) -> None:
    """What a reload does, too: the caller invites to the same talk again."""
    talk = new_talk_id()
    first, second = (Robot(house.ws, "") for _ in range(2))

    async def visits() -> tuple[Spoken, Spoken]:
        first.token = house.invite("singer", talk=talk)
        old = asyncio.create_task(first.talk(noise(9), 9.0))
        await asyncio.sleep(0.6)
        second.token = house.invite("singer", talk=talk)
        return await second.talk(noise(9, seed=1), 1.5), await old

    new, old = asyncio.run(visits())
    assert old.over == wire.Moved()
    assert new.over == wire.Over("done", "ended by the person")
    folder = house.folder(new.token)
    heard, modelled = recorded(folder, "heard"), recorded(folder, "modelled")
    gap = sum(e.n for e in logged(folder, events.Gap))
    n_old, n_new = heard.shape[1] - len(new.mic) - gap, len(new.mic)
    assert np.array_equal(heard[1, :n_old], old.mic[:n_old])
    assert not heard[:, n_old : n_old + gap].any()
    assert np.array_equal(heard[1, -n_new:], new.mic)
    given = np.ones(heard.shape[1], bool)
    for skip in logged(folder, events.Skipped):
        given[skip.sample : skip.sample + skip.n] = False
    assert np.array_equal(modelled[1], heard[1, given][: modelled.shape[1]])
    assert read_talk(folder).lag_max < 1.0  # type: ignore[operator]  # the new page's counts begin where the talk is


def test_a_second_tab_that_comes_while_the_talk_is_begun_gets_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, wait = threading.Event(), threading.Event()

    def slow_disk(path: Path, talk: LiveTalk) -> TalkFolder:
        begun.set()
        assert wait.wait(30)
        return TalkFolder(path, talk)

    monkeypatch.setattr("app.live.server.TalkFolder", slow_disk)
    token = house.invite("echo")

    async def visit() -> tuple[Spoken, Spoken]:
        first = asyncio.create_task(Robot(house.ws, token).talk(noise(1), 0.4))
        await asyncio.to_thread(begun.wait, 30)
        second = asyncio.create_task(Robot(house.ws, token).talk(noise(1), 0.4))
        told = await first  # that the talk goes on elsewhere
        wait.set()
        return told, await second

    first, second = asyncio.run(visit())
    assert isinstance(first.over, wire.Moved)
    assert isinstance(second.over, wire.Over)
    assert read_talk(house.folder(token)).status == "done"


def test_a_page_of_another_site_is_refused_before_it_is_heard(house: House) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        asyncio.run(answers(house, opening(house.invite("echo")), origin="https://elsewhere.example"))


def test_malformed_messages_end_their_connection_and_nothing_else(house: House) -> None:
    rng = np.random.default_rng(0)
    token = house.invite("echo")
    bad: list[bytes | str] = [
        b"",
        b"\0" * 15,
        rng.bytes(1_935),
        rng.bytes(9_000),
        "",
        "{",
        '{"type":"hello"}',
        "[" * 4_000,
    ]
    bad += [rng.bytes(int(n)) for n in rng.integers(0, 16_000, 12)]

    async def visits() -> tuple[list[list[wire.Told]], Spoken]:
        neighbour = asyncio.create_task(Robot(house.ws, token).talk(noise(1.2), 1.2))
        told = [await answers(house, opening(house.invite("echo")), message) for message in bad]
        return told, await neighbour

    told, spoken = asyncio.run(visits())
    assert all(isinstance(t[-1], wire.Refused) for t in told)
    assert np.array_equal(recorded(house.folder(token), "heard")[1], spoken.mic)


def test_a_message_beyond_the_limit_is_not_even_read(house: House) -> None:
    told = asyncio.run(answers(house, opening(house.invite("echo")), b"\0" * (wire.MAX_MESSAGE + 1)))
    assert all(isinstance(t, wire.Ready) for t in told)


def test_a_clock_that_runs_too_fast_is_refused(house: House) -> None:
    packets = [wire.pack_packet(wire.Packet(k, 0, 0, 0, noise(0.02), noise(0.02))) for k in range(150)]
    assert "faster than time" in refusal(asyncio.run(answers(house, opening(house.invite("echo", lag=9.0)), *packets)))


def test_a_flood_of_messages_is_refused(house: House) -> None:
    pings = [wire.to_text(wire.Ping(0.0))] * 4_000
    told = asyncio.run(answers(house, opening(house.invite("echo")), *pings))
    assert any(isinstance(t, wire.Refused) and "too many" in t.reason for t in told) or len(told) < 4_000


def test_no_random_message_is_taken_for_one_of_ours() -> None:
    rng = np.random.default_rng(1)
    begun = time.process_time()
    for n in rng.integers(0, 64, 20_000):
        data = rng.bytes(int(n))
        with pytest.raises(wire.Malformed):
            wire.read_packet(data, 480)
        with pytest.raises(wire.Malformed):
            wire.read_said(data.decode("latin-1"))
    assert time.process_time() - begun < 30


def test_the_folder_names_no_arm_and_no_file_is_named_by_a_visitor(house: House) -> None:
    token = house.invite("echo")
    assert re.fullmatch("[0-9a-f]{24}", house.live.talk_of(token))
    assert "echo" not in token
