"""The training loop of the embedded model: talks of the closed world in, a checkpoint out.

Every batch follows from the recipe's seed and the step's number alone, and a checkpoint holds weights, moments of the
optimiser and the step, so a training that was killed and continued ends at the very weights of one that was not. The
audio loss is computed on a few frames of each talk only (mostly those in which the agent speaks): the depth transformer
is most of the cost and the agent's sound is easy.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from model.lm import DuplexLM, LMConfig
from model.tiny.faults import Faults
from model.tiny.grid import AGENT, EPAD, PAD, TEXT, USER
from model.tiny.talks import Clips, write_talk
from model.tiny.world import Split, World
from protocols.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How to train. Frames are 80 ms."""

    steps: int = 12_000
    batch: int = 8
    frames: int = 160
    learning_rate: float = 1.5e-3
    warm_up: int = 200
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    padding_weight: float = 0.2  # of PAD frames in the text loss
    depth_frames: int = 24  # frames of each talk with an audio loss
    user_noise: float = 0.04  # share of user codes replaced at random
    agent_noise: float = 0.02  # share of agent codes replaced at random in the input
    seed: int = 0
    save_every: int = 250


def tiny_config(text_card: int, card: int) -> LMConfig:
    """The embedded model's shape, about 6 million parameters."""
    return LMConfig(
        dim=192,
        num_layers=5,
        num_heads=6,
        n_q=16,
        dep_q=8,
        card=card,
        text_card=text_card,
        delays=(0, 0, *[1] * 7, 0, *[1] * 7),
        context=250,
        depformer_dim=64,
        depformer_num_layers=2,
        depformer_num_heads=4,
        depformer_multi_linear=True,
        hidden_scale=4.125,
    )


class Losses(NamedTuple):
    """Of one batch. Shares are of words, not of padding."""

    text: float
    audio: float
    words_right: float


class Batch(NamedTuple):
    codes: Tensor  # [B, 17, T], what the model sees
    targets: Tensor  # [B, 17, T], what it should say


def make_batch(world: World, held: Split, faults: Faults, clips: Clips, recipe: Recipe, card: int, step: int) -> Batch:
    """Batch number `step` of a recipe."""
    numbers = range(step * recipe.batch, (step + 1) * recipe.batch)
    codes = np.stack([
        write_talk(world, held, faults, clips, recipe.frames, recipe.seed, n).codes for n in numbers
    ]).astype(np.int64)  # fmt: skip
    seen = codes.copy()
    rng = np.random.default_rng([recipe.seed, step, 1])
    for streams, share in ((USER, recipe.user_noise), (AGENT, recipe.agent_noise)):
        part = seen[:, streams]
        noisy = rng.random(part.shape) < share
        part[noisy] = rng.integers(0, card, int(noisy.sum()))
    return Batch(torch.from_numpy(seen), torch.from_numpy(codes))


def losses_of(model: DuplexLM, batch: Batch, recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, Losses]:
    """The loss to descend, and its parts."""
    delayed = model.delayed(batch.codes)
    hidden = model.hidden(delayed[:, :, :-1])  # [B, T, dim]
    target = model.delayed(batch.targets)[:, : 1 + model.config.dep_q, 1:]  # [B, 9, T], each stream late
    words = target[:, TEXT]
    logits = model.text_head(hidden)
    weight = torch.where(words == PAD, recipe.padding_weight, 1.0)
    each = cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none").view_as(weight)
    text = (each * weight).sum() / weight.sum()
    audio = _audio_loss(model, hidden, delayed, target, recipe, rng)
    spoken = (words != PAD) & (words != EPAD)
    right = ((logits.argmax(-1) == words) & spoken).sum() / spoken.sum().clamp(min=1)
    return text + audio, Losses(text.item(), audio.item(), right.item())


