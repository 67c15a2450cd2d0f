"""Training the embedded model: the same from a seed, the same after a stop, and it learns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from model.lm import NO_INPUT, DuplexLM, LMConfig
from model.tiny.faults import FaultRates, plant
from model.tiny.grid import EPAD, FIRST_WORD, NO_WORD, PAD, AgentClip, Placed, UserClip
from model.tiny.recipe import PHASES, Phase, Recipe, schedule, tiny_config
from model.tiny.talks import DENSE, write_talk
from model.tiny.train import (
    HEARD_AFTER,
    Batch,
    Ear,
    Losses,
    Trainer,
    _frames_of_audio,
    _text_loss,
    _weighted,
    losses_of,
    make_batch,
)
from model.tiny.world import load_world, split
from protocols.errors import InputError

WORLD = load_world()
HELD = split(WORLD)
FAULTS = plant(WORLD, split(WORLD), FaultRates(), 0)
CARD, N_WORDS = 16, 8
SMALL = LMConfig(
    dim=16, num_layers=1, num_heads=2, n_q=16, dep_q=8, card=CARD, text_card=FIRST_WORD + N_WORDS,
    delays=(0, 0, *[1] * 7, 0, *[1] * 7), context=64, depformer_dim=16, depformer_num_layers=1, depformer_num_heads=2,
    depformer_multi_linear=True, hidden_scale=2.0,
)  # fmt: skip
N_HEARD = 5
PHASE = Phase(steps=10, batch=2, frames=60, depth_frames=8)
RECIPE = Recipe(
    phases=(replace(PHASE, batch=3, frames=40, scenario=DENSE), replace(PHASE, steps=20)),
    warm_up=5,
    save_every=10,
    learning_rate=1e-2,
)


class Toy:
    """A few codes for a user, others for the agent; a word is its length modulo eight."""

    silence = np.zeros((8, 1), np.int16)
    replies = ("Lyon I think.", "Yes.")

    def user(self, text: str, rng: np.random.Generator) -> UserClip:
        kind = len(text) % 4
        return UserClip(np.full((8, 6), 1 + kind, np.int16), 3, (Placed(2, 1 + kind), Placed(5, 1 + kind)))

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
        trainer = Trainer(SMALL, recipe, N_HEARD)
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
    _, losses = trained(tmp_path, [None], RECIPE.scaled(90))
    dense, whole = losses[:30], losses[30:]  # the phases weigh words differently
    assert np.mean([loss.text for loss in dense[-10:]]) < 0.8 * np.mean([loss.text for loss in dense[:10]])
    assert np.mean([loss.audio for loss in whole[-10:]]) < 0.6 * np.mean([loss.audio for loss in dense[:10]])
    assert np.mean([loss.ear for loss in losses[-10:]]) < 0.7 * losses[0].ear


def test_a_batch_follows_from_its_number_alone() -> None:
    a, b, c = (make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, n) for n in (3, 3, 4))
    assert torch.equal(a.codes, b.codes)
    assert not torch.equal(a.codes, c.codes)
    assert a.codes.shape == (3, 17, 40)
    assert make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, 10).codes.shape == (2, 17, 60)


def test_the_model_sees_noise_and_is_sometimes_deaf_to_itself() -> None:
    batches = [make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, n) for n in range(30)]
    deaf = [bool((talk[1:9] == NO_INPUT).all()) for batch in batches for talk in batch.codes]
    assert 0.2 < np.mean(deaf) < 0.8
    for batch in batches:
        changed = (batch.codes != batch.targets) & (batch.codes != NO_INPUT)
        assert not changed[:, 0].any()
        assert (batch.targets >= 0).all()
    noise = np.mean([(b.codes != b.targets)[:, 9:].float().mean() for b in batches])
    assert 0.02 < noise < 0.06


def test_a_word_is_named_once_all_of_it_was_heard() -> None:
    talk = write_talk(WORLD, HELD, FAULTS, Toy(), 60, RECIPE.seed, 1_000 * 12, PHASE.scenario)
    batch = make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, 12)
    assert batch.heard[0, HEARD_AFTER:].tolist() == talk.heard[:-HEARD_AFTER].tolist()
    assert (talk.heard != NO_WORD).any()


def test_a_step_belongs_to_its_phase_and_a_shorter_recipe_keeps_the_proportions() -> None:
    recipe = Recipe()
    firsts = np.cumsum([0, *(phase.steps for phase in PHASES)])
    assert [recipe.phase(int(step)) for step in firsts[:-1]] == list(PHASES)
    assert recipe.phase(int(firsts[1]) - 1) == PHASES[0]
    short = recipe.scaled(recipe.steps // 100)
    assert [p.steps for p in short.phases] == pytest.approx([p.steps / 100 for p in PHASES], abs=1)


def test_the_audio_loss_ignores_what_stands_before_a_late_stream() -> None:
    trainer = Trainer(SMALL, RECIPE, N_HEARD)
    phase = replace(PHASE, frames=9, depth_frames=9)
    batch = make_batch(WORLD, HELD, FAULTS, Toy(), replace(RECIPE, phases=(phase,)), CARD, 0)
    loss, losses = losses_of(trainer.model, Ear(trainer.model, N_HEARD), batch, phase, np.random.default_rng(0))
    assert np.isfinite(loss.item())
    assert losses.audio == pytest.approx(np.log(CARD), rel=0.5)


def test_what_a_reading_says_is_given_and_only_its_sound_is_learnt() -> None:
    phase = replace(PHASE, batch=3, readings=2, agent_noise=0, user_noise=0, deaf_to_itself=0)
    recipe = replace(RECIPE, phases=(phase,))
    batch = make_batch(WORLD, HELD, FAULTS, Toy(), recipe, CARD, 0)
    assert (batch.talks, len(batch.heard), len(batch.codes)) == (1, 1, 3)
    trainer = Trainer(SMALL, recipe, N_HEARD)

    def losses(batch: Batch) -> Losses:
        return losses_of(trainer.model, Ear(trainer.model, N_HEARD), batch, phase, np.random.default_rng(0))[1]

    before = losses(batch)
    talk = batch.targets.clone()
    talk[1:, 0, 5] = FIRST_WORD + 3  # another word in the readings' text, which the depth transformer is told
    assert losses(batch._replace(targets=talk)).text == before.text
    sound = batch.targets.clone()
    sound[1:, 1:9] = (sound[1:, 1:9] + 3) % CARD
    assert losses(batch._replace(targets=sound)).audio != before.audio


def test_every_frame_of_a_reading_in_which_the_agent_speaks_counts() -> None:
    codes = torch.zeros(3, 9, 20, dtype=torch.long)
    codes[1, 1, 4:9] = codes[2, 1, 2:18] = 7
    rng = np.random.default_rng(0)
    draws = [_frames_of_audio(codes, 2, replace(PHASE, depth_frames=6), rng) for _ in range(200)]
    chosen = draws[0]
    assert chosen[:2].sum(1).tolist() == [6, 6]
    assert np.mean([draw[1, 4:9].sum() for draw in draws]) > 2 * 6 * 5 / 20  # twice their share
    assert chosen[2].nonzero()[:, 0].tolist() == list(range(2, 18))


def test_another_recipes_checkpoint_and_a_cut_one_are_refused(tmp_path: Path) -> None:
    trained(tmp_path, [3])
    with pytest.raises(InputError, match="another recipe"):
        Trainer(SMALL, replace(RECIPE, seed=1), N_HEARD).load(tmp_path)
    file = tmp_path / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        Trainer(SMALL, RECIPE, N_HEARD).load(tmp_path)
    assert not Trainer(SMALL, RECIPE, N_HEARD).load(tmp_path / "nothing")


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    trainer = Trainer(SMALL, RECIPE, N_HEARD)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="not a number in step 0"):
        list(trainer.run(WORLD, HELD, FAULTS, Toy(), tmp_path))


def test_whether_and_which_add_up_to_the_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, words = torch.randn(3, 20, 12, generator=generator), torch.randint(0, 12, (3, 20), generator=generator)
    words[:, ::2] = PAD
    plain = replace(PHASE, padding_weight=1, word_weight=1, first_weight=1)
    whole = cross_entropy(logits.flatten(0, 1), words.flatten())
    torch.testing.assert_close(_text_loss(logits, words, plain), whole)
    rare = torch.ones(12)
    rare[PAD] = 0.2
    weighted = cross_entropy(logits.flatten(0, 1), words.flatten(), weight=rare)
    torch.testing.assert_close(_text_loss(logits, words, replace(plain, padding_weight=0.2)), weighted)


def test_weights_of_words_leave_the_odds_of_speaking_alone() -> None:
    """Descending the loss on one frame's logits ends at the shares of the data, whatever words count for."""
    words = torch.tensor([[PAD] * 6 + [EPAD, 5, 6, 7]])
    logits = torch.zeros(1, 1, 12, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        _text_loss(logits.expand(1, 10, 12), words, replace(PHASE, word_weight=10, first_weight=40)).backward()
        optimiser.step()
    share = torch.softmax(logits.detach()[0, 0], -1)
    assert share[PAD].item() == pytest.approx(0.6, abs=0.02)
    assert share[5].item() > 1.5 * share[6].item()  # what came first counts more among the words


def test_the_learning_rate_warms_up_and_cools_down() -> None:
    rates = [schedule(step, Recipe()) for step in range(0, Recipe().steps, 100)]
    assert rates[0] < 0.02
    assert max(rates) <= 1.0
    assert rates[-1] < 0.06


def test_the_embedded_model_is_small() -> None:
    trainer = Trainer(tiny_config(text_card=520, card=1024), Recipe(), 400)
    n = sum(p.numel() for p in trainer.model.parameters())
    assert 4e6 < n < 8e6, f"{n / 1e6:.1f} M parameters; two bytes each must fit 16 MB"


def test_a_training_begins_from_a_model_of_the_same_shape_only() -> None:
    model = DuplexLM(SMALL, seed=7)
    trainer = Trainer(SMALL, RECIPE, N_HEARD)
    trainer.begin_from(model)
    assert all(torch.equal(p, model.state_dict()[name]) for name, p in trainer.model.state_dict().items())
    with pytest.raises(InputError, match="cannot begin as one of"):
        trainer.begin_from(DuplexLM(replace(SMALL, num_layers=1 + SMALL.num_layers)))


def test_everything_a_step_needs_lies_on_the_trainers_device() -> None:
    """On the device `meta`, which like a GPU refuses what lies on the processor."""
    trainer = Trainer(SMALL, RECIPE, N_HEARD, "meta")
    batch = make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, 20).on(torch.device("meta"))
    ear = Ear(trainer.model, N_HEARD)
    hidden = trainer.model.hidden(batch.codes)
    words = batch.targets[:, 0]
    loss = _text_loss(trainer.model.text_head(hidden), words, PHASE) + _weighted(ear.names(), batch.heard, NO_WORD, 0.1)
    audio = trainer.model.depth(hidden[:, 0], batch.targets[:, :8, 0])
    (loss + audio.sum()).backward()
    moved = [p.grad for p in [*trainer.model.layers.parameters(), ear.weight] if p.grad is not None]
    assert {gradient.device.type for gradient in moved} == {"meta"}
    with pytest.raises(RuntimeError, match="device"):
        _weighted(ear.names(), make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, 20).heard, NO_WORD, 0.1)


