"""Texts that have no recording are asked aloud: one voice each, one level, kept on disk and never said twice.

A text's voice comes from its own hash, so the same text always sounds the same, whatever else its set holds. Speech is
cut at its edges and gets margins of a known length, so where it begins and ends is made and not estimated.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from eval.speak import CachedSpeaker
from eval.tasks.spoken import MARGIN, speak
from protocols.audio import read_channel
from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import DuologueError, InputError
from protocols.records import Cue, Event

MARGIN_SECONDS = MARGIN / SAMPLE_RATE
Watch = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]  # what is done, how often -> a step


@contextmanager
def unwatched(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Nobody looks on."""
    yield lambda done: None


class Text(NamedTuple):
    """What is to be asked; `voice` is a wish."""

    id: str
    text: str
    voice: str | None = None


class Aloud(NamedTuple):
    """A text as sound."""

    cue: Cue  # relative to the folder
    length: float  # seconds
    turn: Event
    voice: str


def ask_aloud(texts: Sequence[Text], speaker: Speaker, folder: Path, watch: Watch = unwatched) -> list[Aloud]:
    """Every text as sound in `folder`, made only where it is not there yet. What cannot be said is an InputError."""
    cached = CachedSpeaker(_Levelled(speaker), folder)
    found = []
    with watch("speaking", len(texts)) as step:
        for done, text in enumerate(texts, 1):
            voice = voice_for(text.text, speaker)
            if text.voice is not None and text.voice in speaker.voices:
                voice = text.voice
            try:
                file = cached.file(text.text, voice)
                length = len(read_channel(file)) / SAMPLE_RATE
            except DuologueError as error:
                raise InputError(f"{text.id!r} cannot be spoken: {error}") from error
            turn = Event("turn", MARGIN_SECONDS, length - MARGIN_SECONDS, "made", text.text)
            found.append(Aloud(Cue(path=str(file.relative_to(folder)), at=0.0), length, turn, voice))
            step(done)
    return found


def voice_for(text: str, speaker: Speaker) -> str:
    """A voice by the text's hash."""
    return speaker.voices[int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % len(speaker.voices)]


class _Levelled:
    """A speaker at the house's level, with the margins that make a turn's edges known."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.source = f"{speaker.source}+level"
        self.voices = speaker.voices

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        return speak(self._speaker, text, voice or self.voices[0])
