"""Trains the vocoder on the agent's voice: from codes, some of them wrong, to the speech they came from.

The one non-obvious decision: half of the training talks carry wrong codes (10 to 20 % of the last four books, 3 % of
all books), because in use the codes are sampled by a language model. The pulses follow the true pitch in training
and the predicted one in use. Every step draws from a generator of its own, so a run that was stopped goes on with
the numbers it would have had.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.tiny.codec import CARD, PATCH, Quantiser
from model.tiny.features import BANDS, HOP, HOPS, N_FEATURES, PITCH_WEIGHT, Features
from model.tiny.pitch import NEUTRAL, PitchTracker
from model.tiny.train_speech import Progress
from model.tiny.vocoder import LOOKAHEAD, N_FFT, VOCODER_SHAPES, pulses
from model.tiny.vocoder_net import SpectralLoss, VocoderNet, synthesise
from protocols.duplex import FRAME_SIZE, Audio

BATCH = 12
FRAMES = 12  # spoken per segment
CONTEXT = 4  # frames before them that are only heard
OFFSETS = (0, 2, 4, 6, 8)  # hops by which the grid of frames is moved, for variety
LATE = 25  # lag of the tracker that gives the true pitch
LATE_BOOKS = 4  # the first book whose codes are often wrong
RATE = 1e-3
WARM_UP = 50
SAVE_EVERY = 200

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int16]


class Material(NamedTuple):
    """One long channel of the agent's voice, and everything the losses compare with."""

    audio: Tensor  # [n]
    source: Tensor  # [n + HOP], pulses at the true pitch; sample s of the audio belongs to s + HOP
    ln_f0: Tensor  # [H], the true pitch of every hop
    voiced: Tensor  # [H]
    codes: dict[int, Codes]  # [T, BOOKS] for every offset of the grid


def hear(audio: Audio, lag: int | None = None) -> Floats:
    """Features [H, N_FEATURES] of a whole channel [n], its pitch `lag` hops late."""
    features = Features() if lag is None else Features(PitchTracker(lag))
    state = features.start(1)
    frames = np.pad(audio, (0, -len(audio) % FRAME_SIZE)).reshape(-1, 1, FRAME_SIZE)
    return np.concatenate([features.push(state, frame)[0] for frame in frames])


def on_grid(heard: Floats, offset: int) -> Floats:
    """Patches [T, PATCH] of features [H, N_FEATURES], the first one starting at hop `offset`."""
    count = (len(heard) - offset) // HOPS
    return heard[offset : offset + count * HOPS].reshape(count, PATCH)


