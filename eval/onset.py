"""Whether the agent is speaking, decided while the talk runs.

The non-obvious decision: this is the level of the agent's own clean channel and nothing more (10 ms of RMS above
-40 dBFS), not the activity detector that scores are read from. It is causal, the same on every machine, and costs
nothing; what it decides is only when the user acts, and the time of that act is then written down exactly. It must not
be used to score: soft starts and ends of speech lie below its level.

An *utterance* lasts until `OVER` seconds of quiet, so the silences inside a sentence do not end it; less than
`SPOKEN` seconds of sound are a click, not an utterance.
"""

import numpy as np

from protocols.duplex import Audio

SOURCE = "level/1"  # this rule's name on a run; a change of the numbers below is another version
VOICED_LEVEL = 0.01  # RMS, of full scale 1
SPOKEN = 0.05
OVER = 0.5
BREATH = 0.1  # quiet this short does not count as quiet
HOPS_PER_SECOND = 100


class AgentSpeech:
    """Hears the agent's channel piece by piece. All times are samples since the first one heard."""

    def __init__(self, sample_rate: int) -> None:
        self._hop = sample_rate // HOPS_PER_SECOND
        self._left = np.zeros(0, np.float32)
        self._hops = 0  # heard so far
        self._voiced = 0  # hops of sound in the utterance under way
        self._onset = 0  # hop the utterance began at
        self._since = 0  # hop the sound began at that no quiet has broken since
        self._last: int | None = None  # the last voiced hop

    def hear(self, audio: Audio) -> None:
        """The channel's next samples, [n] of any length; what does not fill a hop waits for the next call."""
        audio = np.concatenate([self._left, audio])
        n = len(audio) // self._hop
        self._left = audio[n * self._hop :]
        blocks = audio[: n * self._hop].reshape(n, self._hop).astype(np.float64)
        for voiced in np.sqrt(np.mean(blocks**2, axis=1)) > VOICED_LEVEL:
            if voiced:
                quiet = None if self._last is None else self._hops - self._last - 1
                if quiet is None or quiet >= OVER * HOPS_PER_SECOND:
                    self._onset, self._voiced = self._hops, 0
                if quiet is None or quiet >= BREATH * HOPS_PER_SECOND:
                    self._since = self._hops
                self._last = self._hops
                self._voiced += 1
            self._hops += 1

    @property
    def onset(self) -> int | None:
        """Where the utterance under way began; None while there is none."""
        over = self.quiet >= round(OVER * HOPS_PER_SECOND) * self._hop
        return None if over or self._voiced < SPOKEN * HOPS_PER_SECOND else self._onset * self._hop

    @property
    def sounding_since(self) -> int | None:
        """Where the sound under way began; None while it is quiet or there is no utterance."""
        quiet = self.quiet >= round(BREATH * HOPS_PER_SECOND) * self._hop
        return None if quiet or self.onset is None else self._since * self._hop

    @property
    def heard(self) -> int:
        """Samples heard so far, in whole hops."""
        return self._hops * self._hop

    @property
    def quiet(self) -> int:
        """For how many samples there has been no sound; all that were heard if there never was any."""
        return (self._hops - (0 if self._last is None else self._last + 1)) * self._hop
