"""The speech the codec is trained on: who speaks, what is added to it, and a cache of what was synthesised.

The one non-obvious decision: synthesis is by far the slowest step and the same text in the same voice always gives
the same sound, so every utterance is kept as a FLAC file named by the hash of source, voice and text; an interrupted
run goes on where it stopped. Whoever hands over the speakers leaves the held-out voices out; this file knows none.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.tiny.train_texts import sentences
from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio

LEVEL = 0.06  # RMS of speech before gains, the level of the house's spoken sets

Progress = Callable[[str], None]


class Cast(NamedTuple):
    """Some voices of one speaker, and how many sentences each of them says."""

    speaker: Speaker
    voices: Sequence[str]
    sentences: int


class Utterance(NamedTuple):
    """One sentence in one voice, trimmed, at LEVEL."""

    voice: str
    text: str
    audio: Audio  # [n] at 24 kHz


def synthesise(cast: Cast, folder: Path, seed: int, progress: Progress) -> Iterator[Utterance]:
    """Every sentence of every voice of a cast, from the cache in `folder` where it lies there already."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for number, voice in enumerate(cast.voices):
        seconds = 0.0
        for text in sentences(cast.sentences, np.random.default_rng([seed, number])):
            key = hashlib.sha256("\0".join((cast.speaker.source, voice, text)).encode()).hexdigest()[:20]
            path = folder / f"{voice}.{key}.flac"
            if not path.is_file():
                audio = cast.speaker.say(text, voice)
                audio = audio * np.float32(min(LEVEL / _rms(audio), 0.98 / np.abs(audio).max()))
                part = path.with_suffix(".part")
                soundfile.write(part, audio, SAMPLE_RATE, "PCM_16", format="FLAC")
                part.replace(path)
            said = np.asarray(soundfile.read(path, dtype="float32")[0], dtype=np.float32)
            seconds += len(said) / SAMPLE_RATE
            yield Utterance(voice, text, said)
        progress(f"{cast.speaker.source} {voice}: {cast.sentences} sentences, {seconds:.0f} s")


def clean_channel(utterances: Sequence[Utterance], rng: np.random.Generator) -> Audio:
    """The agent's side of a talk, [n]: its utterances with 0.15 to 0.8 s of digital silence between them."""
    parts = [_silence(rng)]
    for utterance in utterances:
        parts += [utterance.audio, _silence(rng)]
    return np.concatenate(parts)


def user_channel(utterances: Sequence[Utterance], babble: Audio, rng: np.random.Generator) -> Audio:
    """A user's side of a talk, [n]: gain, now and then a small room or others talking, and a noise floor.

    Gain -12 to +6 dB; a third of the channels stay dry and clean. babble [m] is what others say, at LEVEL.
    """
    audio = clean_channel(utterances, rng) * np.float32(10 ** (rng.uniform(-12, 6) / 20))
    if rng.random() < 0.3:
        audio = _in_a_room(audio, rng)
    if rng.random() < 0.25:
        start = int(rng.integers(max(len(babble) - len(audio), 1)))
        other = np.resize(babble[start:], len(audio))
        audio = audio + other * np.float32(10 ** (rng.uniform(-30, -14) / 20))
    if rng.random() < 0.67:
        audio = audio + _noise(len(audio), 10 ** (rng.uniform(-70, -35) / 20), rng)
    return np.asarray(np.clip(audio, -1, 1), dtype=np.float32)


def data_hash(utterances: Sequence[Utterance]) -> str:
    """Names a set of utterances by its voices, texts and samples."""
    total = hashlib.sha256()
    for utterance in utterances:
        total.update(f"{utterance.voice}\0{utterance.text}\0".encode())
        total.update(utterance.audio.astype("<f4").tobytes())
    return total.hexdigest()


def _rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) or 1.0


def _silence(rng: np.random.Generator) -> Audio:
    return np.zeros(int(rng.uniform(0.15, 0.8) * SAMPLE_RATE), np.float32)


def _noise(n: int, level: float, rng: np.random.Generator) -> Audio:
    """Noise of a random tilt, from white to pink, [n], with RMS `level`."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum *= np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 30) ** -rng.uniform(0, 0.6)
    noise = np.fft.irfft(spectrum, n)
    return np.asarray(noise * (level / _rms(noise.astype(np.float32))), dtype=np.float32)


def _in_a_room(audio: Audio, rng: np.random.Generator) -> Audio:
    """`audio` with the echo of a small room: 100 to 300 ms of decaying noise, 8 to 18 dB below the direct sound."""
    from scipy.signal import fftconvolve

    n = int(rng.uniform(0.1, 0.3) * SAMPLE_RATE)
    echo = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    echo *= 10 ** (-rng.uniform(8, 18) / 20) / np.sqrt(np.sum(echo**2))
    echo[: SAMPLE_RATE // 500] = 0  # the first reflection comes 2 ms later
    return np.asarray(audio + fftconvolve(audio, echo)[: len(audio)], dtype=np.float32)
