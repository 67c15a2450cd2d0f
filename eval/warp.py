"""Speech on another clock: sound stretched and squeezed so that given moments fall on given moments, pitch kept.

Overlap-add of short windows, each taken where it goes on best from the one before (WSOLA, Verhelst and Roelands 1993).
The rate may change within a sound, so words inside an utterance can be moved without cutting them out.
"""

from collections.abc import Sequence

import numpy as np

from protocols.duplex import SAMPLE_RATE, Audio

WINDOW = 720  # samples: 30 ms, two or three periods of a low voice
HOP = WINDOW // 2
REACH = 192  # samples a window may be moved to fit: 8 ms
STAY = 1 - 0.02 * np.abs(np.arange(-REACH, REACH + 1)) / REACH  # of several places that fit, the nearest


def warped(audio: Audio, moments: Sequence[tuple[float, float]]) -> Audio:
    """[n] in which each `(from, to)` moment of `audio` is heard at `to`, in seconds; both ascend, the first and last
    are the sound's beginning and end. Silence where nothing is given."""
    before, after = (np.array(side) * SAMPLE_RATE for side in zip(*moments, strict=True))
    n = round(float(after[-1]))
    lead = REACH + HOP
    padded = np.concatenate([np.zeros(lead, np.float32), audio, np.zeros(REACH + 2 * WINDOW, np.float32)])
    window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)
    out = np.zeros(n + 2 * WINDOW, np.float32)
    weight = np.zeros_like(out)
    follows: Audio | None = None
    for at in range(-HOP, n, HOP):
        wanted = round(float(np.interp(max(at, 0), after, before))) + min(at, 0) + lead
        if follows is not None:
            near = padded[wanted - REACH : wanted + REACH + WINDOW]
            wanted += int(np.argmax(np.correlate(near, follows, "valid") * STAY)) - REACH
        first = max(-at, 0)
        out[at + first : at + WINDOW] += (padded[wanted : wanted + WINDOW] * window)[first:]
        weight[at + first : at + WINDOW] += window[first:]
        follows = padded[wanted + HOP : wanted + HOP + WINDOW]
    return (out[:n] / np.maximum(weight[:n], 1e-3)).astype(np.float32)
