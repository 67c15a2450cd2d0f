"""Computed again: what is cheap to make is made anew by the backward pass instead of being kept for it.

`computed_again(run, rows, then)` keeps `rows` alone: neither the insides of `run` nor its result, which `then` would
remember as its input. `run` must have no parameters and no chance in it. torch's own checkpoint would run `then` again
as well, and imports a compiler to do so (55 MB, seconds).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

Map = Callable[[Tensor], Tensor]


def computed_again(run: Map, rows: Tensor, then: Map) -> Tensor:
    """then(run(rows)), with all gradients."""
    if not torch.is_grad_enabled():
        return then(run(rows))
    made: Tensor = _Again.apply(run, rows)  # type: ignore[no-untyped-call]
    same, known = _place(made), rows.detach()

    def pack(kept: Tensor) -> Tensor | torch.Size:
        return kept.shape if kept.is_contiguous() and _place(kept) == same else kept

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        return kept if isinstance(kept, Tensor) else run(known).view(kept)

    with saved_tensors_hooks(pack, unpack):
        return then(made)


def _place(tensor: Tensor) -> tuple[int, int, torch.dtype]:
    return tensor.data_ptr(), tensor.numel(), tensor.dtype


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Map, rows: Tensor) -> Tensor:
        ctx.run = run
        ctx.save_for_backward(rows)
        return run(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        with torch.enable_grad():
            rows = ctx.saved_tensors[0].detach().requires_grad_()
            return None, torch.autograd.grad(ctx.run(rows), rows, gradient)[0]
