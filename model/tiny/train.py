"""The training loop of the embedded model: talks of the closed world in, a checkpoint out.

Talks alone teach when to speak long before what to say. So training begins with dense questions and answers, and at
every word a user has finished the model must also name that word. The ear that does so listens to the middle layer, so
that the layers above can look the words up; it is left out of the finished model. And the agent's replies are few
recordings, the first frames of which give away the rest: so in many talks it does not hear itself, and must learn from
the user what to say. For the same reason it learns to *say* its words from readings, in which it hears itself badly or
not at all: who has only continued recordings cannot begin one.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, rms_norm

from model.lm import NO_INPUT, DuplexLM, LMConfig
from model.tiny.faults import NO_FAULTS, Faults, plant
from model.tiny.grid import AGENT, EPAD, N_CODEBOOKS, NO_WORD, PAD, TEXT, USER
from model.tiny.recipe import Phase, Recipe, schedule
from model.tiny.talks import Clips, write_reading, write_talk
from model.tiny.world import Split, World
from protocols.errors import InputError

HEARD_AFTER = 3  # steps between a word's last frame and its name: two until the model has all its codes, one to think
SILENCE_WEIGHT = 0.1  # of frames in which no word ends
LARGEST_BATCH = 1_000  # talks a step may number


class Losses(NamedTuple):
    """Of one batch. Shares are of words, not of padding."""

    text: float
    audio: float
    ear: float
    words_right: float
    words_heard: float


class Batch(NamedTuple):
    codes: Tensor  # [B, 17, T], what the model sees
    targets: Tensor  # [B, 17, T], what it should say
    heard: Tensor  # [talks, T], the word it should have heard by then, NO_WORD where none ends
    talks: int  # the first so many are talks, the rest readings: their words are given

    def on(self, device: torch.device) -> "Batch":
        return Batch(self.codes.to(device), self.targets.to(device), self.heard.to(device), self.talks)


def make_batch(world: World, held: Split, faults: Faults, clips: Clips, recipe: Recipe, card: int, step: int) -> Batch:
    """Batch number `step` of a recipe."""
    phase = recipe.phase(step)
    faults = faults if phase.faulty else plant(world, held, NO_FAULTS, recipe.seed)
    numbers, n_talks = range(LARGEST_BATCH * step, LARGEST_BATCH * step + phase.batch), phase.batch - phase.readings
    talks = [
        write_talk(world, held, faults, clips, phase.frames, recipe.seed, n, phase.scenario) for n in numbers[:n_talks]
    ]
    readings = [write_reading(clips, phase.frames, recipe.seed, n) for n in numbers[n_talks:]]
    codes = np.stack([*(talk.codes for talk in talks), *readings]).astype(np.int64)
    seen = codes.copy()
    rng = np.random.default_rng([recipe.seed, step, 1])
    for streams, share in ((USER, phase.user_noise), (AGENT, phase.agent_noise)):
        part = seen[:, streams]
        noisy = rng.random(part.shape) < share
        part[noisy] = rng.integers(0, card, int(noisy.sum()))
    missing = rng.random((len(seen), N_CODEBOOKS)) < phase.missing_books
    missing[:, 0] = False
    seen[:, USER][missing] = NO_INPUT
    seen[rng.random(len(codes)) < phase.deaf_to_itself, AGENT] = NO_INPUT
    heard = np.full((len(talks), phase.frames), NO_WORD, np.int64)
    heard[:, HEARD_AFTER:] = [talk.heard[:-HEARD_AFTER] for talk in talks]
    return Batch(torch.from_numpy(seen), torch.from_numpy(codes), torch.from_numpy(heard), n_talks)


class Ear:
    """Names the words a model has heard, from what leaves its middle layer."""

    def __init__(self, model: DuplexLM, n_words: int) -> None:
        self.weight = nn.Parameter(torch.zeros(n_words, model.config.dim, device=model.norm.device))
        self._heard = torch.empty(0)
        model.layers[model.config.num_layers // 2].register_forward_hook(self._listen)

    def names(self) -> Tensor:
        """Logits [B, T, n_words] for the sequences the model has just been through."""
        return linear(rms_norm(self._heard, self._heard.shape[-1:]), self.weight)

    def _listen(self, layer: nn.Module, inputs: object, output: Tensor) -> None:
        self._heard = output


def losses_of(
    model: DuplexLM, ear: Ear, batch: Batch, phase: Phase, rng: np.random.Generator, bfloat16: bool = False
) -> tuple[Tensor, Losses]:
    """The loss to descend, and its parts.

    bfloat16: products of the temporal transformer. Those of the heads stay float32: rounded logits have gradients that
    let them grow, and the larger they are the coarser they get.
    """
    delayed = model.delayed(batch.codes)
    with torch.autocast(batch.codes.device.type, torch.bfloat16, enabled=bfloat16):
        hidden = model.hidden(delayed[:, :, :-1])  # float32 [B, T, dim]
    target = model.delayed(batch.targets)[:, : 1 + model.config.dep_q, 1:]  # [B, 9, T], each stream late
    words = target[: batch.talks, TEXT]
    logits = model.text_head(hidden[: batch.talks])
    text = _text_loss(logits, words, phase)
    names = ear.names()[: batch.talks]
    heard = _weighted(names, batch.heard, NO_WORD, SILENCE_WEIGHT)
    audio = _audio_loss(model, hidden, target, _frames_of_audio(target, batch.talks, phase, rng))
    losses = Losses(
        text.item(),
        audio.item(),
        heard.item(),
        _share_right(logits, words, (words != PAD) & (words != EPAD)),
        _share_right(names, batch.heard, batch.heard != NO_WORD),
    )
    return text + audio + phase.ear_weight * heard, losses


def _text_loss(logits: Tensor, words: Tensor, phase: Phase) -> Tensor:
    """Cross-entropy of logits [B, T, text_card] in two parts that add up to it: whether a word comes, and which."""
    silent = words == PAD
    any_word = logits.index_fill(-1, torch.tensor(PAD, device=logits.device), -torch.inf).logsumexp(-1)
    whether = logits.logsumexp(-1) - torch.where(silent, logits[..., PAD], any_word)
    which = (any_word - logits.gather(-1, words[..., None])[..., 0]).masked_fill(silent, 0.0)
    first = torch.cat([torch.zeros_like(silent[:, :1]), words[:, :-1] == EPAD], 1)
    weight = torch.where(silent, phase.padding_weight, 1.0)
    total = weight * whether + torch.where(first, phase.first_weight, phase.word_weight) * which
    return total.sum() / weight.sum()


def _weighted(logits: Tensor, wanted: Tensor, common: int, weight: float) -> Tensor:
    """Cross-entropy of logits [B, T, card], in which the class `common` counts `weight`."""
    weights = torch.where(wanted == common, weight, 1.0)
    each = cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(weights)
    return (each * weights).sum() / weights.sum()


def _share_right(logits: Tensor, wanted: Tensor, counted: Tensor) -> float:
    return (((logits.argmax(-1) == wanted) & counted).sum() / counted.sum().clamp(min=1)).item()


def _frames_of_audio(target: Tensor, talks: int, phase: Phase, rng: np.random.Generator) -> Tensor:
    """Which frames have an audio loss, bool [B, T]: `depth_frames` of a talk, five times likelier where the agent
    speaks, and of a reading all in which it does."""
    first = target[:, 1]
    speaks = (first != first.flatten().mode().values).cpu().numpy()  # silence is the commonest code
    chosen = speaks.copy()
    for row, chance in enumerate(np.where(speaks[:talks], 5.0, 1.0)):
        chosen[row] = False
        chosen[row, rng.choice(len(chance), phase.depth_frames, replace=False, p=chance / chance.sum())] = True
    return torch.from_numpy(chosen).to(target.device)


def _audio_loss(model: DuplexLM, hidden: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
    """Cross-entropy of the agent's codes in the chosen frames, bool [B, T], of target [B, 9, T]."""
    codes = target.transpose(1, 2)[chosen]  # [F, 9]
    logits = model.depth(hidden[chosen], codes[:, :-1])  # [F, 8, card]
    wanted = codes[:, 1:]
    known = wanted < model.config.card  # not the initial token of a late stream
    return cross_entropy(logits[known], wanted[known])


