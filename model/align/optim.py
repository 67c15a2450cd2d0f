"""Which parameters are trained, and how fast.

The temporal transformer with the embeddings and the text head has one peak rate, the depth transformer another (the
paper gives the first two hundred times less). What the loss cannot reach is frozen.
"""

import math
from collections.abc import Mapping

import torch
from torch import nn

from model.align.config import AlignConfig
from model.align.lora import adapt
from model.lm import DuplexLM


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the peak learning rate: linear over the first `warm_up` of all steps, then half a cosine to 0."""
    warm = max(1, round(warm_up * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm) / max(1, steps - warm + 1)))


def thaw(lm: DuplexLM, config: AlignConfig) -> None:
    """Let those parameters be trained that the loss reaches."""
    if config.model.adapter == "lora":
        rank, scaling = config.model.lora_rank, config.model.lora_scaling
        adapt(lm, rank, scaling, config.run.seed, text=config.text, audio=config.audio)
        return
    for name, p in lm.named_parameters():
        p.requires_grad_({"depth": config.audio, "text_head": config.text}.get(name.split(".")[0], True))


def optimiser_of(trained: Mapping[str, nn.Parameter], config: AlignConfig) -> torch.optim.AdamW:
    optim = config.optim
    depth = [p for name, p in trained.items() if name.startswith("depth.")]
    rest = [p for name, p in trained.items() if not name.startswith("depth.")]
    peaks = [(rest, optim.lr), (depth, optim.lr_depth)]
    groups = [{"params": part, "lr": peak, "peak": peak} for part, peak in peaks if part]
    return torch.optim.AdamW(groups, betas=optim.betas, weight_decay=optim.weight_decay)