def gather_material(audio: Audio, quantiser: Quantiser) -> Material:
    """Codes, pitch and pulses of the agent's channel [n]."""
    audio = audio[: len(audio) // FRAME_SIZE * FRAME_SIZE]
    heard, late = hear(audio), hear(audio, LATE)[LATE:, BANDS]
    ln_f0 = np.concatenate([late, np.zeros(LATE, np.float32)]).astype(np.float64) / PITCH_WEIGHT + NEUTRAL
    voiced = np.diff(ln_f0, prepend=NEUTRAL) != 0  # a pitch that is only held repeats exactly
    train, _ = pulses(np.append(ln_f0, ln_f0[-1])[None], np.zeros(1))
    codes = {offset: quantiser.quantise(on_grid(heard, offset)) for offset in OFFSETS}
    return Material(
        torch.from_numpy(audio),
        torch.from_numpy(np.pad(train[0], (0, HOP))),
        torch.from_numpy(ln_f0.astype(np.float32)),
        torch.from_numpy(voiced.astype(np.float32)),
        codes,
    )


class Segments(NamedTuple):
    """A batch: what is heard, and what should be said."""

    codes: Codes  # [B, CONTEXT + FRAMES, BOOKS]
    audio: Tensor  # [B, (G + 1) * HOP] with G = FRAMES * HOPS
    source: Tensor  # as audio
    ln_f0: Tensor  # [B, G]
    voiced: Tensor  # [B, G]


def draw(material: Material, rng: np.random.Generator) -> Segments:
    """BATCH segments from anywhere in the material, all on one grid."""
    offset = int(rng.choice(OFFSETS))
    codes = material.codes[offset]
    starts = rng.integers(0, len(codes) - CONTEXT - FRAMES - 1, BATCH)
    wanted = codes[starts[:, None] + np.arange(CONTEXT + FRAMES)]
    steps = FRAMES * HOPS
    first = [offset + HOPS * (int(start) + CONTEXT) - LOOKAHEAD for start in starts]  # the first hop spoken

    def cut(x: Tensor, at: int, n: int) -> Tensor:
        return torch.stack([x[at + HOP * a : at + HOP * a + n] for a in first])

    n = (steps + 1) * HOP
    audio, source = cut(material.audio, -2 * HOP, n), cut(material.source, -HOP, n)
    ln_f0, voiced = (torch.stack([x[a + 1 : a + 1 + steps] for a in first]) for x in (material.ln_f0, material.voiced))
    return Segments(wanted, audio, source, ln_f0, voiced)


def with_wrong_codes(codes: Codes, rng: np.random.Generator) -> Codes:
    """codes [B, T, K] with random ones in every other row."""
    chance = np.full(codes.shape, 0.03)
    chance[..., LATE_BOOKS:] = rng.uniform(0.1, 0.2, (len(codes), 1, 1))
    chance[::2] = 0
    wrong = rng.random(codes.shape) < chance
    return np.where(wrong, rng.integers(0, CARD, codes.shape), codes).astype(np.int16)


def make_net(quantiser: Quantiser, material: Material) -> VocoderNet:
    """A fresh network that knows the scale of what it will hear."""
    places = quantiser.places(material.codes[0])
    features = quantiser.patches(places).reshape(-1, N_FEATURES)
    scale = torch.full((places.shape[1],), float(places.std(axis=0).mean()))
    return VocoderNet(scale, torch.from_numpy(features.mean(axis=0)), torch.from_numpy(features.std(axis=0)))


def loss_of(net: VocoderNet, quantiser: Quantiser, batch: Segments, spectral: SpectralLoss) -> tuple[Tensor, Tensor]:
    """How far what the network says is from the speech, and (voiced mean, nepers) from its pitch."""
    flat = batch.codes.reshape(-1, batch.codes.shape[-1])
    places = quantiser.places(flat)
    features = quantiser.patches(places).reshape(BATCH, -1, N_FEATURES)
    said = net(torch.from_numpy(places).reshape(BATCH, -1, places.shape[1]), torch.from_numpy(features))
    filters, ln_f0 = said.filters[:, CONTEXT * HOPS :], said.ln_f0[:, CONTEXT * HOPS :]
    made = synthesise(filters, batch.source, torch.randn_like(batch.source))
    whole = slice(N_FFT - HOP, HOP * FRAMES * HOPS)  # where all hops that sound are in the segment
    off = ((ln_f0 - batch.ln_f0).abs() * batch.voiced).sum() / batch.voiced.sum().clamp_min(1)
    return spectral(made[:, whole], batch.audio[:, whole]), off


def train_vocoder(
    audio: Audio, quantiser: Quantiser, steps: int, seed: int, checkpoint: Path, progress: Progress
) -> dict[str, Floats]:
    """The vocoder's weights after `steps` steps on the agent's channel [n]; goes on from an existing checkpoint."""
    torch.manual_seed(seed)
    material = gather_material(audio, quantiser)
    net, spectral = make_net(quantiser, material), SpectralLoss()
    optimiser = torch.optim.AdamW(net.parameters(), RATE, betas=(0.8, 0.98), weight_decay=0.01)
    start, recent = 0, np.zeros((0, 2))
    if checkpoint.is_file():
        saved = torch.load(checkpoint)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        start = int(saved["step"])
    for step in range(start, steps):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(seed * 1_000_003 + step)
        rate = RATE * min(1, (step + 1) / WARM_UP) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = draw(material, rng)
        sound, pitch = loss_of(net, quantiser, batch._replace(codes=with_wrong_codes(batch.codes, rng)), spectral)
        optimiser.zero_grad()
        torch.autograd.backward(sound + 3 * pitch)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 3.0)
        optimiser.step()
        recent = np.append(recent, [[float(sound.detach()), float(pitch.detach())]], axis=0)[-100:]
        if (step + 1) % 50 == 0:
            progress(
                f"vocoder step {step + 1} of {steps}: loss {recent[:, 0].mean():.3f}, pitch {recent[:, 1].mean():.4f}"
            )
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, checkpoint)
    state = net.state_dict()
    return {name: state[name].numpy() for name in VOCODER_SHAPES}
