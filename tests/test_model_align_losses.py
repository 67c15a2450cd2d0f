"""Preference losses: equal to TRL's, true to their formulas where both models agree, finite far from there."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.align.config import LossConfig
from model.align.logprobs import STREAMS, WORDS, StreamLogProbs
from model.align.losses import LOSSES, Knobs, Replies, check, log1mexp
from model.align.objective import pair_losses, replies, scored_streams
from protocols.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
TABLE = json.loads((GOLDEN / "losses_trl.json").read_text(encoding="utf-8"))
ROWS = [pytest.param(row, id=f"{row['loss']} {row['knobs']}") for row in TABLE["rows"]]
KNOBS = {"robust": Knobs(smoothing=0.1), "exo": Knobs(smoothing=0.1), "cdpo": Knobs(smoothing=0.1)}
AT_START = {  # u = v = 0, beta 0.3, smoothing 0.1 where it is needed
    "dpo": math.log(2), "dpo_ln": math.log(2), "cdpo": math.log(2), "robust": math.log(2), "aot": math.log(2),
    "hinge": 1.0, "ipo": 1 / (4 * 0.3**2), "sppo": 1 / (2 * 0.3**2), "nca": 2 * math.log(2), "kto": 0.5,
    "bco_pair": 2 * math.log(2), "apo_zero": 1.0, "apo_down": 1.0, "discopop": 0.5 * math.log(2) + 0.5,
    "exo": -math.log(2) - 0.5 * math.log(0.1 * 0.9),
}  # fmt: skip
EXTREME = st.floats(-1e4, -1e-3)


def golden_pairs() -> Replies:
    return Replies(**{name: torch.tensor(x, dtype=torch.float64) for name, x in TABLE["pairs"].items()})


def some(*columns: float) -> Replies:
    """One pair: chosen, rejected, ref_chosen, ref_rejected, counts."""
    return step(columns)


def step(*pairs: Sequence[float]) -> Replies:
    return Replies(*(torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True)))


@pytest.mark.parametrize("row", ROWS)
def test_values_and_gradients_are_trls(row: dict[str, Any]) -> None:
    p = golden_pairs()
    chosen, rejected = p.chosen.requires_grad_(), p.rejected.requires_grad_()
    knobs = Knobs(**row["knobs"])
    losses = check(row["loss"], knobs).of(p, knobs)
    found = torch.autograd.grad(losses.mean(), [chosen, rejected], allow_unused=True)
    values = losses if len(row["values"]) > 1 else losses.mean()[None]
    pairs = [(values, "values"), (found[0], "by_chosen"), (found[1], "by_rejected")]
    for ours, name in pairs:
        theirs = torch.tensor(row[name], dtype=torch.float64)
        ours = torch.zeros_like(theirs) if ours is None else ours
        assert (ours - theirs).abs().max() <= 1e-10 * max(1.0, float(theirs.abs().max())), name


def test_an_installed_trl_still_says_what_the_table_says() -> None:
    pytest.importorskip("trl", reason="TRL is not installed; tests/golden/record_losses_trl.py says how")
    done = subprocess.run([sys.executable, GOLDEN / "record_losses_trl.py", "--print"], capture_output=True, check=True)
    fresh = json.loads(done.stdout)
    assert fresh["pairs"] == TABLE["pairs"]
    for now, then in zip(fresh["rows"], TABLE["rows"], strict=True):
        for name in ("values", "by_chosen", "by_rejected"):
            assert now[name] == pytest.approx(then[name], rel=1e-10, abs=1e-10), now["loss"]


def test_every_loss_is_in_the_golden_table() -> None:
    preferences = {name for name, loss in LOSSES.items() if not loss.hindsight}
    assert {row["loss"] for row in TABLE["rows"]} == preferences


@pytest.mark.parametrize("row", TABLE["ld"])
def test_the_length_desensitised_score_is_trls(row: dict[str, Any]) -> None:
    sums = torch.zeros(4, 2, len(STREAMS), dtype=torch.float64)
    sums[:, :, WORDS] = torch.tensor(row["parts"], dtype=torch.float64)
    counts, shared = torch.zeros(2, 2, len(STREAMS), dtype=torch.float64), min(row["counts"])
    counts[:, :, WORDS] = torch.tensor([[shared, n - shared] for n in row["counts"]], dtype=torch.float64)
    config = LossConfig(name=row["loss"], ld_alpha=row["alpha"])
    losses = pair_losses(StreamLogProbs(sums[:2], counts), sums[2:], config)
    assert abs(float(losses) - row["value"]) < 1e-12


@pytest.mark.parametrize("name", AT_START)
def test_the_loss_where_policy_and_reference_agree_is_known(name: str) -> None:
    p = golden_pairs()
    same = p._replace(chosen=p.ref_chosen, rejected=p.ref_rejected)
    assert LOSSES[name].of(same, KNOBS.get(name, Knobs())).mean().item() == pytest.approx(AT_START[name], abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"sft", "sppo", "ipo", "exo", "kto", "sdpo"}))
def test_the_loss_falls_as_the_chosen_reply_gains_on_the_rejected(name: str) -> None:
    near, far = some(-40, -40, -40, -40, 20, 20), some(-39, -41, -40, -40, 20, 20)
    knobs = KNOBS.get(name, Knobs())
    if name == "apo_down":  # which wants the chosen one less likely too
        far = some(-40, -41, -40, -40, 20, 20)
    assert LOSSES[name].of(far, knobs) < LOSSES[name].of(near, knobs)


@given(st.tuples(EXTREME, EXTREME, EXTREME, EXTREME), st.integers(1, 3000), st.integers(1, 3000))
@settings(max_examples=60)
def test_losses_and_gradients_are_finite_far_out(sums: tuple[float, ...], n: int, m: int) -> None:
    for name in sorted(set(LOSSES) - {"discopop"}):  # whose exp(-x) is what it is
        p = some(*sums, n, m)
        p.chosen.requires_grad_()
        loss = LOSSES[name].of(p, KNOBS.get(name, Knobs())).mean()
        (gradient,) = torch.autograd.grad(loss, p.chosen)
        assert loss.isfinite()
        assert gradient.isfinite().all()


@given(st.floats(-50, 50))
@settings(max_examples=25)
def test_only_differences_from_the_reference_count(shift: float) -> None:
    p = golden_pairs()
    moved = p._replace(chosen=p.chosen + shift, ref_chosen=p.ref_chosen + shift)
    for name, loss in LOSSES.items():
        if loss.reference and not loss.coupled and not loss.hindsight:
            knobs = KNOBS.get(name, Knobs())
            torch.testing.assert_close(loss.of(moved, knobs), loss.of(p, knobs), rtol=1e-9, atol=1e-9)


def test_a_pair_does_not_touch_another_unless_the_loss_says_so() -> None:
    p = golden_pairs()
    other = p._replace(
        chosen=torch.cat([p.chosen[:-1], p.chosen[-1:] + 1000]),
        ref_chosen=torch.cat([p.ref_chosen[:-1], p.ref_chosen[-1:] + 500]),
    )
    for name, loss in LOSSES.items():
        knobs = KNOBS.get(name, Knobs())
        same = bool((loss.of(p, knobs)[:-1] == loss.of(other, knobs)[:-1]).all())
        assert same != loss.coupled, name


def test_hindsight_is_distilled_back() -> None:
    """By hand, 20 tokens each: known afterwards, one gains 0.5 a token, one loses 1.5; the mean is -0.5."""
    k = Knobs(beta=0.8)
    p = step((-40, -99, -40, -30, 20, 20), (-40, -99, -40, -70, 20, 20))
    p.chosen.requires_grad_()
    losses = LOSSES["sdpo"].of(p, k)
    torch.testing.assert_close(losses, torch.tensor([0.32, 0.32], dtype=torch.float64), rtol=0, atol=1e-12)
    losses.sum().backward()
    assert p.chosen.grad is not None
    assert p.chosen.grad.tolist() == pytest.approx([-0.04, 0.04], abs=1e-12)  # the regretted one becomes less likely
    there = step((-24, -99, -40, -30, 20, 20), (-56, -99, -40, -70, 20, 20))
    torch.testing.assert_close(LOSSES["sdpo"].of(there, k), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_what_every_reply_loses_by_hindsight_teaches_nothing() -> None:
    """After the user went on no reply follows as well as before; a model must not fall silent over it."""
    p = step((-40, -99, -40, -60, 20, 20), (-20, -99, -20, -30, 10, 10))
    p.chosen.requires_grad_()
    LOSSES["sdpo"].of(p, Knobs(beta=1.0)).sum().backward()
    assert p.chosen.grad is not None
    assert p.chosen.grad.tolist() == [0.0, 0.0]


def test_one_minus_exp_keeps_its_digits_at_both_ends() -> None:
    x = torch.tensor([-1e-12, -1e-3, -0.6931, -0.6932, -5.0, -60.0], dtype=torch.float64)
    wanted = [math.log(-math.expm1(v)) if v > -1 else math.log1p(-math.exp(v)) for v in x.tolist()]
    torch.testing.assert_close(log1mexp(x), torch.tensor(wanted, dtype=torch.float64), rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("name", "knobs", "says"),
    [
        ("dpo_nl", {}, "did you mean 'dpo_ln'"),
        ("dpo", {"gamma": 1.0}, "does not read gamma"),
        ("dpo", {"beta": -0.1}, "beta must not be negative"),
        ("ipo", {"beta": 0.0}, "divides by beta"),
        ("robust", {"smoothing": 0.5}, "smoothing must lie"),
        ("exo", {}, "exo needs a smoothing"),
    ],
)
def test_a_knob_that_cannot_work_is_refused(name: str, knobs: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check(name, Knobs(**knobs))


def stream_sums(words: float, padding: float, semantic: float, acoustic: float, timing: float) -> Tensor:
    sums = torch.zeros(2, 2, len(STREAMS))
    sums[0, 0] = torch.tensor([words, padding, semantic, acoustic, timing])
    return sums


@pytest.mark.parametrize(
    ("config", "score", "count"),
    [
        (LossConfig(), -3.0, 3.0),
        (LossConfig(padding_weight=0), -1.0, 1.0),
        (LossConfig(padding_weight=0.5), -2.0, 2.0),
        (LossConfig(streams="T+A"), -3.0 - 4 - 8, 3 + 1 + 4),
        (LossConfig(streams="A", semantic_weight=2), -2 * 4 - 8, 2 + 4),
        (LossConfig(streams="timing"), -16.0, 3),
    ],
)
def test_weights_count_in_the_sum_and_in_the_length(config: LossConfig, score: float, count: float) -> None:
    policy = StreamLogProbs(stream_sums(-1, -2, -4, -8, -16), stream_sums(1, 2, 1, 4, 3))
    (weights,) = scored_streams(config)
    found = replies(policy, torch.zeros_like(policy.sums), weights)
    assert (found.chosen.item(), found.chosen_count.item()) == (score, count)


def test_two_objectives_are_summed_and_cross_entropy_reads_the_chosen_audio() -> None:
    chance = torch.Generator().manual_seed(0)
    sums, less = torch.rand(2, 4, 2, 5, generator=chance, dtype=torch.float64)
    policy = StreamLogProbs(-sums, torch.randint(1, 9, (4, 2, 5), generator=chance).double())
    reference = policy.sums - less

    def loss(**fields: Any) -> Tensor:
        return pair_losses(policy, reference, LossConfig(**fields))

    torch.testing.assert_close(loss(streams="T,A"), loss(streams="T") + loss(streams="A"))
    counts = policy.counts.sum(1)[::2, 2:4].sum(1)
    nll = -policy.sums.sum(1)[::2, 2:4].sum(1) / counts
    torch.testing.assert_close(loss(streams="T+CE", ce_weight=0.5), loss(streams="T") + 0.5 * nll)
    anchor = -policy.sums.sum(1)[::2, :2].sum(1) / policy.counts.sum(1)[::2, :2].sum(1)
    torch.testing.assert_close(loss(beta=0.0, sft_weight=2.0), math.log(2) + 2 * anchor)
