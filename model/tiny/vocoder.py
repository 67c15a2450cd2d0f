"""The agent's voice: codes to speech by source and filter, one frame late, in numpy alone.

A network of 1.1 M weights turns each frame's place and features into two filters a hop, one for a pulse train at the
decoded pitch and one for noise (after the neural source-filter and DDSP vocoders; phases are never predicted: the
pulses' filter has minimum phase). The one non-obvious decision is the clock. The network speaks about the hop
LOOKAHEAD = 8 hops before the newest one it hears, which is just enough for the frame before the newest to be final
when a frame has been pushed. `vocoder_net` is the same network in torch; the names of the weights are shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, rfft

from model.tiny.features import BANDS, HOP, HOPS, MEL_FILTERS, N_FEATURES, PITCH_WEIGHT, mel
from model.tiny.pitch import LAG, NEUTRAL
from model.tiny.rows import Rows
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio

LOOKAHEAD = 8  # hops between the hop that is spoken and the newest one that is heard
N_FFT = 768
BINS = N_FFT // 2 + 1
FRAME = 2 * HOP  # samples of source under one window
TAIL = N_FFT - HOP  # samples a hop's filters ring on
AXES, WIDE, SPREAD, CHANNELS, BLOCKS, REACH = 84, 256, 64, 192, 4, 7
LOUDEST, QUIETEST = 4.0, -13.0  # bounds of the filters, nepers
HIGHEST_PARTIAL = 11_500.0  # Hz
PITCH_STEP = 0.1  # nepers of pitch correction per unit of the network's last output
SHARPNESS = 0.3  # of formants; undoes the smoothing of a regression
NOISE_HOPS = 625  # the noise repeats after 5 s

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_IN = 2 * N_FEATURES + SPREAD + HOPS
VOCODER_SHAPES: dict[str, tuple[int, ...]] = {
    "place_scale": (AXES,),
    "feature_mean": (N_FEATURES,),
    "feature_scale": (N_FEATURES,),
    "gains": (2,),
    "token1.weight": (WIDE, AXES, 3),
    "token1.bias": (WIDE,),
    "token2.weight": (WIDE, WIDE, 2),
    "token2.bias": (WIDE,),
    "spread.weight": (HOPS * SPREAD, WIDE),
    "spread.bias": (HOPS * SPREAD,),
    "inlet.weight": (CHANNELS, _IN),
    "inlet.bias": (CHANNELS,),
    "head_norm.weight": (CHANNELS,),
    "head_norm.bias": (CHANNELS,),
    "head.weight": (2 * BINS + 1, CHANNELS),
    "head.bias": (2 * BINS + 1,),
}
for _i in range(BLOCKS):
    VOCODER_SHAPES |= {
        f"blocks.{_i}.depth.weight": (CHANNELS, 1, REACH),
        f"blocks.{_i}.depth.bias": (CHANNELS,),
        f"blocks.{_i}.norm.weight": (CHANNELS,),
        f"blocks.{_i}.norm.bias": (CHANNELS,),
        f"blocks.{_i}.widen.weight": (2 * CHANNELS, CHANNELS),
        f"blocks.{_i}.widen.bias": (2 * CHANNELS,),
        f"blocks.{_i}.narrow.weight": (CHANNELS, 2 * CHANNELS),
        f"blocks.{_i}.narrow.bias": (CHANNELS,),
        f"blocks.{_i}.scale": (CHANNELS,),
    }

LN_BAND_SUMS = np.log(MEL_FILTERS.sum(axis=1)).astype(np.float32)  # what a flat spectrum of 1 gives


def spectrum_from_bands() -> Floats:
    """[BANDS, BINS]: reads log bands between their centres, constant beyond the first and the last."""
    centres = np.linspace(mel(60), mel(7_800), BANDS + 2)[1:-1]
    at = mel(np.arange(BINS) * (SAMPLE_RATE / N_FFT))
    return np.array([np.interp(at, centres, row) for row in np.eye(BANDS)], dtype=np.float32)


def sharpening(strength: float) -> Floats:
    """[BINS, BINS]: makes ripples of log filters of 3 to 59 samples of quefrency larger by `strength`."""
    lifter = np.ones(N_FFT)
    lifter[3:60] = lifter[-59:-2] = 1 + strength
    cepstra = np.fft.irfft(np.eye(BINS), N_FFT, axis=1) * lifter
    return np.fft.rfft(cepstra, axis=1).real.astype(np.float32)


def source_window() -> Floats:
    """[FRAME], a Hann window; at every HOP they add up to 1."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)


