"""Scenes with known speech edges: clips of the spoken set on one channel, clean or in white noise.

A clip's edges are where the spoken set's tables say (first and last 5 ms frame within 40 dB of its loudest one).
Some voices trail off in a breath of 0.1 to 0.3 s that lies below any noise; `cut` clips stop within 30 dB of their
loudest frame and have nothing behind, so that their end is one that can be heard.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.tasks.suite import LIBRARY
from protocols.audio import read_channel
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.timeline import Span

SPOKEN = LIBRARY.parent / "spoken"


class Scene(NamedTuple):
    audio: Audio  # [n] at 24 kHz
    speech: list[Span]


class Clip(NamedTuple):
    """Speech alone, cut at its edges, with its margin of near-silence kept outside."""

    audio: Audio
    onset: float
    offset: float
    voice: str = ""


def clips() -> list[Clip]:
    """Every question and reply of the spoken set; the replies' voice is "agent"."""
    out = []
    with (SPOKEN / "questions.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            for name, start, end, voice in (
                ("Wav Filename", "Speech start", "Speech end", row["Voice"]),
                ("Reply Filename", "Reply start", "Reply end", "agent"),
            ):
                out.append(Clip(read_channel(Path(SPOKEN / row[name])), float(row[start]), float(row[end]), voice))
    return out


def cut(clip: Clip, below_db: float = 30.0) -> Clip:
    """The clip from its first to its last 5 ms within `below_db` of its loudest, with digital silence outside."""
    width, ramp = SAMPLE_RATE // 200, np.linspace(0, 1, 48, dtype=np.float32)
    n = len(clip.audio) // width
    power = np.mean(clip.audio[: n * width].reshape(n, width).astype(np.float64) ** 2, axis=1)
    inside = np.flatnonzero(power >= power.max() * 10 ** (-below_db / 10))
    start, end = int(inside[0]) * width, int(inside[-1] + 1) * width
    audio = np.zeros_like(clip.audio)
    audio[start:end] = clip.audio[start:end]
    audio[start : start + 48] *= ramp
    audio[end - 48 : end] *= ramp[::-1]
    return Clip(audio, start / SAMPLE_RATE, end / SAMPLE_RATE, clip.voice)


def scene(pool: list[Clip], rng: np.random.Generator, n: int = 12, snr_db: float | None = None) -> Scene:
    """`n` clips with 0.4 to 1.6 s between them; snr_db None: digital silence between them."""
    parts: list[Audio] = []
    speech: list[Span] = []
    at = 0.0
    for clip in [pool[i] for i in rng.choice(len(pool), n, replace=False)]:
        gap = np.zeros(round(rng.uniform(0.4, 1.6) * SAMPLE_RATE), np.float32)
        parts += [gap, clip.audio]
        at += len(gap) / SAMPLE_RATE
        speech.append(Span(at + clip.onset, at + clip.offset))
        at += len(clip.audio) / SAMPLE_RATE
    audio = np.concatenate([*parts, np.zeros(SAMPLE_RATE, np.float32)])
    if snr_db is not None:
        level = np.sqrt(np.mean([np.mean(c.audio**2) for c in pool])) * 10 ** (-snr_db / 20)
        audio = audio + (level * rng.standard_normal(len(audio))).astype(np.float32)
    return Scene(np.clip(audio, -1, 1).astype(np.float32), speech)


class Errors(NamedTuple):
    """Found minus true, in ms, and what was missed or invented."""

    onset: list[float]
    offset: list[float]
    missed: int
    false: int
    splits: int


def errors(found: tuple[Span, ...], true: list[Span]) -> Errors:
    onset, offset, missed, used, splits = [], [], 0, set(), 0
    for span in true:
        over = [f for f in found if min(f.end, span.end) - max(f.start, span.start) > 0.05]
        if not over:
            missed += 1
            continue
        used.update(over)  # a stretch over several clips is one
        splits += len(over) - 1
        onset.append(1e3 * (over[0].start - span.start))
        offset.append(1e3 * (over[-1].end - span.end))
    return Errors(onset, offset, missed, len(found) - len(used), splits)
