"""The vocoder's network and synthesis in torch, for training: the same sums as `vocoder`, over whole sequences.

The one non-obvious decision: the tests hold this file and the streaming one to the same output, so each can be read
and changed without the other. Names of parameters are names in the weights file. Losses are here, data is not.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from model.tiny import vocoder as v
from model.tiny.features import BANDS, HOP, HOPS, N_FEATURES, PITCH_WEIGHT, mel_filters
from model.tiny.pitch import LAG, NEUTRAL
from protocols.duplex import SAMPLE_RATE


class Spoken(NamedTuple):
    """What the network says; step n speaks of hop n - LOOKAHEAD, its pitch of the hop after that."""

    filters: Tensor  # [B, N, 2, BINS], log magnitudes for pulses and noise
    ln_f0: Tensor  # [B, N]


class Block(nn.Module):
    """A causal ConvNeXt block on [B, N, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv1d(v.CHANNELS, v.CHANNELS, v.REACH, groups=v.CHANNELS)
        self.norm = nn.LayerNorm(v.CHANNELS)
        self.widen = nn.Linear(v.CHANNELS, 2 * v.CHANNELS)
        self.narrow = nn.Linear(2 * v.CHANNELS, v.CHANNELS)
        self.scale = nn.Parameter(torch.full((v.CHANNELS,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(fn.pad(x.transpose(1, 2), (v.REACH - 1, 0))).transpose(1, 2)
        y = self.narrow(fn.gelu(self.widen(self.norm(y)), approximate="tanh"))
        return torch.add(x, self.scale * y)


class VocoderNet(nn.Module):
    """Places [B, T, AXES] and features [B, 10 T, N_FEATURES] to filters and pitch."""

    place_scale: Tensor
    feature_mean: Tensor
    feature_scale: Tensor
    from_bands: Tensor
    band_sums: Tensor

    def __init__(self, place_scale: Tensor, feature_mean: Tensor, feature_scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("place_scale", place_scale)
        self.register_buffer("feature_mean", feature_mean)
        self.register_buffer("feature_scale", feature_scale)
        self.register_buffer("from_bands", torch.from_numpy(v.spectrum_from_bands()), persistent=False)
        self.register_buffer("band_sums", torch.from_numpy(v.LN_BAND_SUMS), persistent=False)
        self.gains = nn.Parameter(torch.tensor([-3.5, -4.4]))
        self.token1 = nn.Conv1d(v.AXES, v.WIDE, 3)
        self.token2 = nn.Conv1d(v.WIDE, v.WIDE, 2)
        self.spread = nn.Linear(v.WIDE, HOPS * v.SPREAD)
        self.inlet = nn.Linear(2 * N_FEATURES + v.SPREAD + HOPS, v.CHANNELS)
        self.blocks = nn.ModuleList([Block() for _ in range(v.BLOCKS)])
        self.head_norm = nn.LayerNorm(v.CHANNELS)
        self.head = nn.Linear(v.CHANNELS, 2 * v.BINS + 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, places: Tensor, features: Tensor) -> Spoken:
        batch, frames, _ = places.shape
        hidden = fn.gelu(self.token1(fn.pad((places / self.place_scale).mT, (2, 0))), approximate="tanh")
        hidden = hidden + fn.gelu(self.token2(fn.pad(hidden, (1, 0))), approximate="tanh")
        spread = self.spread(hidden.mT).reshape(batch, frames * HOPS, v.SPREAD)
        clock = torch.eye(HOPS).repeat(frames, 1).expand(batch, -1, -1)
        delayed = _delayed(features, v.LOOKAHEAD)
        near = [(x - self.feature_mean) / self.feature_scale for x in (features, delayed)]
        x = self.inlet(torch.cat([*near, spread, clock], dim=2))
        for block in self.blocks:
            x = block(x)
        out = self.head(self.head_norm(x))
        base = ((delayed[..., :BANDS] - self.band_sums) @ self.from_bands)[:, :, None]
        changes = out[..., :-1].reshape(batch, -1, 2, v.BINS)
        filters = (base + self.gains[:, None] + changes).clamp(v.QUIETEST, v.LOUDEST)
        pitch = _delayed(features, v.LOOKAHEAD - LAG - 1)[..., BANDS]
        return Spoken(filters, pitch / PITCH_WEIGHT + NEUTRAL + v.PITCH_STEP * out[..., -1])


def _delayed(x: Tensor, hops: int) -> Tensor:
    return fn.pad(x, (0, 0, hops, 0))[:, : x.shape[1]]


def synthesise(filters: Tensor, source: Tensor, noise: Tensor) -> Tensor:
    """Sound [B, (N - 1) * HOP + N_FFT] of filters [B, N, 2, BINS]; sources [B, (N + 1) * HOP], no gradient in phases.

    The filters of step n shape the FRAME samples from n * HOP on.
    """
    window = torch.from_numpy(v.source_window())
    pulsed, hissed = (torch.fft.rfft(x.unfold(1, v.FRAME, HOP) * window, v.N_FFT) for x in (source, noise))
    with torch.no_grad():
        cepstra = torch.fft.irfft(filters[:, :, 0], v.N_FFT)
        cepstra[..., 1 : v.N_FFT // 2] *= 2
        cepstra[..., v.N_FFT // 2 + 1 :] = 0
        pulsed = pulsed * torch.exp(1j * torch.fft.rfft(cepstra, v.N_FFT).imag)
    sizes = torch.exp(filters)
    hops = torch.fft.irfft(pulsed * sizes[:, :, 0] + hissed * sizes[:, :, 1], v.N_FFT)
    length = (hops.shape[1] - 1) * HOP + v.N_FFT
    return fn.fold(hops.mT, (1, length), (1, v.N_FFT), stride=(1, HOP)).reshape(len(hops), -1)


class SpectralLoss:
    """How two sounds differ in log magnitudes at several resolutions, in bands too; phases do not count.

    After Yamamoto et al., Parallel WaveGAN, 2020 (eq. 4-6). Above 8 kHz a bin counts less: little is heard there.
    """

    sizes = ((2048, 512), (1024, 256), (512, 128), (256, 64), (128, 48))  # window, hop
    floor = 4e-4
    treble = 0.4  # the weight of bins above 8 kHz

    def __init__(self) -> None:
        self._windows = {n: torch.hann_window(n) for n, _ in self.sizes}
        self._weights = {
            n: torch.where(torch.arange(n // 2 + 1) * (SAMPLE_RATE / n) > 8_000, self.treble, 1.0)[:, None]
            for n, _ in self.sizes
        }
        filters = {n: torch.from_numpy(mel_filters(80, 40, 11_000, n)).float() for n in (1024, 512)}
        self._bands = {n: w / w.sum(dim=1, keepdim=True).clamp_min(1e-6) for n, w in filters.items()}

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        total = torch.zeros(())
        for n, hop in self.sizes:
            a, b = (self._magnitudes(x, n, hop) for x in (made, real))
            weight = self._weights[n]
            total = total + (weight * (self._log(a) - self._log(b)).abs()).mean() / weight.mean()
            total = total + 0.3 * (a - b).abs().sum() / b.sum()
            if (bands := self._bands.get(n)) is not None:
                total = total + (self._log(bands @ a) - self._log(bands @ b)).abs().mean()
        return total

    def _magnitudes(self, x: Tensor, n: int, hop: int) -> Tensor:
        window = self._windows[n]
        spectrum = torch.stft(x, n, hop, n, window, center=False, return_complex=True)
        return spectrum.abs() / window.square().sum().sqrt()

    def _log(self, x: Tensor) -> Tensor:
        return torch.log(x + self.floor)