def pulses(ln_f0: npt.NDArray[np.float64], phase: npt.NDArray[np.float64]) -> tuple[Floats, npt.NDArray[np.float64]]:
    """A band-limited pulse train of power 1: [B, H * HOP] between the pitches ln_f0 [B, H + 1], and the phase after.

    The phase [B] lies in 0 to 2 pi. The sum of all partials below HIGHEST_PARTIAL in closed form.
    """
    part = np.arange(1, HOP + 1) / HOP
    f0 = np.exp(ln_f0[:, :-1, None] * (1 - part) + ln_f0[:, 1:, None] * part).reshape(len(ln_f0), -1)
    angle = phase[:, None] + np.cumsum(f0, axis=1) * (2 * np.pi / SAMPLE_RATE)
    partials = np.floor(HIGHEST_PARTIAL / f0)
    folded = np.mod(angle + np.pi, 2 * np.pi) - np.pi
    half = np.sin(folded / 2)
    half = np.where(np.abs(half) < 1e-5, 1e-5, half)
    train = np.sqrt(2 / partials) * 0.5 * (np.sin((partials + 0.5) * folded) / half - 1)
    return train.astype(np.float32), np.mod(angle[:, -1], 2 * np.pi)


@dataclass
class VocoderState(Rows):
    """What the voice remembers of B talks."""

    places: Floats  # [B, 2, AXES], scaled
    hidden: Floats  # [B, 1, WIDE]
    features: Floats  # [B, LOOKAHEAD, N_FEATURES]
    blocks: Floats  # [B, BLOCKS, REACH - 1, CHANNELS]
    was_silent: Bools  # [B], the frame before
    ln_f0: npt.NDArray[np.float64]  # [B], at the first hop to come
    phase: npt.NDArray[np.float64]  # [B], of the pulse train
    source: Floats  # [B, HOP], the latest pulses
    noise_at: npt.NDArray[np.int64]  # [B], hop of the noise table
    ringing: Floats  # [B, TAIL], of the hops that are over


