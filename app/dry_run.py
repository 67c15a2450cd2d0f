"""`duologue align --dry-run`: what an alignment would take, before a weight is loaded.

The length of a pair is that of the data set's median pair; without a data set it is the one the table names. Only the
base's config.json is read, or the shape of a model that is known by name.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from app.alignment import pairs_in, resolved
from app.show import Terminal
from model.align.config import AlignConfig
from model.align.size import SHAPES, Fork, Size, forward_operations, size_of
from model.lm_kyutai import LMConfig, read_config
from protocols.errors import InputError

USUAL = (Fork(1000, 88), Fork(1000, 88))  # frames: 80 s of talk and two replies of 7 s
GIGA = 1e9
SHARDS = (2, 4, 8)  # processes


class Row(NamedTuple):
    adapter: str
    size: Size
    reference_operations: float

    def cells(self) -> list[str]:
        size = self.size
        kept = "" if size.checkpoint_bytes is None else f"{size.checkpoint_bytes / GIGA:,.2f}"
        return [
            self.adapter, f"{size.parameters / 1e6:,.1f}", f"{size.trained / 1e6:,.1f}",
            f"{size.weight_bytes / GIGA:,.2f}", f"{size.training_bytes / GIGA:,.2f}", kept,
            f"{size.bytes_of_each(1) / GIGA:,.2f}",
            f"{size.operations / 1e12:,.3g}", f"{self.reference_operations / 1e12:,.3g}",
        ]  # fmt: skip


COLUMNS = [
    "adapter", "parameters (M)", "trained (M)", "weights (GB)", "optimiser (GB)", "activations (GB)", "sum (GB)",
    "TFLOP per pair", "reference",
]  # fmt: skip


def dry_run(config: AlignConfig, terminal: Terminal) -> None:
    """Print the sizes of a full fine-tune and of adapters, whichever the configuration asks for."""
    shape, forks = _shape(resolved(config)), _forks(Path(config.data.pairs))
    rows = [
        Row(adapter if adapter == "full" else f"LoRA, rank {config.model.lora_rank}", size_of(shape, told, forks),
            forward_operations(shape, forks))
        for adapter in ("full", "lora")
        for told in [replace(config, model=replace(config.model, adapter=adapter))]
    ]  # fmt: skip
    context, reply = forks[0].context, [fork.reply for fork in forks]
    where = "the data set's median" if forks is not USUAL else f"no data set at {config.data.pairs}"
    terminal.table(COLUMNS, [row.cells() for row in rows], title=f"What {config.model.base} would take")
    terminal.say(
        f"\nA pair of {context} frames of context and replies of {reply[0]} and {reply[1]} ({where}); "
        f"{config.model.precision}, a text loss; optimiser: gradients and moments; activations only where they are "
        "checkpointed; the reference's work is done once. Nothing was loaded or written."
    )
    for row in rows:
        each = ", ".join(f"{row.size.bytes_of_each(n) / GIGA:,.1f} of {n}" for n in SHARDS)
        terminal.say(f"{row.adapter} dealt out (model.shard), GB of each process: {each}")
    pair = {"context": context, "replies": reply}
    terminal.result({"pair": pair, **{row.adapter: row.size._asdict() for row in rows}})


def _shape(config: AlignConfig) -> LMConfig:
    known = SHAPES.get(config.model.base)
    return known if known and not Path(config.model.base).exists() else read_config(Path(config.model.base))[0]


def _forks(pairs: Path) -> tuple[Fork, Fork]:
    if not pairs.exists():
        return USUAL
    lengths = [[part.shape[1] for part in (pair.context, *pair.replies)] for pair in pairs_in(pairs)]
    if not lengths:
        raise InputError(f"{pairs} holds no pairs")
    context, chosen, rejected = (round(x) for x in np.median(lengths, axis=0).tolist())
    return Fork(context, max(1, chosen)), Fork(context, max(1, rejected))
