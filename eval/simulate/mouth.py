"""A simulated user's voice: texts as sound whose edges and pauses are made, not found."""

from typing import NamedTuple

import numpy as np

from eval.tasks.spoken import MARGIN, speak
from protocols.audio import resample
from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.timeline import Span

EDGE = MARGIN / SAMPLE_RATE  # seconds of quiet before the first and after the last sound


class Spoken(NamedTuple):
    """A turn as sound; times are seconds from where its sound begins."""

    text: str
    audio: Audio  # [n] at the system's rate
    speech: Span
    pause: Span | None = None


class Mouth:
    """One voice at one sample rate."""

    def __init__(self, speaker: Speaker, voice: str | None, sample_rate: int) -> None:
        self._speaker, self._voice, self._rate = speaker, voice, sample_rate

    def say(self, parts: tuple[str, ...], pause: float | None = None) -> Spoken:
        """The parts (one or two), with exactly `pause` seconds from the last sound of one to the first of the other."""
        sounds = [speak(self._speaker, part, self._voice) for part in parts]
        audio, silence = sounds[0], None
        if len(sounds) > 1:
            assert pause is not None
            between = max(round(pause * SAMPLE_RATE) - 2 * MARGIN, 0)
            at = (len(audio) - MARGIN) / SAMPLE_RATE
            silence = Span(at, at + (between + 2 * MARGIN) / SAMPLE_RATE)
            audio = np.concatenate([audio, np.zeros(between, np.float32), sounds[1]])
        speech = Span(EDGE, (len(audio) - MARGIN) / SAMPLE_RATE)
        return Spoken(" ".join(parts), resample(audio, SAMPLE_RATE, self._rate), speech, silence)