class Vocoder:
    """Speaks frame by frame; all randomness is one fixed table of noise."""

    def __init__(self, weights: Mapping[str, Floats], sharpness: float = SHARPNESS) -> None:
        self._w = {name: weights[name] for name in VOCODER_SHAPES}
        self._m = {name: np.ascontiguousarray(w.T) for name, w in self._w.items() if w.ndim == 2}
        for name in ("token1.weight", "token2.weight"):
            w = self._w[name]  # [out, in, k]
            self._m[name] = np.ascontiguousarray(w.transpose(2, 1, 0).reshape(-1, len(w)))
        self._depth = [np.ascontiguousarray(self._w[f"blocks.{i}.depth.weight"][:, 0].T) for i in range(BLOCKS)]
        self._from_bands = spectrum_from_bands()
        self._sharpening = sharpening(sharpness)
        self._window = source_window()
        self._noise = _noise_table(self._window)

    def start(self, batch: int) -> VocoderState:
        """An empty memory."""
        return VocoderState(
            places=np.zeros((batch, 2, AXES), np.float32),
            hidden=np.zeros((batch, 1, WIDE), np.float32),
            features=np.zeros((batch, LOOKAHEAD, N_FEATURES), np.float32),
            blocks=np.zeros((batch, BLOCKS, REACH - 1, CHANNELS), np.float32),
            was_silent=np.ones(batch, np.bool_),
            ln_f0=np.full(batch, NEUTRAL),
            phase=np.zeros(batch),
            source=np.zeros((batch, HOP), np.float32),
            noise_at=np.zeros(batch, np.int64),
            ringing=np.zeros((batch, TAIL), np.float32),
        )

    def rewind(self, state: VocoderState) -> None:
        """Puts the clocks of a state back to zero."""
        state.phase[:] = 0
        state.noise_at[:] = 0

    def push(self, state: VocoderState, places: Floats, features: Floats, silent: Bools) -> Audio:
        """Audio [B, FRAME_SIZE] of the frame before this one; moves the state on.

        places [B, AXES], features [B, HOPS, N_FEATURES] and silent [B] are of this frame; hops of a frame that is
        silent get no sound at all.
        """
        heard = np.concatenate([state.features, features], axis=1)
        state.features = heard[:, -LOOKAHEAD:]
        out = self._network(state, places, features, heard[:, :HOPS])
        base = ((heard[:, :HOPS, :BANDS] - LN_BAND_SUMS) @ self._from_bands)[:, :, None]
        gains = self._w["gains"][:, None]
        filters = np.clip(base + gains + out[..., :-1].reshape(*out.shape[:2], 2, BINS), QUIETEST, LOUDEST)
        after = LAG + 1  # the pitch of the hop after the spoken one
        ln_f0 = heard[:, after : after + HOPS, BANDS] / PITCH_WEIGHT + NEUTRAL + PITCH_STEP * out[..., -1]
        mute = np.where(np.arange(HOPS) < LOOKAHEAD, state.was_silent[:, None], silent[:, None])
        state.was_silent = silent
        return self._synthesise(state, self._sharpened(filters), ln_f0.astype(np.float64), mute)

    def _network(self, state: VocoderState, places: Floats, features: Floats, delayed: Floats) -> Floats:
        """[B, HOPS, 2 * BINS + 1]: changes of both filters, and of the pitch one hop later."""
        w, m = self._w, self._m
        recent = np.concatenate([state.places, (places / w["place_scale"])[:, None]], axis=1)
        state.places = recent[:, 1:]
        hidden = _gelu(recent.reshape(len(places), 1, -1) @ m["token1.weight"] + w["token1.bias"])
        both = np.concatenate([state.hidden, hidden], axis=1)
        state.hidden = hidden
        hidden = hidden + _gelu(both.reshape(len(places), 1, -1) @ m["token2.weight"] + w["token2.bias"])
        spread = (hidden @ m["spread.weight"] + w["spread.bias"]).reshape(-1, HOPS, SPREAD)
        clock = np.broadcast_to(np.eye(HOPS, dtype=np.float32), (len(places), HOPS, HOPS))
        near = [(x - w["feature_mean"]) / w["feature_scale"] for x in (features, delayed)]
        x = np.concatenate([*near, spread, clock], axis=2) @ m["inlet.weight"] + w["inlet.bias"]
        for i in range(BLOCKS):
            x = self._block(state, i, x)
        return _normed(x, w["head_norm.weight"], w["head_norm.bias"]) @ m["head.weight"] + w["head.bias"]

    def _block(self, state: VocoderState, i: int, x: Floats) -> Floats:
        """One causal ConvNeXt block on [B, HOPS, CHANNELS]."""
        w, m, name = self._w, self._m, f"blocks.{i}."
        past = np.concatenate([state.blocks[:, i], x], axis=1)
        state.blocks[:, i] = past[:, -(REACH - 1) :]
        y = past[:, :HOPS] * self._depth[i][0] + w[name + "depth.bias"]
        for k in range(1, REACH):
            y += past[:, k : k + HOPS] * self._depth[i][k]
        y = _normed(y, w[name + "norm.weight"], w[name + "norm.bias"])
        y = _gelu(y @ m[name + "widen.weight"] + w[name + "widen.bias"])
        return np.asarray(x + w[name + "scale"] * (y @ m[name + "narrow.weight"] + w[name + "narrow.bias"]))

    def _sharpened(self, filters: Floats) -> Floats:
        """Log filters [B, HOPS, 2, BINS] with stronger formants and the same power."""
        sharp: Floats = filters @ self._sharpening
        power = np.exp(2 * filters).mean(axis=-1, keepdims=True) / np.exp(2 * sharp).mean(axis=-1, keepdims=True)
        sharp += np.float32(0.5) * np.log(power)
        return sharp

    def _synthesise(self, state: VocoderState, filters: Floats, ln_f0: npt.NDArray[np.float64], mute: Bools) -> Audio:
        """Filters the source, and adds the hops up, [B, FRAME_SIZE]; `ln_f0` [B, HOPS] is one hop ahead."""
        pitch = np.concatenate([state.ln_f0[:, None], ln_f0], axis=1)
        train, state.phase = pulses(pitch, state.phase)
        state.ln_f0 = ln_f0[:, -1]
        source = np.concatenate([state.source, train], axis=1)
        state.source = source[:, -HOP:]
        windows = np.lib.stride_tricks.sliding_window_view(source, FRAME, axis=1)[:, ::HOP] * self._window
        at = (state.noise_at[:, None] + np.arange(HOPS)) % NOISE_HOPS
        state.noise_at = (state.noise_at + HOPS) % NOISE_HOPS
        sizes = np.exp(filters)
        spectra = rfft(windows, N_FFT, axis=-1) * (sizes[:, :, 0] * minimum_phase(filters[:, :, 0]))
        spectra += self._noise[at] * sizes[:, :, 1]
        sound = irfft(np.where(mute[..., None], 0, spectra), N_FFT, axis=-1).reshape(-1, HOPS, N_FFT // HOP, HOP)
        total = np.zeros((len(sound), FRAME_SIZE + TAIL), np.float32)
        total[:, :TAIL] = state.ringing
        hops = total.reshape(-1, HOPS + TAIL // HOP, HOP)
        for k in range(N_FFT // HOP):
            hops[:, k : k + HOPS] += sound[:, :, k]
        state.ringing = total[:, FRAME_SIZE:]
        return total[:, :FRAME_SIZE]


def minimum_phase(log_sizes: Floats) -> npt.NDArray[np.complex64]:
    """exp(i phase) [..., BINS] of the minimum-phase filter with these log magnitudes (folded cepstrum)."""
    cepstra = irfft(log_sizes, N_FFT, axis=-1)
    cepstra[..., 1 : N_FFT // 2] *= 2
    cepstra[..., N_FFT // 2 + 1 :] = 0
    phase = rfft(cepstra, axis=-1).imag
    out = np.empty(phase.shape, np.complex64)
    out.real, out.imag = np.cos(phase), np.sin(phase)
    return out


def noise_loop() -> Floats:
    """[NOISE_HOPS * HOP] of white noise of power 1, always the same."""
    return np.random.default_rng(0).standard_normal(NOISE_HOPS * HOP, np.float32)


def _noise_table(window: Floats) -> npt.NDArray[np.complex64]:
    """[NOISE_HOPS, BINS], spectra of the loop of noise under overlapping windows."""
    noise = noise_loop()
    loop = np.concatenate([noise, noise[:HOP]])
    windows = np.lib.stride_tricks.sliding_window_view(loop, FRAME)[::HOP] * window
    return np.asarray(rfft(windows, N_FFT, axis=-1), dtype=np.complex64)


def _gelu(x: Floats) -> Floats:
    """Hendrycks and Gimpel's GELU in its tanh form."""
    inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))


def _normed(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Layer normalisation over the last axis."""
    x = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return np.asarray(x / spread * weight + bias)
