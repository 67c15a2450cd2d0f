"""Reading and converting sound, with one clear error for every way a file can be bad.

Everything the house hears goes through `read_sound`; rates are converted by soxr at its highest quality. Nothing
here decides what a channel means.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError


class Sound(NamedTuple):
    """A sound file's content."""

    samples: Audio  # [channels, n]
    sample_rate: int


def read_sound(path: Path) -> Sound:
    """All channels of a sound file. Missing, corrupt, empty or non-finite files raise InputError."""
    import soundfile

    if not path.is_file():
        raise InputError(f"no sound file at {path}")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a sound file that can be read: {error}") from error
    if samples.shape[0] == 0:
        raise InputError(f"{path} holds no audio")
    if not np.isfinite(samples).all():
        raise InputError(f"{path} holds samples that are not numbers (NaN or infinite)")
    return Sound(np.ascontiguousarray(samples.T), rate)


def sample_hashes(path: Path) -> bytes:
    """SHA-256 of each channel's rate and samples at 16 bits, one behind the other: the same for the same sound in any
    lossless file, and for two channels as for two files. InputError: not a sound file."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            digests = [hashlib.sha256(str(file.samplerate).encode()) for _ in range(file.channels)]
            for block in file.blocks(1 << 18, dtype="int16", always_2d=True):
                for digest, channel in zip(digests, block.T, strict=True):
                    digest.update(np.ascontiguousarray(channel).tobytes())
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a sound file that can be read: {error}") from error
    return b"".join(digest.digest() for digest in digests)


def read_channel(path: Path, channel: int | None = None) -> Audio:
    """One channel of a file at 24 kHz, [n]; any rate is converted.

    channel None: the file must have a single channel.
    """
    return channel_of(read_sound(path), path, channel)


def channel_of(sound: Sound, path: Path, channel: int | None = None) -> Audio:
    """One channel of a sound that was read from `path`, as `read_channel` gives it."""
    n_channels = sound.samples.shape[0]
    if channel is None and n_channels != 1:
        raise InputError(f"{path} has {n_channels} channels where one is needed")
    if channel is not None and channel >= n_channels:
        raise InputError(f"{path} has {n_channels} channel(s), not {channel + 1} (left agent, right user)")
    return resample(sound.samples[channel or 0], sound.sample_rate, SAMPLE_RATE)


def mixed(sound: Sound) -> Audio:
    """All channels of a sound as one at 24 kHz, [n]: their mean."""
    return resample(sound.samples.mean(axis=0), sound.sample_rate, SAMPLE_RATE)


@lru_cache(maxsize=16)
def cached_channel(path: Path, channel: int | None = None) -> Audio:
    """`read_channel`, remembering the last few files; the result cannot be written to."""
    audio = read_channel(path, channel)
    audio.flags.writeable = False
    return audio


def resample(audio: Audio, from_rate: int, to_rate: int) -> Audio:
    """[n] at another sample rate; the same array if the rates agree."""
    if from_rate == to_rate:
        return audio
    import soxr

    return np.asarray(soxr.resample(audio, from_rate, to_rate, quality="VHQ"), dtype=np.float32)
