"""What a speech codec is to the model room: sound in frames of 80 ms to eight small integers each, and back.

The one non-obvious decision: the streams are the codec. Whole sequences are coded by pushing them through a stream
of batch one, so there is no second path that could disagree with what a talk does live. A row of a batch is a talk of
its own: whatever its neighbours do, hear or forget, its own results keep the same bits.
This file does not know any codec; `model.tiny.codec` is the embedded one.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from protocols.duplex import Audio
from protocols.errors import InputError

Codes = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]


class EncoderStream(Protocol):
    """The users' sides of B talks, heard one frame at a time. Strictly causal."""

    def push(self, frames: Audio, active: Mask) -> Codes:
        """Codes [B, K] of frames [B, frame_size]; a row that is not active keeps its state and gets silence.

        Raises InputError for wrong shapes and types and, where a row is active, for samples that are not numbers;
        then no row has moved on.
        """
        ...

    def reset(self, mask: Mask) -> None:
        """Rows of mask [B] start anew, as if silence had gone before."""
        ...


class DecoderStream(Protocol):
    """The agents' sides of B talks, spoken one frame at a time."""

    def push(self, codes: Codes, active: Mask) -> Audio:
        """Audio [B, frame_size] of the codes pushed `delay_frames` pushes ago; codes are [B, K].

        A row that is not active keeps its state and gets zeros. Raises InputError for wrong shapes and types and,
        where a row is active, for codes outside 0 to card - 1; then no row has moved on.
        """
        ...

    def reset(self, mask: Mask) -> None:
        """Rows of mask [B] start anew, as if silence had gone before."""
        ...


class Codec(Protocol):
    """Streams for batches of talks, and the figures a model needs to know."""

    @property
    def source(self) -> str:
        """Name, version and training of the codec in one short string."""
        ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def frame_size(self) -> int:
        """Samples per frame."""
        ...

    @property
    def n_codebooks(self) -> int:
        """Codes per frame, K."""
        ...

    @property
    def card(self) -> int:
        """Codes run from 0 to card - 1 in every book."""
        ...

    @property
    def delay_frames(self) -> int:
        """How many pushes later a frame's audio comes out of a decoder."""
        ...

    @property
    def silence(self) -> Codes:
        """[K], the codes of a frame of digital silence that follows silence."""
        ...

    def encoder(self, batch: int) -> EncoderStream: ...

    def decoder(self, batch: int) -> DecoderStream: ...


def encode(codec: Codec, audio: Audio) -> Codes:
    """Codes [K, T] of audio [n]; the last frame is filled with zeros, so T = ceil(n / frame_size)."""
    if not isinstance(audio, np.ndarray) or audio.ndim != 1:
        raise InputError(f"the codec takes mono float32 audio [n], not {_described(audio)}")
    size = codec.frame_size
    frames = np.pad(audio, (0, -len(audio) % size)).reshape(-1, 1, size)
    stream, active = codec.encoder(1), np.ones(1, np.bool_)
    codes = np.zeros((codec.n_codebooks, len(frames)), np.int16)
    for t, frame in enumerate(frames):
        codes[:, t] = stream.push(frame, active)[0]
    return codes


def decode(codec: Codec, codes: Codes) -> Audio:
    """Audio [T * frame_size] of codes [K, T], in step with the audio they came from: the delay is taken out."""
    if not isinstance(codes, np.ndarray) or codes.ndim != 2 or len(codes) != codec.n_codebooks:
        raise InputError(f"the codec takes int16 codes [{codec.n_codebooks}, T], not {_described(codes)}")
    stream, active = codec.decoder(1), np.ones(1, np.bool_)
    columns = [*np.ascontiguousarray(codes.T), *[codec.silence] * codec.delay_frames]
    frames = [stream.push(column[None], active)[0] for column in columns]
    return np.concatenate([*frames[codec.delay_frames :], np.zeros(0, np.float32)])


def check_frames(frames: Audio, active: Mask, batch: int, frame_size: int) -> None:
    """Raises InputError unless frames are float32 [batch, frame_size], finite in the active rows."""
    check_mask(active, batch)
    if not _is(frames, np.float32, (batch, frame_size)):
        raise InputError(f"an encoder takes float32 frames [{batch}, {frame_size}], not {_described(frames)}")
    wrong = ~np.isfinite(frames).all(axis=1) & active
    if wrong.any():
        rows = np.flatnonzero(wrong).tolist()
        raise InputError(f"frames hold samples that are not numbers (NaN or infinite) in row(s) {rows}")


def check_codes(codes: Codes, active: Mask, batch: int, n_codebooks: int, card: int) -> None:
    """Raises InputError unless codes are int16 [batch, n_codebooks], from 0 to card - 1 in the active rows."""
    check_mask(active, batch)
    if not _is(codes, np.int16, (batch, n_codebooks)):
        raise InputError(f"a decoder takes int16 codes [{batch}, {n_codebooks}], not {_described(codes)}")
    wrong = ((codes < 0) | (codes >= card)) & active[:, None]
    if wrong.any():
        row, book = np.argwhere(wrong)[0].tolist()
        raise InputError(f"code {codes[row, book]} in row {row}, book {book} is outside 0 to {card - 1}")


def check_mask(mask: Mask, batch: int) -> None:
    """Raises InputError unless mask is bool [batch]."""
    if not _is(mask, np.bool_, (batch,)):
        raise InputError(f"a mask of rows is bool [{batch}], not {_described(mask)}")


def check_batch(batch: int) -> None:
    """Raises InputError unless batch is at least 1."""
    if batch < 1:
        raise InputError(f"a stream needs at least one row, not {batch}")


def _is(value: object, dtype: type[np.generic], shape: tuple[int, ...]) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == dtype and value.shape == shape


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
