"""Speech edges and speed of our detector beside what it is made of: Silero alone and energy alone, same scenes.

The voices on which the fade into noise was fitted are "fitted"; "others" are users' voices that were never looked at
for it. The agent's voice is in neither, because half of its replies were. Both are shown with their own fades and with
clips that were cut where they can still be heard.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from benchmarks.scenes import Clip, clips, cut, errors, scene
from eval.activity import RATE, ActivitySettings, SileroActivity, _stretches, levels
from protocols.audio import resample
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.timeline import Track, track, utterances

FITTED = ("af_bella", "af_heart", "am_fenrir")


def silero_alone(detector: SileroActivity, audio: Audio) -> Track:
    heard = resample(audio, SAMPLE_RATE, RATE)
    return track(_stretches(detector.probabilities(heard), 512 / RATE, ActivitySettings()))


def energy_alone(audio: Audio) -> Track:
    level = levels(resample(audio, SAMPLE_RATE, RATE))
    loud = level > max(float(np.percentile(level, 10)) + 10, float(level.max()) - 38)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    return track(zip(edges[::2] * 0.005, edges[1::2] * 0.005, strict=True), gap=0.1)


def voicebench(audio: Audio) -> Track:
    """The public package's energy detector, as it comes; its row appears where the package is installed."""
    from voicebench.vad import detect_segments

    return track((s.start, s.end) for s in detect_segments(audio, SAMPLE_RATE))


def table(seed: int = 0, scenes: int = 4) -> list[list[str]]:
    """A row per clips, voices, noise and detector: edge errors in ms, faults, times real time."""
    detector = SileroActivity()
    ways: dict[str, Callable[[Audio], Track]] = {
        "ours": lambda x: detector.spans(x, SAMPLE_RATE),
        "Silero alone": lambda x: silero_alone(detector, x),
        "energy alone": energy_alone,
    }
    if find_spec("voicebench"):
        ways["voicebench"] = voicebench
    rows = []
    for ending, pool in (("cut", [cut(c) for c in clips()]), ("fading", clips())):
        for voices, part in (
            ("fitted", [c for c in pool if c.voice in FITTED]),
            ("others", [c for c in pool if c.voice not in (*FITTED, "agent")]),
        ):
            for snr in (None, 20, 10):
                for name, way in ways.items():
                    row = _row(part, way, snr, np.random.default_rng(seed), scenes)
                    rows.append([ending, voices, "clean" if snr is None else f"{snr} dB", name, *row])
    return rows


def _row(
    pool: list[Clip], way: Callable[[Audio], Track], snr: float | None, rng: np.random.Generator, scenes: int
) -> list[str]:
    made = [scene(pool, rng, snr_db=snr) for _ in range(scenes)]
    started = time.process_time()
    found = [errors(utterances(way(s.audio)), s.speech) for s in made]
    spent = time.process_time() - started
    on, off = (np.concatenate([getattr(e, k) for e in found]) for k in ("onset", "offset"))
    faults = [sum(getattr(e, k) for e in found) for k in ("missed", "false", "splits")]
    seconds = sum(len(s.audio) for s in made) / SAMPLE_RATE
    return [_edge(on), _edge(off), "/".join(map(str, faults)), f"{seconds / spent:.0f}x"]


def _edge(e: np.ndarray) -> str:
    a = np.abs(e)
    return f"{np.median(e):+.0f} ({np.percentile(a, 50):.0f}, {np.percentile(a, 90):.0f}, {np.percentile(a, 95):.0f})"


COLUMNS = [
    "ends", "voices", "noise", "detector", "onset ms: median (|e| p50, p90, p95)", "offset ms", "missed/false/split",
    "speed",
]  # fmt: skip

if __name__ == "__main__":
    for row in [COLUMNS, *table()]:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (7, 7, 6, 13, 38, 26, 19, 6), strict=True)))
