"""`command:PROGRAM ARGS`: any program that can read and write lines is a system; nothing of ours has to be touched.

The program is started once and holds one talk after the other. Every message is one line of JSON, UTF-8, both ways;
audio is base64 of little-endian signed 16-bit samples, mono. The program answers each line of ours with one line:

    it starts      <- {"duologue": 1, "name": "mine", "version": "3", "sample_rate": 24000}
                      may add "frame_size" (samples; default: 80 ms), "has_text" (default true) and
                      "real_time_only" (default false)
    a talk begins  -> {"open": {"seed": 7}}
                   <- {"ready": true}
    every frame    -> {"audio": "..."}        what the user says during frame k, frame_size samples
                   <- {"audio": "...", "text": [" Hel", "lo"]}      what the agent says during frame k + 1
                      no "audio" is silence; a text may be {"text": " Hello", "start": 1.2, "end": 1.5} (seconds of
                      the talk), otherwise it is dated by its frame; a leading space starts a new word
                      may add "end": true instead: the talk is over
    a talk ends    -> {"close": true}         nothing is answered; the next line is another open, or end of file
    any time       <- {"error": "why"}        instead of an answer: this talk fails

`tests/peers/answerer.py` is a whole program. The one non-obvious decision: program and runner go in lockstep, so a
talk is the same on the simulated clock as in real time and a slow program is late instead of cut. A program that
dies, stalls, answers twice or writes anything else is ended, its talk fails with the reason and the end of what it
wrote to stderr, and the next talk starts it afresh. A remote system with a clock of its own is better served by a
WebSocket (`moshi_server`, `openai_realtime`). It deliberately does not restart a talk.
"""

import base64
import binascii
import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from model.systems.program import Program
from protocols.duplex import FRAME, Audio, Step, SystemInfo, TalkEnded, TextPiece
from protocols.errors import InputError, PeerFailed

PROTOCOL = 1


class Patience(NamedTuple):
    """How many seconds a program may take."""

    start: float = 120.0  # until its first line: it may have a model to load
    open: float = 60.0
    step: float = 10.0


PATIENCE = Patience()


class Hello(msgspec.Struct, frozen=True):
    """A program's first line."""

    duologue: int
    name: str
    version: str
    sample_rate: int
    frame_size: int | None = None
    has_text: bool = True
    real_time_only: bool = False


class Piece(msgspec.Struct, frozen=True):
    text: str
    start: float | None = None
    end: float | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a program may answer; unknown keys are ignored."""

    ready: bool = False
    audio: str = ""
    text: list[str | Piece] = []
    end: bool = False
    error: str | None = None


class CommandSystem:
    """One program, one talk at a time. Starts it; raises InputError if it does not introduce itself."""

    def __init__(self, command: str, patience: Patience = PATIENCE) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise InputError(f"command:{command} cannot be split into words: {error}") from error
        if not self._arguments:
            raise InputError("command: needs a program, such as command:'python my_system.py'")
        self._patience = patience
        self._program: Program | None = None
        try:
            hello = self._start()
        except PeerFailed as error:
            raise InputError(str(error)) from error
        size = hello.frame_size or round(FRAME * hello.sample_rate)
        self.info = SystemInfo(
            f"command:{hello.name}", hello.version, hello.sample_rate, size,
            has_text=hello.has_text, real_time_only=hello.real_time_only,
        )  # fmt: skip

    def open(self, seed: int, sample_id: str | None = None) -> "CommandSession":
        if self._program is None or not self._program.alive:
            self._start()
        assert self._program is not None
        session = CommandSession(self._program, self.info, self._patience)
        session.begin(seed)
        return session

    def close(self) -> None:
        if self._program is not None:
            self._program.stop()
            self._program = None

    def _start(self) -> Hello:
        self.close()
        self._program = Program(self._arguments)
        line = self._program.line(self._patience.start)
        try:
            hello = msgspec.json.decode(line, type=Hello)
        except msgspec.DecodeError as error:
            raise self._program.failed(
                f"began with {_short(line)} instead of a line that introduces it: {error}"
            ) from error
        if hello.duologue != PROTOCOL:
            raise self._program.failed(f"speaks protocol {hello.duologue}; only {PROTOCOL} is known")
        if not 8_000 <= hello.sample_rate <= 192_000 or not 0 < (hello.frame_size or 1) <= hello.sample_rate:
            raise self._program.failed(f"has {hello.frame_size} samples a frame at {hello.sample_rate} Hz")
        return hello


class CommandSession:
    """One talk with the program. After a failure the program is gone."""

    def __init__(self, program: Program, info: SystemInfo, patience: Patience) -> None:
        self._program, self._info, self._patience = program, info, patience
        self._over = False

    def begin(self, seed: int) -> None:
        if not self._ask({"open": {"seed": seed}}, self._patience.open).ready:
            raise self._fail('did not answer "open" with {"ready": true}')

    def step(self, frame: Audio) -> Step:
        samples = np.round(np.clip(frame, -1, 1) * 32_767).astype("<i2")
        answer = self._ask({"audio": base64.b64encode(samples.tobytes()).decode("ascii")}, self._patience.step)
        if answer.end:
            raise TalkEnded
        text = (TextPiece(p) if isinstance(p, str) else TextPiece(p.text, p.start, p.end) for p in answer.text)
        return Step(self._audio(answer.audio), tuple(text))

    def _audio(self, encoded: str) -> Audio:
        if not encoded:
            return np.zeros(self._info.frame_size, np.float32)
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise self._fail(f"sent audio that is not base64: {error}") from error
        if len(data) != 2 * self._info.frame_size:
            raise self._fail(f"sent {len(data)} bytes of audio, not {2 * self._info.frame_size}")
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)

    def _ask(self, message: Mapping[str, Any], patience: float) -> Answer:
        line = self._program.ask(json.dumps(message).encode(), patience)
        try:
            answer = msgspec.json.decode(line, type=Answer)
        except msgspec.DecodeError as error:
            raise self._fail(f"wrote {_short(line)}, which is no answer ({error}); print to stderr instead") from error
        if answer.error is not None:
            raise self._fail(f"said: {answer.error}")
        return answer

    def _fail(self, what: str) -> PeerFailed:
        self._over = True
        return self._program.failed(what)

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._program.tell(b'{"close": true}')


def _short(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= 60 else text[:60] + " ...")
