"""A run folder: append-only JSONL, two-channel sound, and a seal that makes a changed byte visible.

    run.json             RunInfo: written first, updated last (temporary file + rename)
    samples.jsonl        what was asked
    conversations.jsonl  what happened, one line per (sample, take)
    listening.jsonl      what our instruments heard
    scores.jsonl         what it is worth; a later line for the same key replaces an earlier one
    audio/*.flac         left agent, right user, 24 kHz, 16 bit

Rows are only ever appended, each with one write, so a killed process can at most cut the last line: opening for
writing drops that line, and the work it stood for is done again. A write that fails (a full disk) is taken back,
so the run stays readable. One writer at a time holds the folder's lock; readers need none.

`seal` records each file's length and hash in run.json; `verify` derives them again and names what changed.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import filelock
import msgspec
import numpy as np
import numpy.typing as npt

from protocols.base import Record, from_json, to_json
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.encoding import encoded, to_pcm16
from protocols.errors import InputError, StoreError
from protocols.records import Conversation, Key, Listening, Rating, Recording, Sample, Score, StoredFile
from protocols.runs import RunInfo

FILES: dict[type[Record], str] = {
    Sample: "samples.jsonl",
    Conversation: "conversations.jsonl",
    Listening: "listening.jsonl",
    Score: "scores.jsonl",
    Rating: "ratings.jsonl",
}
R = TypeVar("R", bound=Record)


class Run:
    """A run folder that exists. Reading is always possible; writing needs `with run.writing():`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = _read_info(path)

    @classmethod
    def create(cls, path: Path, info: RunInfo) -> Self:
        """Make a new run folder. An existing run is an error: nothing is ever overwritten."""
        if (path / "run.json").exists():
            raise StoreError(f"{path} already holds a run; give another --out")
        try:
            (path / "audio").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the run folder {path}: {error.strerror}") from error
        write_whole(path / "run.json", _info_json(info))
        return cls(path)

    def writing(self) -> "Writing":
        """Hold the folder for writing; a cut last line is repaired first."""
        return Writing(self)

    def read(self, kind: type[R]) -> Iterator[R]:
        """Every row of a kind, in the order written. A cut last line is passed over; any other bad line is an error."""
        path = self.path / FILES[kind]
        if not path.exists():
            return
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield from_json(line, kind)
                except InputError as error:
                    raise StoreError(f"{path}, line {number}: {error}") from error

    def read_audio(self, recording: Recording) -> Audio:
        """Both channels, float32 [2, n]: agent, user."""
        import soundfile

        path = self.path / recording.path
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise StoreError(f"cannot read the recording {path}: {error}") from error
        if samples.shape != (recording.n_samples, 2) or rate != recording.sample_rate:
            raise StoreError(f"{path} is not the recording that was made: {samples.shape[0]} samples at {rate} Hz")
        return np.ascontiguousarray(samples.T)

    def read_tokens(self, stored: StoredFile) -> npt.NDArray[np.int16]:
        """A system's own token grid, int16 [streams, frames]."""
        path = self.path / stored.path
        try:
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.int16)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read the tokens {path}: {error}") from error

    def verify(self) -> list[str]:
        """What differs from what was sealed or recorded: one sentence per file, none if all is as it was."""
        found = []
        for name, (size, digest) in self.info.sealed.items():
            path = self.path / name
            if not path.exists():
                found.append(f"{name} is missing")
            elif sha256_of(path, size) != digest:
                found.append(f"{name} was changed after it was sealed")
        for talk in self.read(Conversation):
            for file in (talk.recording, talk.tokens):
                if file is None:
                    continue
                if not (self.path / file.path).exists():
                    found.append(f"{file.path} is missing")
                elif sha256_of(self.path / file.path) != file.sha256:
                    found.append(f"{file.path} was changed after it was recorded")
        return found


class Writing:
    """The right to append to a run, held by one process at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = filelock.FileLock(run.path / ".lock")

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise StoreError(f"{self.run.path} is being written by another process; wait for it or end it") from error
        for name in FILES.values():
            drop_cut_line(self.run.path / name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.release()

    def append(self, *records: Record) -> None:
        """Add rows of one kind, all or none."""
        if not records:
            return
        path = self.run.path / FILES[type(records[0])]
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                write_all(file.fileno(), b"".join(to_json(r) + b"\n" for r in records))
            except OSError as error:
                os.ftruncate(file.fileno(), before)
                raise StoreError(f"cannot write {path}: {error.strerror}; what was written before is safe") from error

    def write_audio(self, key: Key, audio: Audio) -> Recording:
        """Store both channels, float32 [2, n] in [-1, 1], as 16-bit FLAC."""
        name = f"audio/{file_name(key)}.flac"
        data = encoded(to_pcm16(audio).T, SAMPLE_RATE, "FLAC", compression=0.2)
        write_whole(self.run.path / name, data)
        return Recording(name, SAMPLE_RATE, audio.shape[1], hashlib.sha256(data).hexdigest())

    def write_tokens(self, key: Key, tokens: npt.NDArray[np.int16]) -> StoredFile:
        """Store a system's own token grid, int16 [streams, frames]."""
        name = f"audio/{file_name(key)}.tokens.npy"
        file = io.BytesIO()
        np.save(file, tokens.astype(np.int16), allow_pickle=False)
        data = file.getvalue()
        write_whole(self.run.path / name, data)
        return StoredFile(name, hashlib.sha256(data).hexdigest())

    def update(self, info: RunInfo) -> None:
        """Replace run.json."""
        write_whole(self.run.path / "run.json", _info_json(info))
        self.run.info = info

    def seal(self) -> None:
        """Write down each file's length and hash, so that `verify` can tell whether a byte changed."""
        sealed = {}
        for name in FILES.values():
            path = self.run.path / name
            if path.exists():
                sealed[name] = (path.stat().st_size, sha256_of(path))
        self.update(msgspec.structs.replace(self.run.info, sealed=sealed))


def file_name(key: Key) -> str:
    """A file name for a key: readable, safe on every file system, and different for different keys."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", key.sample)[:80].lstrip(".")
    if safe != key.sample:
        safe += "-" + hashlib.sha256(key.sample.encode()).hexdigest()[:8]
    return f"{safe}.{key.take}"


def sha256_of(path: Path, size: int | None = None) -> str:
    """Hash of a file's first `size` bytes (all of them if None)."""
    digest = hashlib.sha256()
    left = path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _read_info(path: Path) -> RunInfo:
    try:
        return from_json((path / "run.json").read_bytes(), RunInfo)
    except OSError as error:
        raise StoreError(f"{path} is not a run folder: no readable run.json in it") from error
    except InputError as error:
        raise StoreError(f"{path / 'run.json'}: {error}; it may come from another version of duologue") from error


def _info_json(info: RunInfo) -> bytes:
    return msgspec.json.format(to_json(info), indent=2) + b"\n"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it exists whole or not at all."""
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}; what was written before is safe") from error


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; one call of the system wherever it takes them at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def drop_cut_line(path: Path) -> None:
    """Cut a file back to the end of its last whole line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep > 0:
            start = max(0, keep - 65_536)
            file.seek(start)
            at = file.read(keep - start).rfind(b"\n")
            if at >= 0:
                keep = start + at + 1
                break
            keep = start
        if keep < end:
            file.truncate(keep)
