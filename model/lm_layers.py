"""What the language model is made of: the transformer block, its attentions, the depth transformer.

A block does not know how it attends: it hands its queries, keys and values to a function. So one block serves whole
sequences, a ring of past frames, the codebooks of one frame, and whatever layout a trainer packs. The weights of all
codebooks lie in one tensor [sets, out, in]: training is a batched product over the codebooks, streaming takes views
of it once. Nothing here knows of delays, sessions or files.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from model.again import computed_again
from model.lm_kyutai import LMConfig

Map = Callable[[Tensor], Tensor]
Linear = partial(nn.Linear, bias=False)
# Layer number, its qkv [B, T, 3 * dim] -> what was attended to [B, T, dim]; or of the last rows only, [B, t, dim],
# and then only these go on.
Attend = Callable[[int, Tensor], Tensor]
Choose = Callable[[int, Tensor], Tensor]  # codebook number, its logits [B, card] -> the chosen codes [B]


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    """x [..., dim] over its root mean square, computed in float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return functional.rms_norm(x.to(wide), scale.shape, scale.to(wide), 1e-8).to(x.dtype)


def embed(table: Tensor, rows: Tensor) -> Tensor:
    """Sum of the rows of table [n, dim] that rows [..., k] names: [..., dim]. A row below 0 adds nothing."""
    flat = rows.reshape(-1, rows.shape[-1])
    there = (flat >= 0).to(table.dtype)
    total = functional.embedding_bag(flat.clamp(min=0), table, mode="sum", per_sample_weights=there)
    return total.view(*rows.shape[:-1], -1)


class Heads(Protocol):
    """What rotary phases hang on."""

    @property
    def dim(self) -> int: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def max_period(self) -> float: ...


