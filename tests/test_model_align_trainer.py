"""The trainer: masks, accumulation, the reference, resuming, adapters, what it refuses."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from align_builders import SMALL, pair, tokens
from model.align import gradients
from model.align.config import AlignConfig, build
from model.align.data import Split, TokenPair, Trunk, trunks
from model.align.journal import Journal
from model.align.logprobs import StreamLogProbs
from model.align.lora import adapters_off
from model.align.losses import LOSSES
from model.align.objective import pair_losses
from model.align.trainer import Trainer, schedule
from model.lm import NO_INPUT, DuplexLM
from protocols.errors import InputError, StoreError

torch.set_num_threads(1)
STREAMS = ("T", "A", "T,A", "T+A", "T+CE", "timing")
TEXT, SEMANTIC, ACOUSTIC = 0, 1, 2
SMOOTHED = {"robust", "exo", "cdpo"}


def config(folder: Path, **sections: Mapping[str, Any]) -> AlignConfig:
    """Four steps over eight talks, every step checkpointed; sections add to it."""
    tree: dict[str, dict[str, Any]] = {
        "model": {"base": "."},
        "data": {"pairs": "."},
        "run": {"folder": str(folder), "eval_every": 2, "save_every": 1, "keep": 9},
        "optim": {"lr": 1e-3, "lr_depth": 1e-3, "micro_batch": 1, "accumulate": 4, "epochs": 2},
    }
    for name, keys in sections.items():
        tree[name] = tree.get(name, {}) | dict(keys)
    return build(tree, "test")


def talks(*numbers: int) -> list[Trunk]:
    """One or two pairs of each talk."""
    made = [pair(f"{i}a", 6 + i % 3, 3 + i % 2, 4, f"talk {i}", seed=i) for i in numbers]
    made += [pair(f"{i}b", 10, 2, 3, f"talk {i}", seed=i) for i in numbers if i % 2 == 0]
    return trunks(made, 8)


EIGHT, HELD = talks(*range(8)), talks(101, 102)


def trainer(
    folder: Path,
    lm: DuplexLM | None = None,
    some: list[Trunk] = EIGHT,
    held: list[Trunk] = HELD,
    **sections: Any,
) -> Trainer:
    return Trainer(lm or DuplexLM(SMALL, seed=3), config(folder, **sections), Split(some, held))


def first_loss(folder: Path, some: list[Trunk], **loss: Any) -> float:
    """Of a model that is not the reference, without a step."""
    made = trainer(folder, DuplexLM(SMALL, seed=3).double(), some=some, held=[], loss=loss)
    stray(made.lm)
    return float(gradients.measure(made.task, some).losses.mean())


def stray(lm: DuplexLM) -> None:
    """Move the policy a little away from the reference."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in lm.parameters():
            p += 0.02 * torch.randn(p.shape, generator=generator)


def weights(lm: DuplexLM) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in lm.named_parameters()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


# --- what is scored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", STREAMS)
def test_a_last_frame_counts_where_it_is_predicted(tmp_path: Path, streams: str) -> None:
    """Its text is a target, or what the semantic code is predicted from; late codes of it are never predicted."""
    made, losses = trainer(tmp_path, loss={"streams": streams}), []
    for stream in (None, *range(len(SMALL.cards))):
        one = pair("p", 8, 4, 4)
        one.chosen[TEXT, -1] = SMALL.existing_text_padding_id
        if stream is not None:
            one.chosen[stream, -1] = (one.chosen[stream, -1] + 1) % SMALL.cards[stream]
        with torch.no_grad():
            policy = gradients.log_probs(made.task, trunks([one], 8))
        losses.append(float(pair_losses(policy, torch.zeros_like(policy.sums), made.config.loss)))
    counts = [loss != losses[0] for loss in losses[1:]]
    assert counts == [True, "A" in streams or "CE" in streams, False, False, False, False]


