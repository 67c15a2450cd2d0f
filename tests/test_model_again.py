"""Rows computed again: the same gradients, nothing kept, and no more run twice than must be."""

import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from model.again import computed_again
from model.align.lora import LoRALinear


class Counted(nn.Module):
    """Two maps and what was seen of them."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 10, bias=False, dtype=torch.float64), last
        self.runs: list[str] = []
        self.between: weakref.ref[Tensor] | None = None

    def run(self, rows: Tensor) -> Tensor:
        self.runs.append("run")
        return silu(self.first(rows))

    def then(self, made: Tensor) -> Tensor:
        self.runs.append("then")
        self.between = weakref.ref(made)
        out: Tensor = self.last(made)
        return out


def plain_last(trained: bool = True) -> nn.Module:
    return nn.Linear(10, 6, bias=False, dtype=torch.float64).requires_grad_(trained)


def adapted_last() -> nn.Module:
    base = nn.Linear(10, 6, bias=False, dtype=torch.float64).requires_grad_(False)
    made = LoRALinear(base, 2, 2.0, torch.Generator().manual_seed(0))
    nn.init.normal_(made.up)
    return made


class Turned(nn.Linear):
    """Keeps its input on its side."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight @ x.mT).mT


LASTS = {
    "plain": plain_last,
    "frozen": partial(plain_last, trained=False),
    "adapted": adapted_last,
    "turned": partial(Turned, 10, 6, bias=False, dtype=torch.float64),
}


@pytest.mark.parametrize("last", LASTS.values(), ids=LASTS)
@pytest.mark.parametrize("shape", [(7, 6), (2, 7, 6)])
def test_gradients_are_a_plain_runs_and_only_the_first_part_runs_twice(
    last: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    maps, rows = Counted(last()), torch.randn(shape, dtype=torch.float64, requires_grad=True)
    wanted = [rows, *(p for p in maps.parameters() if p.requires_grad)]
    plain = torch.autograd.grad(maps.then(maps.run(rows)).square().sum(), wanted)
    maps.runs.clear()
    out = computed_again(maps.run, rows, list(maps.first.parameters()), maps.then)
    assert maps.between is not None
    assert maps.between() is None or isinstance(maps.last, Turned)  # nothing keeps what lies between
    for ours, theirs in zip(torch.autograd.grad(out.square().sum(), wanted), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert maps.runs == ["run", "then", "run"]  # and the last part once


def test_a_first_part_without_gradients_is_run_again_for_the_last_one() -> None:
    maps, rows = Counted(plain_last()), torch.randn(7, 6, dtype=torch.float64)
    maps.first.requires_grad_(False)
    (wanted,) = maps.last.parameters()
    plain = torch.autograd.grad(maps.then(maps.run(rows)).sum(), wanted)
    out = computed_again(maps.run, rows, [], maps.then)
    (ours,) = torch.autograd.grad(out.sum(), wanted)
    torch.testing.assert_close(ours, plain[0], rtol=1e-12, atol=1e-12)


def test_the_second_run_has_the_precision_of_the_first() -> None:
    seen: list[torch.dtype] = []
    weight, rows = torch.randn(4, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        y = linear(x, weight)
        seen.append(y.dtype)
        return y

    with torch.autocast("cpu", torch.bfloat16):
        out = computed_again(run, rows, [weight], lambda made: made * 2)
    out.float().sum().backward()
    assert seen == [torch.bfloat16, torch.bfloat16]
