"""Computed again: rows that a backward pass makes anew instead of keeping them.

`then(run(rows))` keeps `rows` alone: neither the insides of `run` nor what `then` remembers of its input. `run` is run
a second time by the backward pass of `then`, or else by its own; `then` never is. torch's own checkpoint would run
both again, and imports a compiler to do so (55 MB, seconds). Here `run` is a function of rows and named parameters
without chance in it, so that its backward pass is a second run and its gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

Map = Callable[[Tensor], Tensor]


def computed_again(run: Map, rows: Tensor, parameters: Sequence[Tensor], then: Map) -> Tensor:
    """then(run(rows)), with all gradients. parameters: what `run` reads beside `rows` and is trained."""
    second = _Second(run, rows, parameters)
    made: Tensor = _Again.apply(second, rows, *parameters)  # type: ignore[no-untyped-call]
    same = _place(made)

    def pack(kept: Tensor) -> Tensor | torch.Size:
        return kept.shape if kept.is_contiguous() and _place(kept) == same else kept

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        return kept if isinstance(kept, Tensor) else second.made().detach().view(kept)

    with saved_tensors_hooks(pack, unpack):
        return then(made)


def _place(tensor: Tensor) -> tuple[int, int, torch.dtype]:
    return tensor.data_ptr(), tensor.numel(), tensor.dtype


class _Second:
    """The second run."""

    def __init__(self, run: Map, rows: Tensor, parameters: Sequence[Tensor]) -> None:
        kind = rows.device.type
        self._run, self._rows, self._parameters = run, rows.detach(), parameters
        self._rows.requires_grad_(rows.requires_grad)
        self._arithmetic = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        self._made: Tensor | None = None

    def made(self) -> Tensor:
        """run(rows), with a graph."""
        if self._made is None:
            with torch.enable_grad(), torch.autocast(*self._arithmetic):
                self._made = self._run(self._rows)
        return self._made

    def gradients(self, gradient: Tensor) -> list[Tensor | None]:
        """Of rows and parameters; the graph is gone afterwards."""
        inputs = [self._rows, *self._parameters]
        found = iter(torch.autograd.grad(self.made(), [x for x in inputs if x.requires_grad], gradient))
        self._made = None
        return [next(found) if x.requires_grad else None for x in inputs]


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, second: _Second, rows: Tensor, *parameters: Tensor) -> Tensor:
        ctx.second = second
        return second._run(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.second.gradients(gradient)