@pytest.mark.parametrize("streams", STREAMS)
def test_an_unknown_token_is_not_a_target(tmp_path: Path, streams: str) -> None:
    """The loss of a reply with its last frame unknown is that of the reply's other frames."""
    made = trainer(tmp_path, loss={"streams": streams})
    known, unknown = pair("p", 8, 4, 4), pair("p", 8, 4, 4)
    unknown.chosen[:, -1] = NO_INPUT
    counts = [
        gradients.log_probs(made.task, trunks([one], 8)).counts[0].sum(0) for one in (known, unknown)
    ]  # fmt: skip
    audio = "A" in streams or "CE" in streams
    text = streams != "A"
    lost = counts[0] - counts[1]
    assert lost[:2].sum() == float(text)
    assert lost[4] == float(text)
    assert lost[2] == float(audio)
    assert lost[3] == 0  # the last frame's late codes are never predicted


def test_padding_counts_as_much_as_it_is_told_to(tmp_path: Path) -> None:
    some = trunks([pair("p", 8, 9, 9)], 8)
    losses = [first_loss(tmp_path / str(w), some, padding_weight=w, name="dpo", beta=0.1) for w in (0, 0.5, 1)]
    slopes = [-np.log(np.expm1(loss)) for loss in losses]  # beta (u - v), which is linear in the weight
    assert slopes[1] == pytest.approx((slopes[0] + slopes[2]) / 2, rel=1e-10)
    assert slopes[0] != slopes[2]


def test_a_reply_of_which_nothing_is_scored_is_refused(tmp_path: Path) -> None:
    quiet = pair("quiet", 8, 3, 3)
    quiet.rejected[TEXT] = SMALL.existing_text_padding_id
    with pytest.raises(InputError, match=r"pair quiet: nothing of the rejected reply is scored .* padding_weight 0"):
        trainer(tmp_path, some=trunks([quiet], 8), loss={"padding_weight": 0})


# --- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name, loss in LOSSES.items() if not loss.hindsight))
def test_the_first_loss_is_the_closed_form(tmp_path: Path, name: str) -> None:
    knobs = {"smoothing": 0.1} if name in SMOOTHED else {}
    made = trainer(tmp_path, DuplexLM(SMALL, seed=3).double(), loss={"name": name, **knobs})
    found = gradients.measure(made.task, EIGHT)
    agreeing = StreamLogProbs(found.reference, found.policy.counts)
    wanted = pair_losses(agreeing, found.reference, made.config.loss).mean()
    assert abs(float(found.losses.mean() - wanted)) < 1e-12
    if name == "dpo_ln":
        assert float(found.losses.mean()) == pytest.approx(np.log(2), abs=1e-12)


@pytest.mark.parametrize("name", ["dpo_ln", "aot", "kto"])
def test_one_gradient_however_the_step_is_cut(tmp_path: Path, name: str) -> None:
    found = []
    for micro, accumulate in ((1, 8), (8, 1), (2, 4)):
        optim = {"micro_batch": micro, "accumulate": accumulate}
        made = trainer(tmp_path / str(micro), optim=optim, loss={"name": name, "streams": "T+A"})
        made.lm.double()
        stray(made.lm)
        made.task.reference.sums.update({k: x.double() for k, x in made.task.reference.sums.items()})
        gradients.backward(made.task, made.batch(0))
        found.append({n: p.grad for n, p in made.lm.named_parameters()})
    for other in found[1:]:
        for parameter, gradient in found[0].items():
            torch.testing.assert_close(other[parameter], gradient, rtol=1e-10, atol=1e-12)


def test_what_a_text_loss_cannot_reach_is_frozen(tmp_path: Path) -> None:
    made = trainer(tmp_path, optim={"weight_decay": 0.1})
    before = weights(made.lm)
    list(made.run(until=1))
    moved = {name for name, p in weights(made.lm).items() if not p.equal(before[name])}
    assert moved == {name for name in before if not name.startswith("depth.")}


def test_temporal_and_depth_parts_have_their_own_rates(tmp_path: Path) -> None:
    made = trainer(tmp_path, loss={"streams": "T+A"}, optim={"lr": 1e-4, "lr_depth": 3e-3})
    before = weights(made.lm)
    list(made.run(until=1))
    step = {name: float((p - before[name]).abs().max()) for name, p in weights(made.lm).items()}
    warm = schedule(0, made.steps, 0.16)
    assert max(x for name, x in step.items() if not name.startswith("depth.")) == pytest.approx(1e-4 * warm, rel=0.01)
    assert max(x for name, x in step.items() if name.startswith("depth.")) == pytest.approx(3e-3 * warm, rel=0.01)


