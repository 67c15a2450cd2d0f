"""A full-duplex language model and its codec as a system, many talks in one batch.

One step of a talk: the user's frame becomes codes, the language model hears them and decides the agent's next text
token and codes, the codec turns codes into sound. Codes come out as late as the model's longest delay and sound as
late as the codec's; words are dated by the frame their sound is heard in, so text and sound of a recording agree.

The one non-obvious decision: a talk's first frame is heard before the agent has decided anything, and the model never
uses it (`model.lm`). A codec that marks the beginning of what it hears must then begin with the second frame, as it
did in training; `skip_first` says so.

A talk lives in a slot of the batch. Slots share nothing: what a talk says does not depend on its neighbours. With
greeting off the agent is made to be silent until the user has been heard once.
"""

import codecs
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.codec import Codec
from model.lm import FREE, Decoding, DuplexLM
from protocols.duplex import Audio, Session, Step, SystemInfo, TextPiece
from protocols.errors import InputError

VOICED_LEVEL = 0.01  # RMS of a user frame that counts as heard


class Speech(NamedTuple):
    """A model that talks."""

    lm: DuplexLM
    codec: Codec
    pieces: tuple[bytes, ...]  # UTF-8 of each text token; empty where it is not to be read, or its text says nothing
    version: str  # of the weights
    skip_first: bool = False  # the codec begins to hear with a talk's second frame


def fits(lm: DuplexLM, codec: Codec, where: str) -> None:
    """Raise InputError unless the model speaks the codec's codes."""
    if (lm.config.card, lm.config.dep_q) != (codec.card, codec.n_codebooks):
        raise InputError(
            f"{where} speaks {lm.config.dep_q} codebooks of {lm.config.card}; "
            f"its codec has {codec.n_codebooks} of {codec.card}"
        )


class MultistreamSystem:
    """Up to `slots` talks at once. On a processor one thread is fastest, and it is set for the whole process."""

    def __init__(
        self, name: str, speech: Speech, decoding: Decoding | None = None, slots: int = 16, greeting: bool = True
    ) -> None:
        self._device = speech.lm.norm.device
        if self._device.type == "cpu":
            torch.set_num_threads(1)
        decoding = decoding or Decoding()
        codec, size, rate = speech.codec, speech.codec.frame_size, speech.codec.sample_rate
        self.info = SystemInfo(
            name, speech.version, rate, size, slots, decoding={**asdict(decoding), "greeting": greeting}
        )
        self._greeting = greeting
        self._unheard = np.zeros(slots, np.bool_)  # slots whose user has not been heard yet
        quiet = [speech.lm.config.existing_text_padding_id, *np.asarray(codec.silence).tolist()]
        self._quiet = torch.tensor(quiet, device=self._device)
        self._lm, self._codec, self._pieces = speech.lm.eval(), codec, speech.pieces
        self._skip_first = speech.skip_first
        self._first = np.zeros(slots, np.bool_)  # slots whose talk has not taken a step
        self._encoder, self._decoder = codec.encoder(slots), codec.decoder(slots)
        self._free = list(range(slots))
        self._stack = ExitStack()
        self._stack.enter_context(speech.lm.streaming(slots, decoding))

    def open(self, seed: int, sample_id: str | None = None) -> "MultistreamSession":
        if not self._free:
            raise InputError(f"all {self.info.slots} slots of {self.info.name} are taken")
        slot = self._free.pop(0)
        mask = self._mask([slot])
        self._encoder.reset(mask)
        self._decoder.reset(mask)
        self._lm.reset(torch.from_numpy(mask), [seed])
        self._unheard[slot] = not self._greeting
        self._first[slot] = True
        return MultistreamSession(self, slot)

    def step_all(self, sessions: Sequence[Session], frames: Sequence[Audio]) -> list[Step]:
        """One frame of several talks, in one pass through the model."""
        talks = [session for session in sessions if isinstance(session, MultistreamSession)]
        slots = [talk.slot for talk in talks]
        active = self._mask(slots)
        heard = np.zeros((self.info.slots, self.info.frame_size), np.float32)
        heard[slots] = np.stack(frames)
        user = self._encoder.push(heard, active & ~self._first if self._skip_first else active)  # [B, codebooks]
        self._first &= ~active
        self._unheard &= np.sqrt(np.mean(heard**2, axis=1)) < VOICED_LEVEL
        forced = torch.where(self._sent(self._unheard)[:, None], self._quiet, FREE)
        step = self._lm.step(self._sent(user.astype(np.int64)), self._sent(active), forced)
        tokens = step.tokens.cpu().numpy().astype(np.int16)  # [B, 1 + codebooks]
        ready = step.ready.cpu().numpy()
        codes = np.where(ready[:, None], tokens[:, 1:], np.asarray(self._codec.silence, np.int16))
        audio = self._decoder.push(np.ascontiguousarray(codes), active & ready)  # [B, frame_size]
        return [
            talk.said(audio[talk.slot], tokens[talk.slot] if ready[talk.slot] else None, user[talk.slot])
            for talk in talks
        ]

    def piece(self, token: int) -> bytes:
        """The text of a token, which may be a part of a letter."""
        return self._pieces[token]

    @property
    def delay_frames(self) -> int:
        """Frames between a step and the step whose sound holds the codes it gave."""
        return self._codec.delay_frames

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def close(self) -> None:
        self._stack.close()

    def _sent(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device)

    def _mask(self, slots: Sequence[int]) -> np.ndarray:
        mask = np.zeros(self.info.slots, np.bool_)
        mask[list(slots)] = True
        return mask


class MultistreamSession:
    """A talk in a slot."""

    def __init__(self, system: MultistreamSystem, slot: int) -> None:
        self.slot = slot
        self._system = system
        self._steps = 0
        self._open = True
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def step(self, frame: Audio) -> Step:
        return self._system.step_all([self], [frame])[0]

    def said(self, audio: Audio, tokens: np.ndarray | None, user: np.ndarray) -> Step:
        """What a step gave to this talk: sound, text, and the column of its token grid."""
        self._steps += 1
        if tokens is None:
            return Step(audio)
        text, frame = self._text.decode(self._system.piece(int(tokens[0]))), self._system.info.frame
        heard_at = (self._steps + self._system.delay_frames) * frame
        pieces = (TextPiece(text, heard_at, heard_at + frame),) if text else ()
        return Step(audio, pieces, np.concatenate([tokens, user]))

    def close(self) -> None:
        if self._open:
            self._open = False
            self._system.give_back(self.slot)
