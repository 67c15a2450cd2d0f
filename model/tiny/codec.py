"""The embedded speech codec: 80 ms of log-mel and pitch become eight residual codes of 1024; a small vocoder speaks.

A patch of ten hops is projected on its 84 principal axes and quantised book after book, each coding what the ones
before left over; without memory, so a wrong code hurts its own 80 ms only. The one non-obvious decision: code 0 of
the first book *is* the patch of digital silence and code 0 of the others is zero, set when the weights are loaded.
So silence is always the codes 0 0 0 0 0 0 0 0, exactly, and decodes to zeros.
This file does not analyse sound (`features`), make it (`vocoder`) or train (`train_codec`).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.codec import Codes, Mask, check_batch, check_codes, check_frames, check_mask
from model.tiny.features import HOPS, N_FEATURES, Features, silent_patch
from model.tiny.rows import first_row
from model.tiny.vocoder import AXES, VOCODER_SHAPES, Vocoder, VocoderState
from model.tiny.weights import read_weights
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio

WEIGHTS = Path(__file__).with_name("codec.safetensors")
PATCH = HOPS * N_FEATURES
BOOKS = 8
CARD = 1_024
SETTLED = 12  # frames of silence after which the vocoder has forgotten everything else
SHAPES: dict[str, tuple[int, ...]] = {"mean": (PATCH,), "axes": (PATCH, AXES), "books": (BOOKS, CARD, AXES)}

Floats = npt.NDArray[np.float32]


class Quantiser:
    """Patches [B, PATCH] to codes [B, BOOKS] and back."""

    def __init__(self, mean: Floats, axes: Floats, books: Floats) -> None:
        self._mean = mean
        self._axes = np.ascontiguousarray(axes)
        self._axes_back = np.ascontiguousarray(axes.T)
        self.books = books.copy()
        self.books[:, 0] = 0
        self.books[0, 0] = self.project(silent_patch()[None])[0]
        self._turned = np.ascontiguousarray(-2 * self.books.transpose(0, 2, 1))  # [BOOKS, AXES, CARD]
        self._norms = np.square(self.books).sum(axis=2)  # [BOOKS, CARD]

    def project(self, patches: Floats) -> Floats:
        """Places [B, AXES] of patches [B, PATCH]."""
        return np.asarray((patches - self._mean)[:, None] @ self._axes, dtype=np.float32)[:, 0]

    def quantise(self, patches: Floats) -> Codes:
        """The nearest code of each book to what is left, [B, BOOKS]; of equals the first."""
        left = self.project(patches)
        codes = np.zeros((len(patches), BOOKS), np.int16)
        for k, book in enumerate(self.books):
            nearest = (self._norms[k] + (left[:, None] @ self._turned[k])[:, 0]).argmin(axis=1)
            codes[:, k] = nearest
            left = left - book[nearest]
        return codes

    def places(self, codes: Codes) -> Floats:
        """The sum of the named entries, [B, AXES]."""
        out = np.zeros((len(codes), AXES), np.float32)
        for k, book in enumerate(self.books):
            out += book[codes[:, k]]
        return out

    def patches(self, places: Floats) -> Floats:
        """Features [B, HOPS, N_FEATURES] at places [B, AXES]."""
        flat = (places[:, None] @ self._axes_back)[:, 0] + self._mean
        return flat.reshape(-1, HOPS, N_FEATURES)


class TinyCodec:
    """The `model.codec.Codec` that needs nothing but numpy and scipy."""

    sample_rate = SAMPLE_RATE
    frame_size = FRAME_SIZE
    n_codebooks = BOOKS
    card = CARD
    delay_frames = 1  # the vocoder hears the next frame before it speaks one

    def __init__(self, quantiser: Quantiser, vocoder: Vocoder, source: str) -> None:
        self.quantiser = quantiser
        self.vocoder = vocoder
        self.features = Features()
        self.source = source
        self._silent = vocoder.start(1)
        for _ in range(SETTLED):
            self.speak(self._silent, self.silence[None])
        vocoder.rewind(self._silent)

    @property
    def silence(self) -> Codes:
        return np.zeros(BOOKS, np.int16)

    def encoder(self, batch: int) -> "TinyEncoder":
        """An encoder for `batch` talks; InputError if there are none."""
        return TinyEncoder(self, batch)

    def decoder(self, batch: int) -> "TinyDecoder":
        """A decoder for `batch` talks; InputError if there are none."""
        return TinyDecoder(self, batch)

    def after_silence(self, batch: int) -> VocoderState:
        """What the vocoder remembers of `batch` talks in which nothing was said yet."""
        return self._silent.take(first_row(batch))

    def speak(self, state: VocoderState, codes: Codes) -> Audio:
        """Audio [B, FRAME_SIZE] of the frame before codes [B, BOOKS]; moves the state on."""
        places = self.quantiser.places(codes)
        return self.vocoder.push(state, places, self.quantiser.patches(places), np.logical_not(codes.any(axis=1)))


class TinyEncoder:
    """The `model.codec.EncoderStream` of TinyCodec."""

    def __init__(self, codec: TinyCodec, batch: int) -> None:
        check_batch(batch)
        self.batch = batch
        self._codec = codec
        self._state = codec.features.start(batch)

    def push(self, frames: Audio, active: Mask) -> Codes:
        check_frames(frames, active, self.batch, FRAME_SIZE)
        codes = np.tile(self._codec.silence, (self.batch, 1))
        rows = np.flatnonzero(active)
        if rows.size:
            state = self._state.take(rows)
            heard = self._codec.features.push(state, frames[rows])
            self._state.put(rows, state)
            codes[rows] = self._codec.quantiser.quantise(heard.reshape(-1, PATCH))
        return codes

    def reset(self, mask: Mask) -> None:
        check_mask(mask, self.batch)
        rows = np.flatnonzero(mask)
        self._state.put(rows, self._codec.features.start(len(rows)))


class TinyDecoder:
    """The `model.codec.DecoderStream` of TinyCodec."""

    def __init__(self, codec: TinyCodec, batch: int) -> None:
        check_batch(batch)
        self.batch = batch
        self._codec = codec
        self._state = codec.after_silence(batch)

    def push(self, codes: Codes, active: Mask) -> Audio:
        check_codes(codes, active, self.batch, BOOKS, CARD)
        audio = np.zeros((self.batch, FRAME_SIZE), np.float32)
        rows = np.flatnonzero(active)
        if rows.size:
            state = self._state.take(rows)
            audio[rows] = self._codec.speak(state, codes[rows])
            self._state.put(rows, state)
        return audio

    def reset(self, mask: Mask) -> None:
        check_mask(mask, self.batch)
        rows = np.flatnonzero(mask)
        self._state.put(rows, self._codec.after_silence(len(rows)))


def load_codec(path: Path = WEIGHTS) -> TinyCodec:
    """The codec with the weights that are shipped, or those in `path`; InputError if the file cannot be used."""
    return _loaded(path.resolve())


@lru_cache(maxsize=4)
def _loaded(path: Path) -> TinyCodec:
    weights = read_weights(path, {**SHAPES, **VOCODER_SHAPES})
    tensors = weights.tensors
    quantiser = Quantiser(tensors["mean"], tensors["axes"], tensors["books"])
    return TinyCodec(quantiser, Vocoder(tensors), f"tiny-codec/1:{weights.sha256[:12]}")
