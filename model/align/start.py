"""A trainer from a configuration: the base model, its pairs, the split."""

from collections.abc import Iterable
from pathlib import Path

import torch

from model.align.config import AlignConfig
from model.align.data import TokenPair, of_kinds, read_pairs, split, trunks
from model.align.shards import check_shard
from model.align.trainer import Probe, Trainer
from model.align.workers import ALONE, Workers, device_of
from model.lm import load_kyutai


def start(
    config: AlignConfig,
    probe: Probe | None = None,
    pairs: Iterable[TokenPair] | None = None,
    workers: Workers = ALONE,
) -> Trainer:
    """The trainer of this configuration; pairs: from elsewhere than the folder `data.pairs`.

    A base that is trained whole is held in float32, whatever the arithmetic; a frozen one in the arithmetic's type. One
    that is dealt out among processes is read on the processor, since no device need hold it whole.
    """
    check_shard(config, workers)
    frozen = config.model.adapter == "lora" and config.model.precision == "bfloat16"
    device = "cpu" if config.model.shard else device_of(config.model.device)
    lm = load_kyutai(Path(config.model.base), torch.bfloat16 if frozen else torch.float32, device)
    chosen = of_kinds(read_pairs(Path(config.data.pairs)) if pairs is None else pairs, config.data.kinds)
    found = trunks(chosen, config.data.pairs_per_trunk)
    return Trainer(lm, config, split(found, config.data.validation_share, config.run.seed), probe, workers)
