"""What Mimi is made of: causal convolutions and a transformer, and what they remember.

Modules are named as the tensors of Kyutai's file are, so loading is `load_state_dict`. One path serves whole recordings
and talks: a call takes any number of frames and goes on from a memory, which is a dictionary keyed by layer and empty
at a talk's start. Keys and values are kept at a fixed length, with the position counted beside them, so talks of any
age can be stacked into one batch. A step sees the `context` steps it was trained to see; Kyutai's own streaming, once
its ring is full, hides the oldest from the first of a frame's two steps.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.lm_layers import rotations, split_heads
from model.mimi.config import SeanetConfig, TransformerConfig

Memory = dict[nn.Module, tuple[Tensor, ...]]  # of one talk, or of a batch of talks


class Conv(nn.Module):
    """A causal convolution, [B, C, T] to [B, N, T / stride]; before a talk stands zero, or its first sample."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, replicate: bool = False
    ) -> None:
        super().__init__()
        self.left = (kernel - 1) * dilation + 1 - stride
        self.replicate = replicate
        conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation, bias=not replicate)
        self.conv = nn.ModuleDict({"conv": conv})

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        if self.left:
            first = x[..., :1] if self.replicate else torch.zeros_like(x[..., :1])
            before = memory[self][0] if self in memory else first.expand(*x.shape[:2], self.left)
            x = torch.cat([before, x], -1)
            memory[self] = (x[..., -self.left :],)
        y: Tensor = self.conv["conv"](x)
        return y


class ConvTranspose(nn.Module):
    """Its mirror, [B, C, T] to [B, N, T * stride]; what falls beyond the end waits for what comes next."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.stride = stride
        conv = nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride, groups=groups, bias=groups == 1)
        self.convtr = nn.ModuleDict({"convtr": conv})

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        conv = cast(nn.ConvTranspose1d, self.convtr["convtr"])
        y: Tensor = conv(x)
        over = y[..., -self.stride :]
        if self in memory:
            y[..., : self.stride] += memory[self][0]
        bias = 0 if conv.bias is None else conv.bias[:, None]
        memory[self] = (over - bias,)
        return y[..., : -self.stride]


class Residual(nn.Module):
    def __init__(self, width: int, c: SeanetConfig, dilation: int) -> None:
        super().__init__()
        inner = width // c.compress
        convs = (Conv(width, inner, c.residual_kernel_size, dilation=dilation), Conv(inner, width, 1))
        self.block = nn.ModuleList([nn.ELU(), convs[0], nn.ELU(), convs[1]])

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        return x + through(self.block, x, memory)


def through(layers: nn.ModuleList, x: Tensor, memory: Memory) -> Tensor:
    """x through layers, of which those of this file remember."""
    for layer in layers:
        x = layer(x) if isinstance(layer, nn.ELU) else layer(x, memory)
    return x


class Seanet(nn.Module):
    """The convolutions of one direction."""

    def __init__(self, c: SeanetConfig, decoder: bool) -> None:
        super().__init__()
        widths = [c.n_filters << i for i in range(len(c.ratios) + 1)]  # from sound inwards
        outer, last = (c.kernel_size, c.last_kernel_size)
        if decoder:
            layers: list[nn.Module] = [Conv(c.dimension, widths[-1], outer)]
            for ratio, wide, narrow in zip(c.ratios, widths[::-1], widths[-2::-1], strict=False):
                layers += [nn.ELU(), ConvTranspose(wide, narrow, ratio), *_residuals(narrow, c)]
            layers += [nn.ELU(), Conv(widths[0], 1, last)]
        else:
            layers = [Conv(1, widths[0], outer)]
            for ratio, narrow, wide in zip(c.ratios[::-1], widths, widths[1:], strict=False):
                layers += [*_residuals(narrow, c), nn.ELU(), Conv(narrow, wide, 2 * ratio, ratio)]
            layers += [nn.ELU(), Conv(widths[-1], c.dimension, last)]
        self.model = nn.ModuleList(layers)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        return through(self.model, x, memory)


def _residuals(width: int, c: SeanetConfig) -> list[nn.Module]:
    return [Residual(width, c, c.dilation_base**i) for i in range(c.n_residual_layers)]


class Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Layer(nn.Module):
    """A transformer layer, [B, T, dim]; a step sees itself and the `context - 1` steps before it."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.c = c
        self.norm1, self.norm2 = nn.LayerNorm(c.d_model), nn.LayerNorm(c.d_model)
        maps = {"in_projs": 3 * c.d_model, "out_projs": c.d_model}
        self.self_attn = nn.ModuleDict(
            {name: nn.ModuleList([nn.Linear(c.d_model, outputs, bias=False)]) for name, outputs in maps.items()}
        )
        self.linear1 = nn.Linear(c.d_model, c.dim_feedforward, bias=False)
        self.linear2 = nn.Linear(c.dim_feedforward, c.d_model, bias=False)
        self.layer_scale_1, self.layer_scale_2 = Scale(c.d_model), Scale(c.d_model)

    def forward(self, x: Tensor, rotation: Tensor, seen: Tensor, memory: Memory) -> Tensor:
        into, out = (self.self_attn[name][0] for name in ("in_projs", "out_projs"))  # type: ignore[index]
        q, k, v = split_heads(into(self.norm1(x)), self.c.num_heads, rotation)
        if self not in memory:
            empty = k.new_zeros(*k.shape[:2], self.c.context, k.shape[3])
            memory[self] = (empty, empty)
        k, v = (torch.cat([kept, new], 2) for kept, new in zip(memory[self], (k, v), strict=True))
        memory[self] = (k[:, :, -self.c.context :], v[:, :, -self.c.context :])
        heard = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        x = x + self.layer_scale_1(out(heard))
        y: Tensor = x + self.layer_scale_2(self.linear2(functional.gelu(self.linear1(self.norm2(x)))))
        return y


class Heads(NamedTuple):
    dim: int
    num_heads: int
    max_period: float


class Transformer(nn.Module):
    """[B, dim, T] to the same; it remembers how many steps there were."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.c = c
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(Layer(c) for _ in range(c.num_layers))})

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        x, (n, steps) = x.transpose(1, 2), (len(x), x.shape[2])
        start = memory[self][0] if self in memory else torch.zeros(n, dtype=torch.long, device=x.device)
        position = start[:, None] + torch.arange(steps, device=x.device)  # [B, T]
        past = torch.arange(-self.c.context, steps, device=x.device) + start[:, None]  # [B, context + T]
        age = position[:, :, None] - past[:, None]
        seen = ((age >= 0) & (age < self.c.context) & (past[:, None] >= 0))[:, None]  # [B, 1, T, context + T]
        rotation = rotations(position, Heads(self.c.d_model, self.c.num_heads, self.c.max_period))
        for layer in self.transformer["layers"]:  # type: ignore[attr-defined]
            x = layer(x, rotation, seen, memory)
        memory[self] = (start + steps,)
        return x.transpose(1, 2)