def test_the_rate_warms_up_and_ends_near_zero() -> None:
    shares = [schedule(step, 100, 0.16) for step in range(100)]
    assert shares[0] == 1 / 16
    assert shares[15] == 1.0
    assert sorted(shares[15:], reverse=True) == shares[15:]
    assert 0 < shares[-1] < 0.01


def test_four_pairs_are_learnt_by_heart(tmp_path: Path) -> None:
    some = trunks([pair(str(i), 8, 4, 4, f"talk {i}", seed=i) for i in range(4)], 8)
    made = trainer(tmp_path, some=some, optim={"lr": 1e-2, "epochs": 12}, run={"save_every": 0, "eval_every": 0})
    lines = list(made.run())
    assert lines[-1]["rewards/accuracies"] == 1.0
    assert lines[-1]["loss"] < lines[1]["loss"] / 2


# --- the reference -------------------------------------------------------------------------------------------------


def test_a_cached_reference_is_the_live_one(tmp_path: Path) -> None:
    live, kept = (list(trainer(tmp_path / name, run={"reference": str(tmp_path / "cache")}).run(3)) for name in "ab")
    timed = ("pairs_per_second",)
    assert [{k: v for k, v in x.items() if k not in timed} for x in live] == [
        {k: v for k, v in x.items() if k not in timed} for x in kept
    ]


def test_a_reference_of_other_weights_or_pairs_is_refused(tmp_path: Path) -> None:
    cache = {"reference": str(tmp_path / "cache")}
    trainer(tmp_path / "a", some=EIGHT[:4], run=cache)
    with pytest.raises(InputError, match="of other weights"):
        trainer(tmp_path / "b", lm=DuplexLM(SMALL, seed=4), some=EIGHT[:4], run=cache)
    with pytest.raises(InputError, match=r"lacks \d+ of \d+ pairs"):
        trainer(tmp_path / "c", some=EIGHT[:6], run=cache)
    with pytest.raises(InputError, match="lacks the audio streams"):
        trainer(tmp_path / "d", some=EIGHT[:4], run=cache, loss={"streams": "T+A"})
    trainer(tmp_path / "e", some=EIGHT[:2], run=cache, loss={"padding_weight": 0.5})  # fewer pairs, another loss


