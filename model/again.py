"""Computed again: a function of rows that keeps its input alone for the backward pass, and runs twice.

torch's own checkpoint does this for anything, and imports a compiler to do so (55 MB, seconds). Here the function is
one of rows and named parameters without chance in it, so that a backward pass is a second run and its gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def computed_again(run: Callable[[Tensor], Tensor], rows: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """run(rows), with the gradients of `rows` and of `parameters`: all that `run` reads and that is trained."""
    out: Tensor = _Again.apply(run, rows, *parameters)  # type: ignore[no-untyped-call]
    return out


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable[[Tensor], Tensor], rows: Tensor, *parameters: Tensor) -> Tensor:
        ctx.run, kind = run, rows.device.type
        ctx.arithmetic = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        ctx.save_for_backward(rows, *parameters)
        return run(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *parameters = ctx.saved_tensors
        rows = rows.detach().requires_grad_(ctx.needs_input_grad[1])
        inputs = [x for x, needed in zip((rows, *parameters), ctx.needs_input_grad[1:], strict=True) if needed]
        with torch.enable_grad(), torch.autocast(*ctx.arithmetic):
            out = ctx.run(rows)
        found = iter(torch.autograd.grad(out, inputs, gradient))
        return None, *(next(found) if needed else None for needed in ctx.needs_input_grad[1:])
