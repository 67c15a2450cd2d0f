"""Where speech that fades into noise ends.

Noise spreads over all frequencies, a fading voice lies in a few. So the end is looked for with the spectrum the voice
had last: each frame's power above the noise is weighted with that spectrum over the noise's variance (the linear
detector with the highest signal-to-noise ratio for a known spectrum in Gaussian noise), which finds speech some 15 dB
deeper than its level does. Twice: the vowel's spectrum leads to the murmur's, the murmur's own leads to its end.
What lies deeper still cannot be seen; it is allowed for at a fixed rate of fading.

This module decides nothing about where speech is, and nothing about starts: speech starts abruptly.
Constants were fitted on three of the spoken set's voices and half of the agent's replies, and tried on three other
voices (`design/listening.md`).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from protocols.duplex import Audio

Powers = npt.NDArray[np.float32]
WINDOW = 512  # samples at 16 kHz
LEAD = 0.03  # seconds before the coarse end in which the detector may have held on already
NEAR = 4.0  # seconds of noise on either side that are asked what the noise is like
ENOUGH = 0.2  # seconds of noise that describe it


class Look(NamedTuple):
    """One pass: the spectrum of the last `tail` seconds, powers averaged over `smooth` frames."""

    tail: float
    smooth: int


PASSES = (Look(0.15, 6), Look(0.05, 6))
SIGMAS = 4.0  # above the noise's own spread
BRIDGE = 0.06  # seconds of quiet that do not end speech, such as a stop's closure
FADING = 0.0015  # seconds per dB that the last of the fade takes below what can be seen


def spectra(heard: Audio, hop: int) -> Powers:
    """Power in each of 257 frequencies per hop of 16 kHz audio, [n, 257]; a row is centred on its hop."""
    lead = (WINDOW - hop) // 2
    padded = np.pad(heard, (lead, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::hop][: len(heard) // hop]
    window = np.hanning(WINDOW).astype(np.float32)
    found = scipy.fft.rfft(frames * window, axis=1)
    return np.asarray((found.real**2 + found.imag**2) * np.float32(2 / (WINDOW * float(np.sum(window**2)))))


def hidden_end(
    power: Powers, noise: npt.NDArray[np.bool_], low: int, high: int, limit: int, faded_db: float, hop: float
) -> float | None:
    """Seconds at which a stretch of speech ends; None where there is too little noise to tell.

    power: [n, 257] of `spectra`. noise: [n], frames with no speech. low, high: the stretch in frames, as a detector
    hears it. limit: the frame its end cannot lie beyond. faded_db: the level at which speech counts as over.
    """
    near = slice(max(high - round(NEAR / hop), 0), high + round(NEAR / hop))
    around, silent = power[near], noise[near]
    if np.count_nonzero(silent) * hop < ENOUGH:
        return None
    floor = around[silent].mean(axis=0) + np.float32(1e-12)
    low = max(low, near.start)
    at = max(high - 1 - round(LEAD / hop), low)
    loud = np.zeros(limit - low, dtype=bool)
    seen: list[float] = []
    for look in PASSES:
        shape = _shape(power[max(low, at + 1 - round(look.tail / hop)) : at + 1] - floor)
        if shape is None:
            return None
        weight = shape / floor**2
        weight /= weight @ shape
        voice = around @ weight - floor @ weight
        spread = float(np.std(_smooth(voice[silent], look.smooth)))
        seen.append(max(SIGMAS * spread, 10 ** (faded_db / 10)))
        loud |= _smooth(voice, look.smooth)[low - near.start : limit - near.start] > seen[-1]
        last = _last_loud(loud, at - low, round(BRIDGE / hop))
        if last is None:
            return None
        at = low + last
    deeper = max(10 * float(np.log10(min(seen))) - faded_db, 0.0)
    return min((at + 1) * hop + FADING * deeper, limit * hop)


def _shape(above: Powers) -> Powers | None:
    """The spectrum of [n, 257] powers above the noise, smoothed over 3 frequencies, with the sum 1."""
    mean = np.convolve(np.maximum(above.mean(axis=0), 0), np.full(3, 1 / 3, np.float32), "same")
    whole = float(mean.sum())
    return np.asarray(mean / whole, dtype=np.float32) if whole > 0 else None


def _smooth(values: Powers, width: int) -> Powers:
    return np.convolve(values, np.full(width, 1 / width, np.float32), "same") if len(values) >= width else values


def _last_loud(loud: npt.NDArray[np.bool_], start: int, bridge: int) -> int | None:
    """The last loud frame reachable from `start` over gaps under `bridge`, or else the last one before it."""
    before = np.flatnonzero(loud[: start + 1])
    if not before.size:
        return None
    at = int(before[-1])
    for i in np.flatnonzero(loud[at:]) + at:
        if i - at >= bridge:
            break
        at = int(i)
    return at
