"""How much of the loudspeaker comes back into the microphone.

The loudspeaker's signal is whitened, so that a voice's own pitch makes no false peaks, and the microphone is
correlated with it at every delay from 0 to 400 ms, in the frequency domain over the whole talk. The person's own
speech is unrelated to it and only raises the floor. An echo is a delay that stands out of that floor; its level is
the gain of that one path. A system that repeats the user makes peaks at negative delays, which are not looked at.

Several paths (a room) each get their own, lower peak, so the level is a lower bound.
"""

from typing import NamedTuple

import numpy as np

from protocols.duplex import Audio

LONGEST = 0.4  # seconds from the loudspeaker to the microphone
STANDS_OUT = 12.0  # times the median size of the correlation; noise reaches about 7
LEAST = 0.5  # seconds of agent sound that are needed


class Echo(NamedTuple):
    """What was found. level_db and delay are None where there is no echo or not enough sound, with the reason."""

    level_db: float | None  # of the microphone's echo against what the loudspeaker was given
    delay: float | None  # seconds
    reason: str | None = None


def echo_return(heard: Audio, mic: Audio, rate: int) -> Echo:
    """The strongest echo of `heard` in `mic`, both float32 [n] on one clock."""
    if np.count_nonzero(np.abs(heard) > 1e-3) < LEAST * rate:
        return Echo(None, None, "the agent was heard too little to measure an echo")
    reach = round(LONGEST * rate)
    size = 1 << (len(heard) + reach).bit_length()
    far, near = np.fft.rfft(heard, size), np.fft.rfft(mic, size)
    power = np.abs(far) ** 2
    weight = 1.0 / (power + 0.01 * power.mean())
    path = np.fft.irfft(near * np.conj(far) * weight, size)[:reach]  # the impulse response, roughly
    peak = int(np.argmax(np.abs(path)))
    if np.abs(path[peak]) < STANDS_OUT * np.median(np.abs(path)) or path[peak] == 0:
        return Echo(None, None, "no delay stands out")
    gain = _gain(heard, mic, peak)
    return Echo(float(20 * np.log10(max(gain, 1e-6))), peak / rate)


def _gain(heard: Audio, mic: Audio, delay: int) -> float:
    """Least-squares gain of one path."""
    far, near = heard[: len(heard) - delay].astype(np.float64), mic[delay:].astype(np.float64)
    return abs(float(far @ near / (far @ far)))
