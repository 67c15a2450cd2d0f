"""A talk's folder: what is written while the talk goes on, what it becomes when it ends, what a crash leaves of it.

    talk.json        who talked with what, and how it ended; written first, replaced at the end
    heard.pcm        as heard: the page's clock, left what the loudspeaker played, right the microphone
    modelled.pcm     as modelled: the system's clock, left what it said, right what it was given
    events.jsonl     words, steps, lag, drops, gaps, marks
    heard.flac, modelled.flac, tokens.npy   in place of the .pcm files, once the talk is over

Sound is int16 and only ever appended; it reaches the kernel at least twice a second, so a killed process loses less
than a second. A folder whose talk.json still says "live" when a server starts is a talk that a crash ended:
`recover` closes it, voided, with everything that was written.
"""

import hashlib
import io
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import numpy as np

from app.live.clock import to_float
from app.live.echo import echo_return
from app.live.events import LiveEvent, Marked, read_events
from app.live.wire import Pcm
from protocols.base import Record, from_json, to_json
from protocols.duplex import FRAME, SAMPLE_RATE
from protocols.encoding import encoded
from protocols.errors import StoreError
from protocols.records import Pacing, Recording, Seconds, StoredFile
from protocols.store import write_whole

Status = Literal["live", "done", "voided"]


class LiveTalk(Record, frozen=True, tag="live_talk/1"):
    """One live talk."""

    id: str
    system: str
    system_version: str
    seed: int
    started_at: str  # ISO 8601, UTC
    rate: int  # Hz of the page's audio clock
    system_rate: int = SAMPLE_RATE
    frame: Seconds = FRAME  # of the system
    settings: dict[str, str | int | float | bool | None] = {}  # what the browser says about the microphone
    status: Status = "live"
    reason: str | None = None  # why it ended
    detail: str = ""  # what a page may not know of it: it may name the system or a folder
    heard: Recording | None = None
    modelled: Recording | None = None
    tokens: StoredFile | None = None
    pacing: Pacing | None = None
    lag_p50: Seconds | None = None  # how much later the agent was heard than it spoke on its own clock
    lag_max: Seconds | None = None
    echo_db: float | None = None  # level of the loudspeaker in the microphone; None: none was found
    echo_delay: Seconds | None = None
    no_echo: str | None = None  # why there is no echo_db
    marks: tuple[Marked, ...] = ()  # moments the person marked, on the clock of the recording as heard


class TalkFolder:
    """A talk that is being recorded."""

    def __init__(self, path: Path, talk: LiveTalk) -> None:
        """Make the folder. A talk that exists is an error: nothing is overwritten."""
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"cannot make the talk's folder {path}: {error.strerror}") from error
        self.path = path
        self.talk = talk
        write_whole(path / "talk.json", _json(talk))
        self._heard, self._modelled, self._events = (
            _append_to(path / name) for name in ("heard.pcm", "modelled.pcm", "events.jsonl")
        )

    def heard(self, agent: Pcm, user: Pcm) -> None:
        self._write(self._heard, np.stack([agent, user], 1).tobytes())

    def modelled(self, agent: Pcm, user: Pcm) -> None:
        self._write(self._modelled, np.stack([agent, user], 1).tobytes())

    def log(self, event: LiveEvent) -> None:
        self._write(self._events, msgspec.json.encode(event) + b"\n")

    def flush(self) -> None:
        """Hand everything to the kernel."""
        try:
            for file in (self._heard, self._modelled, self._events):
                file.flush()
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error

    def finish(self, talk: LiveTalk, columns: list[np.ndarray]) -> LiveTalk:
        """Close the talk: sound becomes FLAC, talk.json says how it ended."""
        for file in (self._heard, self._modelled, self._events):
            with suppress(OSError):  # a full disk: what could be written is written
                file.close()
        if columns:
            talk = msgspec.structs.replace(talk, tokens=_write_tokens(self.path, columns))
        return _close(self.path, talk)

    def _write(self, file: BinaryIO, data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error


def read_talk(path: Path) -> LiveTalk:
    """The record of a talk's folder."""
    try:
        return from_json((path / "talk.json").read_bytes(), LiveTalk)
    except OSError as error:
        raise StoreError(f"{path} is not a talk's folder: no readable talk.json in it") from error


def recover(root: Path) -> list[LiveTalk]:
    """Close every talk that a crash left open."""
    recovered = []
    for path in sorted(root.glob("*/talk.json")):
        talk = read_talk(path.parent)
        if talk.status == "live":
            ended = msgspec.structs.replace(talk, status="voided", reason="the server stopped during the talk")
            recovered.append(_close(path.parent, ended))
    return recovered


def _close(path: Path, talk: LiveTalk) -> LiveTalk:
    """Sound to FLAC, then the record, then the raw sound goes: a crash in between only repeats work."""
    heard = _samples(path / "heard.pcm")
    echo = echo_return(to_float(heard[:, 0]), to_float(heard[:, 1]), talk.rate)
    talk = msgspec.structs.replace(
        talk,
        heard=_to_flac(path, "heard", heard, talk.rate),
        modelled=_to_flac(path, "modelled", _samples(path / "modelled.pcm"), talk.system_rate),
        echo_db=echo.level_db,
        echo_delay=echo.delay,
        no_echo=echo.reason,
        marks=_marks(path / "events.jsonl"),
    )
    write_whole(path / "talk.json", _json(talk))
    for name in ("heard.pcm", "modelled.pcm"):
        (path / name).unlink(missing_ok=True)
    return talk


def _samples(path: Path) -> Pcm:
    """A raw file, int16 [n, 2]; a cut last sample is left out."""
    raw = path.read_bytes() if path.exists() else b""
    return np.frombuffer(raw[: len(raw) // 4 * 4], "<i2").reshape(-1, 2)


def _marks(path: Path) -> tuple[Marked, ...]:
    log = read_events(path.read_bytes()) if path.exists() else []
    return tuple(sorted((e for e in log if isinstance(e, Marked)), key=lambda mark: mark.sample))


def _to_flac(path: Path, name: str, both: Pcm, rate: int) -> Recording | None:
    """Store both channels as FLAC; None if there is no sound."""
    if not len(both):
        return None
    data = encoded(both, rate, "FLAC", compression=0.2)
    write_whole(path / f"{name}.flac", data)
    return Recording(f"{name}.flac", rate, len(both), hashlib.sha256(data).hexdigest())


def _write_tokens(path: Path, columns: list[np.ndarray]) -> StoredFile:
    file = io.BytesIO()
    np.save(file, np.stack(columns, axis=1).astype(np.int16), allow_pickle=False)
    write_whole(path / "tokens.npy", file.getvalue())
    return StoredFile("tokens.npy", hashlib.sha256(file.getvalue()).hexdigest())


def _append_to(path: Path) -> BinaryIO:
    return path.open("ab", buffering=1 << 16)


def _json(talk: LiveTalk) -> bytes:
    return msgspec.json.format(to_json(talk), indent=2) + b"\n"
