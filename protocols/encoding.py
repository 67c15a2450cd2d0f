"""Sound as the bytes of a file, made and read in memory, so that only plain writes can fail.

libsndfile calls back into Python for every block, and an exception in such a callback is printed and forgotten: a
Ctrl-C that arrives there would be lost, and the sound cut. Only the main thread hears a Ctrl-C, so both ways run in
another one.
"""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from protocols.audio import Sound
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError

T = TypeVar("T")
Container = Literal["FLAC", "WAV", "OGG"]
SUBTYPES: dict[Container, str] = {"FLAC": "PCM_16", "WAV": "PCM_16", "OGG": "VORBIS"}


def to_pcm16(audio: Audio) -> npt.NDArray[np.int16]:
    """float32 in [-1, 1] to int16, clipped and rounded to nearest."""
    return np.asarray(np.rint(np.clip(audio, -1.0, 1.0) * 32767.0), dtype=np.int16)


def encoded(
    samples: Audio | npt.NDArray[np.int16], sample_rate: int, container: Container, compression: float | None = None
) -> bytes:
    """[n] or [n, channels] as a file's bytes; compression from 0 (fast) to 1 (small)."""
    import soundfile

    def encode() -> bytes:
        file = io.BytesIO()
        subtype = SUBTYPES[container]
        soundfile.write(file, samples, sample_rate, subtype, format=container, compression_level=compression)
        return file.getvalue()

    return _aside(encode)


def flac_of(audio: Audio) -> bytes:
    """One channel, [n] at 24 kHz, as 16-bit FLAC."""
    return encoded(to_pcm16(audio), SAMPLE_RATE, "FLAC")


def decoded(data: bytes, where: str) -> Sound:
    """All channels of a sound file's bytes; where: who they came from, for the InputError if they are none."""
    import soundfile

    try:
        samples, rate = _aside(lambda: soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True))
    except (soundfile.LibsndfileError, ValueError) as error:
        raise InputError(f"{where} sent {len(data)} bytes that are no sound file: {error}") from error
    return Sound(np.ascontiguousarray(samples.T), rate)


def _aside(work: Callable[[], T]) -> T:
    """What `work` returns, done in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
