"""Training the embedded model: the same from a seed, the same after a stop, and it learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.lm import LMConfig
from model.tiny.faults import FaultRates, plant
from model.tiny.grid import FIRST_WORD, AgentClip, Placed, UserClip
from model.tiny.train import Losses, Recipe, Trainer, losses_of, make_batch, schedule, tiny_config
from model.tiny.world import load_world, split
from protocols.errors import InputError

WORLD = load_world()
HELD = split(WORLD)
FAULTS = plant(WORLD, FaultRates(), 0)
CARD, N_WORDS = 16, 8
SMALL = LMConfig(
    dim=16, num_layers=1, num_heads=2, n_q=16, dep_q=8, card=CARD, text_card=FIRST_WORD + N_WORDS,
    delays=(0, 0, *[1] * 7, 0, *[1] * 7), context=64, depformer_dim=16, depformer_num_layers=1, depformer_num_heads=2,
    depformer_multi_linear=True, hidden_scale=2.0,
)  # fmt: skip
RECIPE = Recipe(steps=30, batch=2, frames=60, warm_up=5, depth_frames=8, save_every=10, learning_rate=1e-2)


class Toy:
    """A few codes for a user, others for the agent; a word is its length modulo eight."""

    silence = np.zeros((8, 1), np.int16)

    def user(self, text: str, rng: np.random.Generator) -> UserClip:
        return UserClip(np.full((8, 6), 1 + len(text) % 7, np.int16), 3)

    def agent(self, text: str) -> AgentClip:
        words = tuple(Placed(2 * i, FIRST_WORD + len(w) % N_WORDS) for i, w in enumerate(text.split()))
        return AgentClip(np.full((8, 2 * len(words)), 9, np.int16), words)

    def noise(self, n_frames: int, rng: np.random.Generator) -> np.ndarray:
        return np.zeros((8, n_frames), np.int16)


def trained(folder: Path, stops: list[int | None], recipe: Recipe = RECIPE) -> tuple[Trainer, list[Losses]]:
    """A training that is stopped at each of `stops` and taken up by a new trainer."""
    torch.set_num_threads(1)
    losses: list[Losses] = []
    for stop in stops:
        trainer = Trainer(SMALL, recipe)
        trainer.load(folder)
        losses += trainer.run(WORLD, HELD, FAULTS, Toy(), folder, stop)
        trainer.save(folder)
    return trainer, losses


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [p.detach().numpy() for p in trainer.model.parameters()]


def test_a_training_that_was_stopped_ends_where_one_that_was_not_ends(tmp_path: Path) -> None:
    whole, losses = trained(tmp_path / "a", [None])
    parts, pieces = trained(tmp_path / "b", [7, 18, None])
    assert losses == pieces
    assert whole.step == parts.step == 30
    for a, b in zip(weights(whole), weights(parts), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_learns(tmp_path: Path) -> None:
    _, losses = trained(tmp_path, [None], replace(RECIPE, steps=80))
    first, last = (np.mean([loss.text + loss.audio for loss in part]) for part in (losses[:10], losses[-10:]))
    assert last < 0.6 * first


def test_a_batch_follows_from_its_number_alone() -> None:
    a, b, c = (make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, n) for n in (3, 3, 4))
    assert torch.equal(a.codes, b.codes)
    assert not torch.equal(a.codes, c.codes)
    noisy = (a.codes != a.targets).float().mean(dim=(0, 2))
    assert noisy[0] == 0
    assert 0 < noisy[1:9].mean() < 0.05
    assert 0.01 < noisy[9:].mean() < 0.08


def test_the_audio_loss_ignores_what_stands_before_a_late_stream() -> None:
    trainer = Trainer(SMALL, RECIPE)
    batch = make_batch(WORLD, HELD, FAULTS, Toy(), replace(RECIPE, frames=9), CARD, 0)
    recipe = replace(RECIPE, depth_frames=9)
    loss, losses = losses_of(trainer.model, batch, recipe, np.random.default_rng(0))
    assert np.isfinite(loss.item())
    assert losses.audio == pytest.approx(np.log(CARD), rel=0.5)


def test_another_recipes_checkpoint_and_a_cut_one_are_refused(tmp_path: Path) -> None:
    trained(tmp_path, [3])
    with pytest.raises(InputError, match="another recipe"):
        Trainer(SMALL, replace(RECIPE, seed=1)).load(tmp_path)
    file = tmp_path / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        Trainer(SMALL, RECIPE).load(tmp_path)
    assert not Trainer(SMALL, RECIPE).load(tmp_path / "nothing")


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    trainer = Trainer(SMALL, RECIPE)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="not a number in step 0"):
        list(trainer.run(WORLD, HELD, FAULTS, Toy(), tmp_path))


def test_the_learning_rate_warms_up_and_cools_down() -> None:
    rates = [schedule(step, Recipe()) for step in range(0, 12_000, 100)]
    assert rates[0] < 0.02
    assert max(rates) <= 1.0
    assert rates[-1] < 0.06


def test_the_embedded_model_is_small() -> None:
    trainer = Trainer(tiny_config(text_card=520, card=1024), Recipe())
    n = sum(p.numel() for p in trainer.model.parameters())
    assert 4e6 < n < 8e6, f"{n / 1e6:.1f} M parameters; two bytes each must fit 16 MB"
