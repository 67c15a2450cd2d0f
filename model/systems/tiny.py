"""The embedded full-duplex model as a system: a folder's weights, its words, and the embedded codec."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from model.codec import Codec
from model.lm import Decoding, DuplexLM, load_kyutai
from model.systems.multistream import MultistreamSystem, Speech, fits
from model.tiny.grid import FIRST_WORD
from protocols.errors import InputError
from protocols.store import sha256_of

SLOTS = 16


class Parts(NamedTuple):
    """What a tiny model is made of."""

    lm: DuplexLM
    codec: Codec
    words: tuple[str, ...]  # text token -> word; the first ids are special
    version: str  # of the weights


def load_parts(folder: Path, codec: Codec) -> Parts:
    """The model in a folder (model.safetensors, config.json, words.json). InputError says what is not as expected."""
    lm = load_kyutai(folder)
    try:
        words = msgspec.json.decode((folder / "words.json").read_bytes(), type=tuple[str, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{folder / 'words.json'} cannot be read: {error}") from error
    if len(words) != lm.config.text_card:
        raise InputError(f"{folder} has {len(words)} words for a text vocabulary of {lm.config.text_card}")
    fits(lm, codec, str(folder))
    return Parts(lm, codec, words, sha256_of(folder / "model.safetensors")[:12])


class TinySystem(MultistreamSystem):
    """Every token is a word."""

    def __init__(
        self, name: str, parts: Parts, decoding: Decoding | None = None, slots: int = SLOTS, greeting: bool = True
    ) -> None:
        pieces = tuple(b"" if i < FIRST_WORD else f" {word}".encode() for i, word in enumerate(parts.words))
        super().__init__(name, Speech(parts.lm, parts.codec, pieces, parts.version), decoding, slots, greeting)
