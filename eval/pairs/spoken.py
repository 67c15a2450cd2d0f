"""A text-to-speech voice as the agent's: replies as sound with timed words, for talks that have no token grid.

It is another voice than the system's own unless the speaker was made from it; which one spoke is on every pair. A text
whose words cannot be found in its sound is one this voice cannot say.
"""

from typing import Protocol

from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError
from protocols.records import Word
from protocols.replies import Said


class WordAligner(Protocol):
    """Finds the words of a text in its sound."""

    def times(self, text: str, audio: Audio, sample_rate: int) -> tuple[Word, ...] | None: ...


class SpokenVoice:
    """A ReplyVoice over a Speaker, always in its first voice."""

    def __init__(self, speaker: Speaker, aligner: WordAligner) -> None:
        self._speaker, self._aligner = speaker, aligner
        self.source = f"{speaker.source}:{speaker.voices[0]}"

    def reply(self, text: str) -> Said | None:
        try:
            audio = self._speaker.say(text, self._speaker.voices[0])
        except InputError:
            return None
        words = self._aligner.times(text, audio, SAMPLE_RATE)
        return None if not words else Said(words, len(audio) / SAMPLE_RATE, audio)
