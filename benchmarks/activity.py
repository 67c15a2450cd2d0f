"""Speech edges and speed of our detector beside what it is made of: Silero alone and energy alone, same scenes."""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.scenes import clips, errors, scene
from eval.activity import RATE, ActivitySettings, SileroActivity, _stretches, levels
from protocols.audio import resample
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.timeline import Track, track, utterances


def silero_alone(detector: SileroActivity, audio: Audio) -> Track:
    heard = resample(audio, SAMPLE_RATE, RATE)
    return track(_stretches(detector.probabilities(heard), 512 / RATE, ActivitySettings()))


def energy_alone(audio: Audio) -> Track:
    level = levels(resample(audio, SAMPLE_RATE, RATE))
    loud = level > max(float(np.percentile(level, 10)) + 10, float(level.max()) - 38)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    return track(zip(edges[::2] * 0.005, edges[1::2] * 0.005, strict=True), gap=0.1)


def table(seed: int = 0, scenes: int = 6) -> list[list[str]]:
    """A row per detector and noise: median and p90/p95 of the absolute edge errors in ms, faults, times real time."""
    pool = clips()
    detector = SileroActivity()
    ways: dict[str, Callable[[Audio], Track]] = {
        "ours": lambda x: detector.spans(x, SAMPLE_RATE),
        "Silero alone": lambda x: silero_alone(detector, x),
        "energy alone": energy_alone,
    }
    rows = []
    for snr in (None, 20, 10):
        rng = np.random.default_rng(seed)
        made = [scene(pool, rng, snr_db=snr) for _ in range(scenes)]
        for name, way in ways.items():
            started = time.process_time()
            found = [errors(utterances(way(s.audio)), s.speech) for s in made]
            spent = time.process_time() - started
            on, off = (np.concatenate([getattr(e, k) for e in found]) for k in ("onset", "offset"))
            faults = [sum(getattr(e, k) for e in found) for k in ("missed", "false", "splits")]
            seconds = sum(len(s.audio) for s in made) / SAMPLE_RATE
            rows.append([
                name, "clean" if snr is None else f"{snr} dB", *(_edge(e) for e in (on, off)),
                "/".join(map(str, faults)), f"{seconds / spent:.0f}x",
            ])  # fmt: skip
    return rows


def _edge(e: np.ndarray) -> str:
    a = np.abs(e)
    return f"{np.median(e):+.0f} ({np.percentile(a, 50):.0f}, {np.percentile(a, 90):.0f}, {np.percentile(a, 95):.0f})"


COLUMNS = ["detector", "noise", "onset ms: median (|e| p50, p90, p95)", "offset ms", "missed/false/split", "speed"]

if __name__ == "__main__":
    for row in [COLUMNS, *table()]:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (13, 6, 38, 26, 19, 6), strict=True)))