def _audio_loss(
    model: DuplexLM, hidden: Tensor, delayed: Tensor, target: Tensor, recipe: Recipe, rng: np.random.Generator
) -> Tensor:
    """Cross-entropy of the agent's codes on `depth_frames` frames per talk, five times likelier where it speaks."""
    first = target[:, 1]
    speaks = (first != first.mode(dim=1, keepdim=True).values).numpy()  # silence is every talk's commonest code
    chance = np.where(speaks, 5.0, 1.0)
    chance /= chance.sum(axis=1, keepdims=True)
    rows = [np.sort(rng.choice(len(p), recipe.depth_frames, replace=False, p=p)) for p in chance]
    at = torch.from_numpy(np.stack(rows))  # [B, F]
    picked = hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1])).flatten(0, 1)
    before = delayed[:, : model.config.dep_q, 1:].transpose(1, 2)  # [B, T, 8]: text and the first seven books
    before = before.gather(1, at[..., None].expand(-1, -1, before.shape[-1])).flatten(0, 1)
    wanted = target[:, 1:].transpose(1, 2).gather(1, at[..., None].expand(-1, -1, model.config.dep_q)).flatten(0, 1)
    logits = model.depth(picked, before)  # [B * F, 8, card]
    known = wanted < model.config.card  # not the initial token of a late stream
    return cross_entropy(logits[known], wanted[known])


class Trainer:
    """A model, its optimiser and how far they are."""

    def __init__(self, config: LMConfig, recipe: Recipe, device: str = "cpu") -> None:
        self.recipe = recipe
        self.model = DuplexLM(config, seed=recipe.seed).to(device)
        self.step = 0
        self._optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
        )

    def run(
        self, world: World, held: Split, faults: Faults, clips: Clips, folder: Path, until: int | None = None
    ) -> Iterator[Losses]:
        """Train up to `until` (default: all steps), yielding each step's losses and saving into `folder` on the way."""
        recipe, card = self.recipe, self.model.config.card
        self.model.train()
        while self.step < (recipe.steps if until is None else min(until, recipe.steps)):
            batch = make_batch(world, held, faults, clips, recipe, card, self.step)
            loss, losses = losses_of(self.model, batch, recipe, np.random.default_rng([recipe.seed, self.step, 2]))
            if not math.isfinite(loss.item()):
                raise InputError(f"the loss is not a number in step {self.step}; lower the learning rate")
            for group in self._optimiser.param_groups:
                group["lr"] = recipe.learning_rate * schedule(self.step, recipe)
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
            self._optimiser.step()
            self.step += 1
            if self.step % recipe.save_every == 0:
                self.save(folder)
            yield losses

    def save(self, folder: Path) -> None:
        """Write everything that is needed to go on."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        for name, p in self.model.named_parameters():
            for moment in ("exp_avg", "exp_avg_sq"):
                if p in self._optimiser.state:
                    tensors[f"{moment}.{name}"] = self._optimiser.state[p][moment]
        about = {"step": str(self.step), "recipe": msgspec.json.encode(asdict(self.recipe)).decode()}
        temporary = folder / "training.safetensors.part"
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary, about)
        temporary.replace(folder / "training.safetensors")

    def load(self, folder: Path) -> bool:
        """Go on from what `save` wrote; False if there is nothing. Another recipe's checkpoint is an InputError."""
        path = folder / "training.safetensors"
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} cannot be read as safetensors: {error}") from error
        if about.get("recipe") != msgspec.json.encode(asdict(self.recipe)).decode():
            raise InputError(f"{path} was made by another recipe; give another folder")
        step = int(about["step"])
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
                if f"exp_avg.{name}" in tensors:
                    moments = {moment: tensors[f"{moment}.{name}"].clone() for moment in ("exp_avg", "exp_avg_sq")}
                    self._optimiser.state[p] = {"step": torch.tensor(float(step)), **moments}
        self.step = step
        return True


def schedule(step: int, recipe: Recipe) -> float:
    """Share of the learning rate: linear warm-up, then cosine down to a twentieth."""
    done = min(1.0, step / recipe.steps)
    return min(1.0, (step + 1) / recipe.warm_up) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
