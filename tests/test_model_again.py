"""Rows computed again: the same gradients, nothing kept, and only what is cheap run twice."""

import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from model.again import computed_again
from model.align.lora import LoRALinear


class Counted:
    """What is made of rows, the map after it, and what was seen of both."""

    def __init__(self, last: nn.Module) -> None:
        self.last = last
        self.runs: list[str] = []
        self.between: weakref.ref[Tensor] | None = None

    def run(self, rows: Tensor) -> Tensor:
        self.runs.append("run")
        gate, up = rows.chunk(2, dim=-1)
        return silu(gate) * up

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
# Rows that are known need no gradient; with a frozen map after them there is nothing to train.
CASES = [
    pytest.param(last, known, id=f"{name}-{'known' if known else 'trained'}")
    for name, last in LASTS.items()
    for known in (False, True)
    if not (known and name == "frozen")
]


@pytest.mark.parametrize(("last", "known"), CASES)
@pytest.mark.parametrize("shape", [(7, 20), (1, 20), (2, 7, 20)])
def test_gradients_are_a_plain_runs_and_only_what_is_cheap_runs_twice(
    last: Callable[[], nn.Module], shape: tuple[int, ...], known: bool
) -> None:
    torch.manual_seed(0)
    maps, rows = Counted(last()), torch.randn(shape, dtype=torch.float64, requires_grad=not known)
    wanted = [x for x in [rows, *maps.last.parameters()] if x.requires_grad]
    plain = torch.autograd.grad(maps.then(maps.run(rows)).square().sum(), wanted)
    maps.runs.clear()
    out = computed_again(maps.run, rows, maps.then)
    assert maps.between is not None
    assert maps.between() is None or isinstance(maps.last, Turned)  # nothing keeps what lies between
    for ours, theirs in zip(torch.autograd.grad(out.square().sum(), wanted), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert maps.runs[:2] == ["run", "then"]
    assert "then" not in maps.runs[2:]  # and the last part once


def test_without_gradients_each_part_runs_once() -> None:
    maps, rows = Counted(plain_last()), torch.randn(7, 20, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(computed_again(maps.run, rows, maps.then), maps.last(maps.run(rows)))
    assert maps.runs == ["run", "then", "run"]  # the last one is ours, just now


def test_lower_precision_on_the_way_changes_no_gradient() -> None:
    torch.manual_seed(0)
    maps, rows = Counted(nn.Linear(10, 6)), torch.randn(7, 20, requires_grad=True)
    wanted = [rows, *maps.last.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        plain = torch.autograd.grad(maps.then(maps.run(rows)).float().square().sum(), wanted)
        out = computed_again(maps.run, rows, maps.then).float().square().sum()
    for ours, theirs in zip(torch.autograd.grad(out, wanted), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
