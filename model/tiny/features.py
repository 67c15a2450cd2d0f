"""What the codec hears in a frame: ten hops of 64 log-mel bands and the pitch, strictly causal, from 24 kHz directly.

The one non-obvious decision: the grid of windows is shifted so that the last window of a frame ends with that frame.
The hop j of frame k looks at the 768 samples up to 1920 k + 192 (j + 1) and so describes the sound around
1920 k + 192 (j - 1); its pitch is the one of `pitch.LAG` hops before. Nothing beyond the frame is ever needed.
Decoding knows this timing; see `vocoder`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from model.tiny.pitch import NEUTRAL, PitchState, PitchTracker
from model.tiny.rows import Rows
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio

HOP = 192  # samples, 8 ms
HOPS = FRAME_SIZE // HOP  # per frame
WINDOW = 768  # samples, 32 ms
BANDS = 64
N_FEATURES = BANDS + 1
FLOOR = 5e-3  # of a band's amplitude; a full-scale tone has 192
LN_FLOOR = float(np.log(np.float32(FLOOR)))
PITCH_WEIGHT = 25.0  # what a neper of pitch counts beside a neper of one band

Floats = npt.NDArray[np.float32]


def mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frequency on the mel scale (O'Shaughnessy)."""
    return np.asarray(2595 * np.log10(1 + np.asarray(hz, np.float64) / 700))


def hertz(mels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The inverse of `mel`."""
    return np.asarray(700 * (10 ** (np.asarray(mels, np.float64) / 2595) - 1))


def mel_filters(bands: int, lowest: float, highest: float, n_fft: int) -> npt.NDArray[np.float64]:
    """[bands, n_fft // 2 + 1] triangles of height 1, evenly spaced in mel."""
    edges = hertz(np.linspace(mel(lowest), mel(highest), bands + 2))
    bins = np.arange(n_fft // 2 + 1) * (SAMPLE_RATE / n_fft)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0, np.minimum(rise, fall)))


MEL_FILTERS = mel_filters(BANDS, 60, 7_800, WINDOW)
_MEL = np.ascontiguousarray(MEL_FILTERS.T, dtype=np.float32)  # [WINDOW // 2 + 1, BANDS]
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def silent_patch() -> Floats:
    """[HOPS * N_FEATURES], the features of a frame of digital silence that follows silence."""
    hop = np.full(N_FEATURES, LN_FLOOR, np.float32)
    hop[BANDS] = 0
    return np.tile(hop, HOPS)


@dataclass
class FeatureState(Rows):
    """What the analysis remembers of B talks."""

    heard: Floats  # [B, WINDOW - HOP], the latest samples
    pitch: PitchState


class Features:
    """Streaming analysis. `tracker` is replaced only to measure what its short lag costs."""

    def __init__(self, tracker: PitchTracker | None = None) -> None:
        self.tracker = tracker or PitchTracker()

    def start(self, batch: int) -> FeatureState:
        """The state after a long silence."""
        return FeatureState(np.zeros((batch, WINDOW - HOP), np.float32), self.tracker.start(batch))

    def push(self, state: FeatureState, frames: Audio) -> Floats:
        """Features [B, HOPS, N_FEATURES] of frames [B, FRAME_SIZE]; moves the state on.

        The last feature is PITCH_WEIGHT * (ln f0 - NEUTRAL). Samples beyond full scale are clipped.
        """
        heard = np.concatenate([state.heard, np.clip(frames, -1, 1)], axis=1)
        state.heard = heard[:, -(WINDOW - HOP) :]
        spans = np.lib.stride_tricks.sliding_window_view(heard, WINDOW, axis=1)[:, ::HOP]  # [B, HOPS, WINDOW]
        bands = np.maximum(np.abs(rfft(spans * _HANN, axis=-1)) @ _MEL, np.float32(FLOOR))
        silent = (bands == np.float32(FLOOR)).all(axis=-1)
        ln_f0 = self.tracker.push(state.pitch, heard[:, -FRAME_SIZE:].astype(np.float64), silent)
        pitch = (PITCH_WEIGHT * (ln_f0 - NEUTRAL)).astype(np.float32)
        return np.concatenate([np.log(bands), pitch[..., None]], axis=-1)
