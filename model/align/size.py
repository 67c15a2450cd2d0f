"""What an alignment would take, before any weight is loaded: parameters, bytes, floating point operations.

The model is built on the meta device, so Moshi's seven billion parameters cost nothing here. Activations are counted
only where they are checkpointed (a row's input to each layer), since otherwise they hang on the attention used.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from model.align.config import AlignConfig
from model.align.optim import thaw
from model.lm import DuplexLM, LMConfig
from model.lm_kyutai import MOSHI

SHAPES = {"moshi": MOSHI}


class Fork(NamedTuple):
    context: int  # frames
    reply: int


class Size(NamedTuple):
    parameters: int  # of the base
    trained: int
    weight_bytes: int  # of the base and the adapters
    training_bytes: int  # gradients and two moments, float32
    checkpoint_bytes: int | None  # kept for the backward pass; None without checkpointing
    operations: float  # of one step over these replies

    def bytes_of_each(self, processes: int) -> float:
        """What each process holds of weights, gradients and moments dealt out, and activations of its own."""
        return (self.weight_bytes + self.training_bytes) / processes + (self.checkpoint_bytes or 0)


def size_of(lm_config: LMConfig, config: AlignConfig, replies: Sequence[Fork]) -> Size:
    """Of a step whose replies hang on one trunk, its reference's share not counted."""
    with torch.device("meta"):
        lm = DuplexLM(lm_config)
    base = sum(p.numel() for p in lm.parameters())
    thaw(lm, config)
    trained = sum(p.numel() for p in lm.parameters() if p.requires_grad)
    lora, coarse = config.model.adapter == "lora", config.model.precision == "bfloat16"
    weights = base * (2 if lora and coarse else 4) + (4 * trained if lora else 0)
    rows = max(r.context for r in replies) + sum(r.reply for r in replies)
    kept = rows * lm_config.dim * lm_config.num_layers * (2 if coarse else 4)
    again = config.model.checkpointing + (1 if lora else 2)  # a frozen map needs no gradient of its own
    work = forward_operations(lm_config, replies) * (1 + again)
    return Size(base, trained, weights, 12 * trained, kept if config.model.checkpointing else None, work)


def forward_operations(c: LMConfig, replies: Sequence[Fork]) -> float:
    """Of one packed forward for a loss on text: two for each multiplication that is needed."""
    stem, branches = max(r.context for r in replies), sum(r.reply for r in replies)
    maps = 2 * (4 * c.dim**2 + 3 * c.dim * c.widths[0])
    inside = 4 * c.dim * (stem**2 / 2)
    across = 4 * c.dim * sum(r.context * r.reply + r.reply**2 / 2 for r in replies)
    forward = c.num_layers * ((stem + branches) * maps + inside + across) + 2 * branches * c.dim * c.text_card
    return forward - stem * (maps - 4 * c.dim**2) - inside  # of the last layer only the trunk's keys and values