def _optimisers(parameters: Mapping[str, nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the temporal transformer, AdamW for its embeddings and, gentler, for everything else."""
    matrices = [p for name, p in parameters.items() if name.startswith("layers.") and p.dim() == 2]
    embeddings = [parameters[name] for name in ("text_embedding", "audio_embedding")]
    taken = {*matrices, *embeddings}
    others = [p for p in parameters.values() if p not in taken]
    decay = recipe.weight_decay
    return [
        torch.optim.Muon(matrices, recipe.matrix_rate, decay, adjust_lr_fn="match_rms_adamw"),
        *(
            torch.optim.AdamW(some, rate, betas=(0.9, 0.95), weight_decay=decay, fused=True)
            for some, rate in ((embeddings, recipe.embedding_rate), (others, recipe.learning_rate))
        ),
    ]


class Trainer:
    """A model, its ear for `n_heard` words, their optimisers and how far they are; all of it on `device`."""

    def __init__(self, config: LMConfig, recipe: Recipe, n_heard: int, device: str = "cpu") -> None:
        self.recipe = recipe
        self.model = DuplexLM(config, seed=recipe.seed).to(device)
        self.step = 0
        self._ear = Ear(self.model, n_heard)
        self._parameters = {**dict(self.model.named_parameters()), "ear": self._ear.weight}
        self._optimisers = _optimisers(self._parameters, recipe)

    def begin_from(self, model: DuplexLM) -> None:
        """Start with another model's weights instead of random ones; InputError if it is of another shape."""
        if model.config != self.model.config:
            raise InputError(f"a model of {self.model.config} cannot begin as one of {model.config}")
        self.model.load_state_dict(model.state_dict())

    def run(
        self, world: World, held: Split, faults: Faults, clips: Clips, folder: Path, until: int | None = None
    ) -> Iterator[Losses]:
        """Train up to `until` (default: all steps), yielding each step's losses and saving into `folder` on the way."""
        recipe, card = self.recipe, self.model.config.card
        self.model.train()
        while self.step < (recipe.steps if until is None else min(until, recipe.steps)):
            batch = make_batch(world, held, faults, clips, recipe, card, self.step)
            rng = np.random.default_rng([recipe.seed, self.step, 2])
            batch, phase = batch.on(self.model.norm.device), recipe.phase(self.step)
            loss, losses = losses_of(self.model, self._ear, batch, phase, rng, recipe.bfloat16)
            if not math.isfinite(loss.item()):
                raise InputError(f"the loss is not a number in step {self.step}; lower the learning rate")
            self._descend(loss)
            self.step += 1
            if self.step % recipe.save_every == 0:
                self.save(folder)
            yield losses

    def _descend(self, loss: Tensor) -> None:
        """One step of every optimiser."""
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), self.recipe.clip_norm)
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * schedule(self.step, self.recipe)
            optimiser.step()

    def save(self, folder: Path) -> None:
        """Write everything that is needed to go on."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{name}": p.detach() for name, p in self._parameters.items()}
        states = {p: state for optimiser in self._optimisers for p, state in optimiser.state.items()}
        for name, p in self._parameters.items():
            tensors |= {f"{moment}.{name}": value for moment, value in states.get(p, {}).items()}
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
            for name, p in self._parameters.items():
                p.copy_(tensors.pop(f"model.{name}"))
            for optimiser in self._optimisers:
                held = {p for group in optimiser.param_groups for p in group["params"]}
                for key, value in tensors.items():
                    moment, _, name = key.partition(".")
                    if (p := self._parameters[name]) in held:
                        optimiser.state[p][moment] = value.to(p.device, copy=True)
        self.step = step
        return True
