"""The embedded model's own voice for written replies: recorded replies as tokens, and their sound by its codec.

What this voice says is a clip of training, the very tokens the model learnt, so a chosen reply is in its support. A
text that was never recorded it does not say; nothing is put together from parts.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model.codec import Codec, decode
from model.spoken_grid import grid_layout
from model.tiny.clips import agent_clip, plain, vocabulary, word_times
from model.tiny.grid import EPAD, PAD, AgentClip, spread
from model.tiny.world import load_world
from protocols.contracts import WordAligner
from protocols.duplex import FRAME, Audio
from protocols.errors import InputError
from protocols.records import Word
from protocols.replies import GridLayout, Said

DELAYS = (0, *(0, *(1,) * 7) * 2)  # of text, agent and user, as in Moshi


def layout_of(codec: Codec) -> GridLayout:
    """How a grid of the embedded model lies against a recording of it (design/tiny.md, "Time")."""
    return grid_layout(codec, PAD, len(vocabulary(load_world())), DELAYS)


class TinyVoice:
    """A `ReplyVoice`. `clip` gives a text's tokens and raises InputError for a text it does not have."""

    def __init__(
        self, clip: Callable[[str], AgentClip], words: Sequence[str], source: str, codec: Codec | None = None
    ) -> None:
        """`words`: the text vocabulary. `codec` None: replies have tokens and no sound."""
        self._clip, self._words, self._codec = clip, tuple(words), codec
        self.source = f"tiny-voice/1:{source}"

    def reply(self, text: str) -> Said | None:
        try:
            clip = self._clip(text)
        except InputError:
            return None
        n = clip.codes.shape[1]
        frames = spread([word.frame for word in clip.words])
        columns = np.full((1 + len(clip.codes), n + 1), PAD, np.int16)
        columns[1:, 1:] = clip.codes
        columns[1:, 0] = 0 if self._codec is None else self._codec.silence
        for frame, word in zip(frames, clip.words, strict=True):
            if frame < n:
                columns[0, 1 + frame] = word.word
        if frames and frames[0] < n + 1:
            columns[0, frames[0]] = EPAD
        ends = [*frames[1:], n]
        said = tuple(
            Word(self._words[w.word], a * FRAME, max(a, b) * FRAME)
            for w, a, b in zip(clip.words, frames, ends, strict=True)
        )
        audio = None if self._codec is None else decode(self._codec, clip.codes)
        return Said(said, n * FRAME, audio, columns, 1)


def recorded_clips(
    recordings: Mapping[str, Audio], words: Sequence[str], codec: Codec, aligner: WordAligner
) -> Callable[[str], AgentClip]:
    """Clips of replies recorded in the agent's voice, [n] at 24 kHz each; a text with unknown words gives none."""
    ids = {word: i for i, word in enumerate(words)}
    by_text = {_letters(text): (text, audio) for text, audio in recordings.items()}
    made: dict[str, AgentClip] = {}

    def clip(text: str) -> AgentClip:
        key = _letters(text)
        if key not in made:
            if key not in by_text or any(plain(word) not in ids for word in text.split()):
                raise InputError(f"the agent's voice does not say {text!r}")
            audio = by_text[key][1]
            starts = [word.start for word in word_times(text, audio, aligner)]
            made[key] = agent_clip(text, audio, codec, starts, ids)
        return made[key]

    return clip


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", text.casefold()))