def test_a_further_training_is_shorter_and_gentler_and_holds_whole_talks_alone() -> None:
    further, first = Recipe.continued(seed=0), Recipe()
    assert further.steps < first.steps / 2
    assert further.learning_rate < first.learning_rate
    assert further.matrix_rate < first.matrix_rate
    assert further.embedding_rate < first.embedding_rate
    assert [replace(phase, steps=0) for phase in further.phases] == [replace(PHASES[-1], steps=0)]
    assert further.phases[0].faulty


def test_matrices_between_layers_take_orthogonal_steps(tmp_path: Path) -> None:
    """Muon's mark: all singular values of a step are about the same; Adam's are not."""
    trainer, before = Trainer(SMALL, replace(RECIPE, weight_decay=0.0), N_HEARD), DuplexLM(SMALL, seed=RECIPE.seed)
    next(trainer.run(WORLD, HELD, FAULTS, Toy(), tmp_path))
    for name, spread in (("layers.0.gate_up.weight", (1.0, 2.5)), ("text_head.weight", (2.5, np.inf))):
        moved = trainer.model.state_dict()[name] - before.state_dict()[name]
        values = torch.linalg.svdvals(moved.double())
        assert spread[0] <= values.max() / values[len(values) // 2] < spread[1], name


def test_half_precision_learns_the_same(tmp_path: Path) -> None:
    _, losses = trained(tmp_path / "a", [20])
    half, rounded = trained(tmp_path / "b", [7, 20], replace(RECIPE, bfloat16=True))
    assert losses != rounded
    np.testing.assert_allclose([x.text for x in rounded], [x.text for x in losses], rtol=0.1)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert trained(tmp_path / "c", [20], replace(RECIPE, bfloat16=True))[1] == rounded


def test_only_the_temporal_transformer_is_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits in half precision grew until words were forgotten."""
    lm, seen = Trainer(SMALL, RECIPE, N_HEARD).model, dict[str, torch.dtype]()

    def spied(name: str, run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def spy(x: Tensor) -> Tensor:
            out = run(x)
            seen[name] = out.dtype
            return out

        return spy

    parts = {"qkv": lm.get_submodule("layers.0.qkv"), "text": lm.text_head, "audio": lm.depth.heads}
    for name, part in parts.items():
        monkeypatch.setattr(part, "forward", spied(name, part.forward))
    batch = make_batch(WORLD, HELD, FAULTS, Toy(), RECIPE, CARD, 0)
    losses_of(lm, Ear(lm, N_HEARD), batch, PHASE, np.random.default_rng(0), bfloat16=True)
    assert seen == {"qkv": torch.bfloat16, "text": torch.float32, "audio": torch.float32}
