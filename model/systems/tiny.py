"""The embedded full-duplex model as a system: codec, language model and vocoder, many talks in one batch.

One step of a talk: the user's frame becomes eight codes, the language model hears them and decides the agent's next
text token and codes, the vocoder turns codes into sound. Codes come out one step late (the acoustic delay) and sound
one step after that (the vocoder looks one frame ahead); words are dated by the frame their sound is heard in, so text
and sound of a recording agree.

A talk lives in a slot of the batch. Slots share nothing: what a talk says does not depend on its neighbours. With
greeting off the agent is made to be silent until the user has been heard once.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from model.codec import Codec
from model.lm import FREE, Decoding, DuplexLM, load_kyutai
from model.tiny.grid import FIRST_WORD, TEXT
from protocols.duplex import FRAME, Audio, Session, Step, SystemInfo, TextPiece
from protocols.errors import InputError
from protocols.store import sha256_of

SLOTS = 16
VOICED_LEVEL = 0.01  # RMS of a user frame that counts as heard


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
    if (lm.config.card, lm.config.dep_q) != (codec.card, codec.n_codebooks):
        raise InputError(
            f"{folder} speaks {lm.config.dep_q} codebooks of {lm.config.card}; "
            f"its codec has {codec.n_codebooks} of {codec.card}"
        )
    return Parts(lm, codec, words, sha256_of(folder / "model.safetensors")[:12])


class TinySystem:
    """Up to `slots` talks at once. One processor thread is fastest, and it is set for the whole process."""

    def __init__(
        self, name: str, parts: Parts, decoding: Decoding | None = None, slots: int = SLOTS, greeting: bool = True
    ) -> None:
        torch.set_num_threads(1)
        decoding = decoding or Decoding()
        options = {**asdict(decoding), "greeting": greeting}
        self.info = SystemInfo(name=name, version=parts.version, slots=slots, decoding=options)
        self._greeting = greeting
        self._unheard = np.zeros(slots, np.bool_)  # slots whose user has not been heard yet
        quiet = [parts.lm.config.existing_text_padding_id, *np.asarray(parts.codec.silence).tolist()]
        self._quiet = torch.tensor(quiet)
        self._lm, self._codec, self._words = parts.lm.eval(), parts.codec, parts.words
        self._encoder, self._decoder = parts.codec.encoder(slots), parts.codec.decoder(slots)
        self._free = list(range(slots))
        self._stack = ExitStack()
        self._stack.enter_context(parts.lm.streaming(slots, decoding))

    def open(self, seed: int, sample_id: str | None = None) -> "TinySession":
        if not self._free:
            raise InputError(f"all {self.info.slots} slots of {self.info.name} are taken")
        slot = self._free.pop(0)
        mask = self._mask([slot])
        self._encoder.reset(mask)
        self._decoder.reset(mask)
        self._lm.reset(torch.from_numpy(mask), [seed])
        self._unheard[slot] = not self._greeting
        return TinySession(self, slot)

    def step_all(self, sessions: Sequence[Session], frames: Sequence[Audio]) -> list[Step]:
        """One frame of several talks, in one pass through the model."""
        talks = [session for session in sessions if isinstance(session, TinySession)]
        slots = [talk.slot for talk in talks]
        active = self._mask(slots)
        heard = np.zeros((self.info.slots, self.info.frame_size), np.float32)
        heard[slots] = np.stack(frames)
        user = self._encoder.push(heard, active)  # [B, 8]
        self._unheard &= np.sqrt(np.mean(heard**2, axis=1)) < VOICED_LEVEL
        forced = torch.where(torch.from_numpy(self._unheard)[:, None], self._quiet, FREE)
        step = self._lm.step(torch.from_numpy(user.astype(np.int64)), torch.from_numpy(active), forced)
        tokens = step.tokens.numpy().astype(np.int16)  # [B, 9]
        ready = step.ready.numpy()
        codes = np.where(ready[:, None], tokens[:, 1:], np.asarray(self._codec.silence, np.int16))
        audio = self._decoder.push(np.ascontiguousarray(codes), active)  # [B, 1920]
        return [
            talk.said(audio[talk.slot], tokens[talk.slot] if ready[talk.slot] else None, user[talk.slot])
            for talk in talks
        ]

    def word(self, token: int) -> str | None:
        """The word of a text token; None for padding and other special tokens."""
        return self._words[token] if token >= FIRST_WORD else None

    @property
    def delay_frames(self) -> int:
        """Frames between a step and the step whose sound holds the codes it gave."""
        return self._codec.delay_frames

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def close(self) -> None:
        self._stack.close()

    def _mask(self, slots: Sequence[int]) -> np.ndarray:
        mask = np.zeros(self.info.slots, np.bool_)
        mask[list(slots)] = True
        return mask


class TinySession:
    """A talk in a slot."""

    def __init__(self, system: TinySystem, slot: int) -> None:
        self.slot = slot
        self._system = system
        self._steps = 0
        self._open = True

    def step(self, frame: Audio) -> Step:
        return self._system.step_all([self], [frame])[0]

    def said(self, audio: Audio, tokens: np.ndarray | None, user: np.ndarray) -> Step:
        """What a step gave to this talk: sound, words, and the column of its token grid."""
        self._steps += 1
        if tokens is None:
            return Step(audio)
        word = self._system.word(int(tokens[TEXT]))
        heard_at = (self._steps + self._system.delay_frames) * FRAME
        pieces = () if word is None else (TextPiece(f" {word}", heard_at, heard_at + FRAME),)
        return Step(audio, pieces, np.concatenate([tokens, user]))

    def close(self) -> None:
        if self._open:
            self._open = False
            self._system.give_back(self.slot)
