"""Attention over a packed layout: every branch sees its trunk up to the fork, and itself.

Three ways to compute one thing. `dense` builds the mask: the definition, for tests and odd devices. `merge` (CPU)
runs plain flash attention on trunk, on branches against their trunk and on each branch alone, and joins the last two
by their log-sum-exp, so no mask exists and nothing is computed that is masked away; it uses private operators of
torch, so a self-test against `dense` in float64, values and gradients, decides once per process whether it may be
used. `flex` (CUDA) gives FlexAttention the same rule as a function. It has not run on a GPU yet.

In the last layer only branches are attended for: nothing else of a trunk is needed there than keys and values.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.align.packing import Branch, Layout, Tree, index_rows
from model.lm_kyutai import LMConfig
from model.lm_layers import Attend, rotations, split_heads
from protocols.errors import InputError

Backend = Literal["dense", "merge", "flex"]
# q of rows `first` on, k and v of all rows [1, H, rows, D] -> [1, H, rows - first, D]
Core = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def choose(wanted: Literal["auto", "dense", "merge", "flex"], device: torch.device) -> Backend:
    """The back-end to use; `auto` takes the fastest that works here. One that cannot work is an InputError."""
    if wanted == "auto":
        if device.type == "cuda":
            return "flex"
        return "merge" if device.type == "cpu" and merge_works() else "dense"
    if wanted == "merge" and (device.type != "cpu" or not merge_works()):
        raise InputError("attention `merge` needs a CPU and a torch whose flash operators pass its self-test")
    if wanted == "flex" and device.type != "cuda":
        raise InputError("attention `flex` needs a CUDA device: torch has no backward pass for it elsewhere")
    return wanted


def attend_packed(config: LMConfig, layout: Layout, backend: Backend, device: torch.device) -> Attend:
    """What DuplexLM.hidden needs to read packed rows; hidden states come back for the branch rows only."""
    rows = index_rows(layout, device)
    rotation = rotations(rows.position[None], config)
    core = {"dense": _dense, "merge": _merge, "flex": _flex}[backend](layout, device)

    def attend(layer: int, qkv: Tensor) -> Tensor:
        q, k, v = split_heads(qkv, config.num_heads, rotation)
        first = layout.trunk_rows if layer == config.num_layers - 1 else 0
        return core(q[:, :, first:], k, v, first).transpose(1, 2).flatten(2)

    return attend


def _dense(layout: Layout, device: torch.device) -> Core:
    rows = torch.arange(layout.rows, device=device)
    mask = index_rows(layout, device).sees(rows[:, None], rows[None])

    def core(q: Tensor, k: Tensor, v: Tensor, first: int) -> Tensor:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask[first:])

    return core


def _flex(layout: Layout, device: torch.device) -> Core:
    from torch.nn.attention.flex_attention import create_block_mask

    rows, compiled = index_rows(layout, device), _compiled_flex()

    def block_mask(first: int) -> Any:
        def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return rows.sees(query + first, key)

        return create_block_mask(sees, None, None, layout.rows - first, layout.rows, device=device.type)

    masks = {first: block_mask(first) for first in {0, layout.trunk_rows}}

    def core(q: Tensor, k: Tensor, v: Tensor, first: int) -> Tensor:
        out: Tensor = compiled(q, k, v, block_mask=masks[first])
        return out

    return core


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def _merge(layout: Layout, device: torch.device) -> Core:
    def core(q: Tensor, k: Tensor, v: Tensor, first: int) -> Tensor:
        # A view of v would keep all of qkv for the backward pass.
        out: Tensor = _Merged.apply(q, k, v.contiguous(), layout, first)  # type: ignore[no-untyped-call]
        return out

    return core


def _flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """What was attended to [1, H, T, D], and the log-sum-exp of the scores [1, H, T]."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    return out, lse


def _rows(part: Tree | Branch, first: int = 0) -> slice:
    return slice(part.start - first, part.start - first + part.length)


def _forks(tree: Tree, first: int) -> list[tuple[slice, slice]]:
    """Rows of branches that part at the same place, and the rows of the trunk before it."""
    joined: dict[int, list[Branch]] = {}
    for branch in tree.branches:
        joined.setdefault(branch.fork, []).append(branch)
    return [
        (
            slice(group[0].start - first, group[-1].start + group[-1].length - first),
            slice(tree.start, tree.start + fork),
        )
        for fork, group in joined.items()
        if fork
    ]


class _Merged(torch.autograd.Function):
    """Flash attention in pieces. Given the whole row's output and log-sum-exp, the pieces' backward passes add up."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout, first: int) -> Tensor:
        out = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        lse = q.new_empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))
        for tree in layout.trees:
            if not first and tree.length:
                own = _rows(tree)
                out[:, :, own], lse[:, :, own] = _flash(q[:, :, own], k[:, :, own], v[:, :, own], True)
            for branch in tree.branches:
                own, keys = _rows(branch, first), _rows(branch)
                out[:, :, own], lse[:, :, own] = _flash(q[:, :, own], k[:, :, keys], v[:, :, keys], True)
            for own, past in _forks(tree, first):
                there, weight = _flash(q[:, :, own], k[:, :, past], v[:, :, past], False)
                joined = torch.logaddexp(weight, lse[:, :, own])
                out[:, :, own] *= (lse[:, :, own] - joined).exp().unsqueeze(-1).to(out.dtype)
                out[:, :, own] += there * (weight - joined).exp().unsqueeze(-1).to(out.dtype)
                lse[:, :, own] = joined
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.place = layout, first
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, out, lse = ctx.saved_tensors
        layout, first = ctx.place
        by_q, by_k, by_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)

        def add(own: slice, keys: slice, causal: bool) -> None:
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                gradient[:, :, own], q[:, :, own], k[:, :, keys], v[:, :, keys],
                out[:, :, own], lse[:, :, own], 0.0, causal,
            )  # fmt: skip
            for total, rows, part in zip((by_q, by_k, by_v), (own, keys, keys), parts, strict=True):
                total[:, :, rows] += part

        for tree in layout.trees:
            if not first and tree.length:
                add(_rows(tree), _rows(tree), True)
            for branch in tree.branches:
                add(_rows(branch, first), _rows(branch), True)
            for own, past in _forks(tree, first):
                add(own, past, False)
        return by_q, by_k, by_v, None, None


@cache
def merge_works() -> bool:
    """Whether this torch's flash operators, put together, are what the mask says: values and gradients in float64."""
    trees = (Tree(0, 5, (Branch(8, 3, 2), Branch(11, 2, 2), Branch(13, 1, 5))), Tree(5, 3, (Branch(14, 2, 3),)))
    layout, cpu = Layout(trees), torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(3, 1, 2, layout.rows, 8, dtype=torch.float64, generator=generator)
    for first in (0, layout.trunk_rows):
        answers = []
        for make in (_dense, _merge):
            given = qkv.clone().requires_grad_()
            try:
                out = make(layout, cpu)(given[0][:, :, first:], given[1], given[2], first)
                answers.append((out, *torch.autograd.grad(out.square().sum(), given)))
            except (AttributeError, RuntimeError, TypeError, ValueError):
                return False
        if not all(torch.allclose(a, b, rtol=1e-10, atol=1e-10) for a, b in zip(*answers, strict=True)):
            return False
    return True
