"""What systems of several streams have in common where speech is laid into their token grid: rows, lags, and a voice.

A column is the text token and the codes that a model gave for one frame, without the delays it works with. It is heard
two frames and the codec's delay after its number: the first step hears and says nothing, and the longest delay is one
frame (`model.systems.multistream`). Text is laid as in training: a word's tokens from the frame in which it begins to
sound, one a frame, a late one moving what follows; the end of padding stands in the frame before the first.
"""

from collections.abc import Callable, Sequence

import numpy as np

from model.codec import Codec, encode
from protocols.duplex import FRAME
from protocols.errors import InputError
from protocols.records import Word
from protocols.replies import GridLayout, ReplyVoice, Said, Tokens

Spell = Callable[[str], Sequence[int] | None]  # a word as text tokens; None: it cannot be written


def grid_layout(codec: Codec, pad: int, text_card: int, delays: Sequence[int]) -> GridLayout:
    """The grid of a model that speaks a codec's codes."""
    silence = tuple(int(code) for code in codec.silence)
    k = codec.n_codebooks
    return GridLayout(1 + 2 * k, 0, slice(1, 1 + k), slice(1 + k, 1 + 2 * k), pad, silence, silence,
                      2 + codec.delay_frames, 1, FRAME, codec.source, codec.card, text_card, tuple(delays))  # fmt: skip


class GridVoice:
    """A voice with sound and timed words, put into a model's tokens. It is another voice than the model's own, unless
    the speaker was made from it; the model's codec says it."""

    def __init__(self, voice: ReplyVoice, codec: Codec, spell: Spell, pad: int, end_of_padding: int) -> None:
        self._voice, self._codec, self._spell = voice, codec, spell
        self._pad, self._epad = pad, end_of_padding
        self.source = f"{voice.source}+{codec.source}"

    def reply(self, text: str) -> Said | None:
        said = self._voice.reply(text)
        if said is None or said.audio is None:
            return None
        codes = encode(self._codec, said.audio)
        row = text_row(said.words, codes.shape[1] + 1, self._spell, self._pad, self._epad)
        if row is None:
            return None
        before = np.asarray(self._codec.silence, np.int16)[:, None]
        columns = np.concatenate([row[None], np.concatenate([before, codes], axis=1)])
        return said._replace(columns=columns, lead=1)


def text_row(words: Sequence[Word], n: int, spell: Spell, pad: int, end_of_padding: int) -> Tokens | None:
    """Words as `n` text tokens, their clock beginning with the second; None if one cannot be written."""
    row = np.full(n, pad, np.int16)
    free = 1
    for index, word in enumerate(words):
        tokens = spell(word.text)
        if not tokens:
            return None
        at = max(1 + int(word.start / FRAME + 1e-6), free)
        if (index == 0 or row[at - 1] == pad) and at <= n:
            row[at - 1] = end_of_padding
        fitting = tokens[: max(n - at, 0)]
        row[at : at + len(fitting)] = fitting
        free = at + len(tokens)
    return row


def heard_codes(codec: Codec, audio: np.ndarray, skip_first: bool) -> Tokens:
    """The user's sound, [n] at 24 kHz, as codes [K, frames]; `skip_first`: the codec begins with the second frame."""
    if codec.sample_rate != 24_000:
        raise InputError(f"{codec.source} hears {codec.sample_rate} Hz, not 24000")
    codes = encode(codec, audio[codec.frame_size :] if skip_first else audio)
    if not skip_first:
        return codes
    return np.concatenate([np.asarray(codec.silence, np.int16)[:, None], codes], axis=1)