def rotations(position: Tensor, config: Heads) -> Tensor:
    """Rotary phases (RoPE, arXiv 2104.09864) of position [B, T] as unit complex numbers [B, 1, T, D / 2]."""
    width = config.dim // config.num_heads
    pair = torch.arange(width // 2, device=position.device, dtype=torch.float32)
    phase = position[:, None, :, None].float() * torch.exp(pair * (-2 * math.log(config.max_period) / width))
    return torch.polar(torch.ones_like(phase), phase)


def split_heads(qkv: Tensor, heads: int, rotation: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v [B, H, T, D] of qkv [B, T, 3 * dim]; neighbouring channels of q and k are turned as pairs."""
    qkv = qkv.view(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    qk, v = qkv.split_with_sizes((2, 1))
    if rotation is not None:
        wide = qk.to(torch.promote_types(qk.dtype, torch.float32))
        pairs = torch.view_as_complex(wide.view(*qk.shape[:-1], -1, 2))
        qk = torch.view_as_real(pairs * rotation).flatten(-2).to(qkv.dtype)
    q, k = qk.unbind()
    return q, k, v.squeeze(0)


def attend_causally(config: LMConfig, frames: int, device: torch.device) -> Attend:
    """Whole sequences: every frame sees itself and the `context - 1` frames before it."""
    rotation = rotations(torch.arange(frames, device=device)[None], config)
    window = torch.ones(frames, frames, dtype=torch.bool, device=device).tril().triu(1 - config.context)

    def attend(layer: int, qkv: Tensor) -> Tensor:
        q, k, v = split_heads(qkv, config.num_heads, rotation)
        if qkv.is_cpu and qkv.dtype == torch.bfloat16 and qkv.requires_grad:
            x = _attend_openly(q, k, v, window)
        elif frames > config.context:
            x = scaled_dot_product_attention(q, k, v, attn_mask=window)
        else:
            x = scaled_dot_product_attention(q, k, v, is_causal=True)
        return x.transpose(1, 2).flatten(2)

    return attend


def _attend_openly(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Attention in plain products: on a processor torch's fused bfloat16 one takes five times as long backwards."""
    with torch.autocast(q.device.type, enabled=False):  # which would take the softmax of float32 copies
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        shares: Tensor = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        return shares @ v


def attend_to_ring(config: LMConfig, ring: Tensor, position: Tensor) -> Attend:
    """One new frame per slot, number `position` [B] of its session, beside those in ring [layers, 2, B, H, context, D].

    The frame enters the ring; the same number given again replaces it, so a slot that pauses is no special case.
    """
    slots, place = torch.arange(len(position), device=position.device), position % config.context
    rotation = rotations(position[:, None], config)
    # Only the places some session has filled; by 64s, so that sums do not hang on which session is the longest.
    filled = min(config.context, (int(position.max()) // 64 + 1) * 64)
    seen = (torch.arange(filled, device=position.device) <= position[:, None])[:, None, None]  # [B, 1, 1, filled]

    def attend(layer: int, qkv: Tensor) -> Tensor:
        q, k, v = split_heads(qkv, config.num_heads, rotation)
        keys, values = ring[layer]
        keys[slots, :, place], values[slots, :, place] = k[:, :, 0], v[:, :, 0]
        x = scaled_dot_product_attention(q, keys[:, :, :filled], values[:, :, :filled], attn_mask=seen)
        return x.transpose(1, 2).flatten(2)

    return attend


class StepLinear(nn.Module):
    """A linear map per codebook, [K, N, inputs] -> [K, N, outputs]; `sets` names the weights of each."""

    def __init__(self, sets: tuple[int, ...], inputs: int, outputs: int) -> None:
        super().__init__()
        self.sets = sets
        self.weight = nn.Parameter(torch.empty(max(sets) + 1, outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:  # the same x [N, inputs] for every codebook: one product
            y = functional.linear(x, self.weight.flatten(0, 1)).view(len(x), *self.weight.shape[:2]).transpose(0, 1)
            return y[list(self.sets)]
        each_its_own = self.sets == tuple(range(len(self.weight)))  # indexing would copy the weights
        return x @ (self.weight if each_its_own else self.weight[list(self.sets)]).mT

    def at(self, codebook: int) -> Map:
        return partial(functional.linear, weight=self.weight[self.sets[codebook]])


class Weights(NamedTuple):
    """What a block computes with."""

    norm_attention: Tensor
    norm_feed: Tensor
    qkv: Map
    out: Map
    gate_up: Map
    down: Map


class Block(nn.Module):
    """One transformer block; `linear(inputs, outputs)` makes its maps."""

    def __init__(self, dim: int, width: int, linear: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.ones(dim))
        self.qkv, self.out = linear(dim, 3 * dim), linear(dim, dim)
        self.gate_up, self.down = linear(dim, 2 * width), linear(width, dim)

    def forward(self, x: Tensor, attend: Map, lean: bool = False) -> Tensor:
        """lean: keep less of the feed-forward part for the backward pass."""
        return transform(x, Weights(self.norm_attention, self.norm_feed, *self._maps()), attend, lean)

    def _maps(self) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
        return self.qkv, self.out, self.gate_up, self.down

    def at(self, codebook: int) -> Weights:
        """The share of one codebook, in a block of StepLinears."""
        maps = (m.at(codebook) for m in self._maps() if isinstance(m, StepLinear))
        return Weights(self.norm_attention, self.norm_feed, *maps)


def transform(x: Tensor, w: Weights, attend: Map, lean: bool = False) -> Tensor:
    """What a block does to x [..., dim], or to its last rows where only those were attended for."""
    seen = attend(w.qkv(rms_norm(x, w.norm_attention)))
    x = x[..., -seen.shape[-2] :, :] + w.out(seen)
    gate_up = w.gate_up(rms_norm(x, w.norm_feed))
    return x + (computed_again(_gated, gate_up, w.down) if lean else w.down(_gated(gate_up)))


def _gated(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate) * up


def through(blocks: nn.ModuleList, x: Tensor, attend: Attend, checkpointing: bool, lean: bool = False) -> Tensor:
    """x through all blocks; with checkpointing the backward pass computes again what happens inside them, without it
    only what costs next to nothing."""
    for layer, block in enumerate(blocks):
        if checkpointing and torch.is_grad_enabled():
            x = checkpoint(block, x, partial(attend, layer), use_reentrant=False, preserve_rng_state=False)
        else:
            x = block(x, partial(attend, layer), lean)
    return x


class Turn(NamedTuple):
    """One codebook's turn, in views of the weights."""

    enter: Map  # the token before it [N] -> [N, depformer_dim]
    blocks: list[Weights]
    head: Map


class DepthTransformer(nn.Module):
    """The codes of one frame, each from the frame's hidden state and the tokens before it: the text, then audio."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        c, dim, spoken = config, config.depformer_dim, tuple(range(config.dep_q))
        rank = c.depformer_low_rank_embeddings or dim
        self.config = c
        self.project = StepLinear(c.schedule if c.depformer_multi_linear else (0,) * c.dep_q, c.dim, dim)
        self.text_embedding = nn.Parameter(torch.empty(c.text_card + 1, rank))
        self.audio_embedding = nn.Parameter(torch.empty(c.dep_q - 1, c.card + 1, rank))
        if c.depformer_low_rank_embeddings:
            self.text_widen, self.audio_widen = Linear(rank, dim), StepLinear(spoken[:-1], rank, dim)
        linear = partial(StepLinear, c.schedule)
        self.layers = nn.ModuleList(Block(dim, c.widths[1], linear) for _ in range(c.depformer_num_layers))
        self.heads = StepLinear(spoken, dim, c.card)

    def forward(self, hidden: Tensor, before: Tensor, checkpointing: bool = False) -> Tensor:
        """Logits [N, dep_q, card] of N frames, of hidden [N, dim] and the token before each code, before [N, dep_q]."""
        entered = [enter(token) for enter, token in zip(self._enter(), before.unbind(1), strict=True)]
        x = self.project.forward(hidden) + torch.stack(entered)  # [dep_q, N, depformer_dim]
        return self.heads.forward(through(self.layers, x, self._attend, checkpointing)).transpose(0, 1)

    def turns(self) -> list[Turn]:
        """What `speak` runs on, as long as the parameters stay where they are in memory."""
        enters = enumerate(self._enter())
        return [
            Turn(enter, [b.at(k) for b in self.layers if isinstance(b, Block)], self.heads.at(k)) for k, enter in enters
        ]

    def speak(self, turns: list[Turn], hidden: Tensor, text: Tensor, choose: Choose) -> Tensor:
        """Logits [B, dep_q, card] of one frame of hidden [B, dim] and text [B], each code chosen before the next."""
        c, token, logits = self.config, text, []
        heads = (c.depformer_num_heads, c.dep_q, c.depformer_dim // c.depformer_num_heads)
        kept = hidden.new_empty(len(self.layers), 2, len(text), *heads).unbind()  # keys and values of this frame
        for codebook, (x, turn) in enumerate(zip(self.project(hidden), turns, strict=True)):
            x = x + turn.enter(token)
            for weights, past in zip(turn.blocks, kept, strict=True):
                x = transform(x, weights, partial(self._attend_turn, past, codebook))
            logits.append(turn.head(x))
            token = choose(codebook, logits[-1])
        return torch.stack(logits, 1)

    def _enter(self) -> list[Map]:
        tables = (self.text_embedding, *self.audio_embedding.unbind())
        widen: list[Map | None] = [None] * len(tables)
        if self.config.depformer_low_rank_embeddings:
            widen = [self.text_widen, *(self.audio_widen.at(k) for k in range(len(tables) - 1))]
        return [partial(_embed_token, *pair) for pair in zip(tables, widen, strict=True)]

    def _attend(self, layer: int, qkv: Tensor) -> Tensor:
        q, k, v = split_heads(qkv.transpose(0, 1), self.config.depformer_num_heads)  # [N, H, dep_q, D]
        return scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3).flatten(2)

    def _attend_turn(self, past: Tensor, codebook: int, qkv: Tensor) -> Tensor:
        q, k, v = split_heads(qkv[:, None], self.config.depformer_num_heads)  # [B, H, 1, D]
        keys, values = past[:, :, :, : codebook + 1]
        keys[:, :, codebook], values[:, :, codebook] = k[:, :, 0], v[:, :, 0]
        return scaled_dot_product_attention(q, keys, values).flatten(1)


def _embed_token(table: Tensor, widen: Map | None, token: Tensor) -> Tensor:
    x = embed(table, token[:, None])
    return widen(x) if widen else x