def test_a_reference_that_is_not_the_models_stops_the_first_step(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    stray(made.lm)
    with pytest.raises(InputError, match="the first loss is"):
        list(made.run())


# --- adapters ------------------------------------------------------------------------------------------------------


LORA = {"adapter": "lora", "base": ".", "lora_rank": 2}


@pytest.mark.parametrize("streams", ["T", "T+A"])
def test_adapters_start_as_the_base_and_come_off(tmp_path: Path, streams: str) -> None:
    codes = torch.from_numpy(tokens(SMALL, 9, 1).astype(np.int64))[None]
    base = DuplexLM(SMALL, seed=3)(codes)
    made = trainer(tmp_path, model=LORA, loss={"streams": streams})
    assert all(a.equal(b) for a, b in zip(base, made.lm(codes), strict=True))
    list(made.run(until=3))
    aligned = made.lm(codes)
    assert not base.text_logits.equal(aligned.text_logits)
    assert base.audio_logits.equal(aligned.audio_logits) is False
    with adapters_off(made.lm):
        assert all(a.equal(b) for a, b in zip(base, made.lm(codes), strict=True))


def test_an_adapted_model_talks_as_it_is_trained(tmp_path: Path) -> None:
    from model.lm import Decoding

    made = trainer(tmp_path, model=LORA, loss={"streams": "T+A"})
    list(made.run(until=3))
    made.lm.double()
    user = torch.from_numpy(tokens(SMALL, 12, 2)[4:].astype(np.int64))[None]
    with made.lm.streaming(1, Decoding(0, 0)):
        steps = [made.lm.step(frame) for frame in user.unbind(2)]
    codes = torch.cat([torch.stack([s.tokens for s in steps[1:]], 2), user[:, :, 1:]], 1)
    logits = torch.stack([s.text_logits for s in steps[:-1]], 1)
    torch.testing.assert_close(made.lm(codes).text_logits[:, : logits.shape[1]], logits, rtol=0, atol=1e-12)


# --- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [{"base": "."}, LORA], ids=["full", "lora"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, model: dict[str, Any]) -> None:
    whole = trainer(tmp_path / "whole", model=model)
    list(whole.run())
    first = trainer(tmp_path / "cut", model=model)
    list(first.run(until=2))
    second = trainer(tmp_path / "cut", model=model)
    assert second.resume()
    assert second.step == 2
    list(second.run())
    assert whole.steps == 4
    assert same(weights(whole.lm), weights(second.lm))
    lines = [Journal(tmp_path / name / "metrics.jsonl").lines() for name in ("whole", "cut")]
    for row in (*lines[0], *lines[1]):
        row.pop("pairs_per_second", None)
    assert lines[0] == lines[1]


def test_lines_beyond_the_checkpoint_are_cut(tmp_path: Path) -> None:
    made = trainer(tmp_path, run={"save_every": 2, "eval_every": 0})
    list(made.run(until=3))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "los')
    again = trainer(tmp_path, run={"save_every": 2, "eval_every": 0})
    again.resume()
    list(again.run())
    assert [line["step"] for line in Journal(tmp_path / "metrics.jsonl").lines()] == [0, 1, 2, 3, 4]


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    list(trainer(tmp_path).run(until=1))
    with pytest.raises(InputError, match="holds a training already"):
        list(trainer(tmp_path).run())
    with pytest.raises(InputError, match=r"another loss\.beta"):
        trainer(tmp_path, loss={"beta": 0.1}).resume()
    fewer = trainer(tmp_path, some=EIGHT[:4], run={"reference": str(tmp_path / "other")})
    with pytest.raises(InputError, match="of other pairs"):
        fewer.resume()
    assert trainer(tmp_path, run={"save_every": 7}).resume()
    assert not trainer(tmp_path / "new").resume()


def test_the_newest_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    made = trainer(tmp_path, run={"keep": 1, "eval_every": 1}, optim={"lr": 0.05, "epochs": 4})
    lines = list(made.run())
    losses = {line["step"]: line["eval_loss"] for line in lines if line["step"]}
    best = min(losses, key=lambda step: losses[step])
    assert made.state.best_step == best
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        f"step-{step:08d}" for step in {best, made.steps}
    }
    assert made.take_best() == best
    assert float(gradients.measure(made.task, made.data.validation).losses.mean()) == pytest.approx(losses[best])


def test_it_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    run = {"eval_every": 1, "patience": 2}
    made = trainer(tmp_path, run=run, optim={"lr": 0.5, "epochs": 30, "warm_up": 0})
    list(made.run())
    assert made.step < made.steps
    assert made.state.since_best == 2
    assert trainer(tmp_path, run=run, optim={"lr": 0.5, "epochs": 30, "warm_up": 0}).resume()


# --- what is watched -----------------------------------------------------------------------------------------------


def test_figures_have_trls_names_and_the_streams(tmp_path: Path) -> None:
    made = trainer(tmp_path, DuplexLM(SMALL, seed=3).double(), loss={"streams": "T+A"})
    start, *_, last = made.run()
    assert {"step", "eval_loss", "eval_rewards/margins"} <= set(start)
    trl = {"loss", "grad_norm", "lr", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"}
    ours = {"logps/chosen", "logps/rejected", "chosen_fell", "frames/chosen", "words/rejected"}
    streams = {f"ratios/{s}/{side}" for s in ("words", "padding", "semantic") for side in ("chosen", "rejected")}
    assert trl | ours | streams <= set(last)
    assert last["rewards/margins"] == pytest.approx(last["rewards/chosen"] - last["rewards/rejected"], abs=1e-12)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1] == last


def test_a_probe_is_shown_the_model_as_it_trains(tmp_path: Path) -> None:
    seen: list[int] = []

    def probe(lm: DuplexLM, step: int) -> dict[str, float]:
        seen.append(step)
        assert not torch.is_grad_enabled()
        return {"spoke": 0.5}

    some = EIGHT
    made = Trainer(
        DuplexLM(SMALL, seed=3),
        config(tmp_path, run={"folder": str(tmp_path), "probe_every": 2}),
        Split(some, []),
        probe,
    )
    lines = list(made.run())
    assert seen == [0, 2, 4]
    assert [line["step"] for line in lines if "probe/spoke" in line] == seen


def test_a_length_bias_raises_the_alarm(tmp_path: Path) -> None:
    from model.align.metrics import LengthBias, Outcome

    loss = trainer(tmp_path).config.loss
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(80, 2, 5)
    counts[:, 0, 0] = torch.randint(5, 100, (80,), generator=generator).float()
    sums, noise = torch.zeros(80, 2, 5), torch.randn(80, generator=generator)
    sums[:, 0, 0] = 0.1 * counts[:, 0, 0] + noise
    biased = Outcome(torch.zeros(40), StreamLogProbs(sums, counts), torch.zeros(80, 2, 5))
    fair = biased._replace(policy=StreamLogProbs(sums - 0.1 * counts, counts))
    assert LengthBias().add(biased, loss)["length_bias_alarm"] == 1.0
    assert LengthBias().add(fair, loss)["length_bias_alarm"] == 0.0
    few = Outcome(*(x[:8] if isinstance(x, Tensor) else StreamLogProbs(x.sums[:8], x.counts[:8]) for x in biased))
    assert LengthBias().add(few, loss) == {}


# --- what it refuses -----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_names_the_pair_and_the_last_checkpoint(tmp_path: Path) -> None:
    made = trainer(tmp_path, optim={"epochs": 3})
    run = made.run()
    next(run), next(run)
    before = weights(made.lm)
    broken = made.batch(1)[2].pairs[0]
    made.task.reference.sums[broken.digest][0, 0, 0] = torch.nan  # type: ignore[index]
    with pytest.raises(InputError, match=rf"step 1: the loss of pair {broken.id} is not .*step-00000001"):
        next(run)
    assert same(before, weights(made.lm))
    assert made.checkpoints.steps() == [1]


def test_a_gradient_that_is_not_a_number_names_the_pairs_and_changes_nothing(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    before = weights(made.lm)
    made.lm.norm.register_hook(lambda gradient: gradient * torch.nan)
    names = ", ".join(p.id for trunk in made.batch(0) for p in trunk.pairs)
    with pytest.raises(InputError, match=rf"step 0: the gradient is not finite; .* {names}; nothing was saved"):
        list(made.run())
    assert same(before, weights(made.lm))
    assert not made.checkpoints.steps()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda p: pair("x", 20, 25, 3), "45 frames long; the model attends to 40"),
        (
            lambda p: TokenPair("x", "t", 0, "k", p.context, p.chosen + np.int16(50), p.rejected),
            "pair x: chosen, stream 0",
        ),
        (lambda p: TokenPair("x", "t", 0, "k", p.context, p.chosen, p.chosen), "are the same"),
        (lambda p: TokenPair("x", "t", 0, "k", p.context, p.chosen[:, :0], p.rejected), "chosen reply has no frames"),
        (lambda p: TokenPair("x", "t", 0, "k", *(x[:3] for x in (p.context, p.chosen, p.rejected))), "has 3 streams"),
        (lambda p: TokenPair("x", "t", 0, "k", p.context, p.chosen[1:], p.rejected), "must be int16"),
    ],
)
def test_a_pair_that_cannot_be_used_is_one_clear_error(tmp_path: Path, broken: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        trainer(tmp_path, some=trunks([broken(pair("x", 8, 4, 4))], 8))
    assert not list(tmp_path.iterdir())


def test_waiting_for_a_validation_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"raise data\.validation_share"):
        trainer(tmp_path, held=[], run={"patience": 2})


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tmp_path)
    run = made.run()
    next(run), next(run)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model.align.checkpoint._flush", full)
    with pytest.raises(StoreError, match=r"No space left on device; the last checkpoint is .*step-00000001"):
        next(run)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
