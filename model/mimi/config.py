"""What Kyutai's Mimi configuration says, and which of its options are built here; the defaults are Mimi's.

An option that this code has not is refused, never ignored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from model.lm_kyutai import read_json
from protocols.config import from_data
from protocols.errors import InputError

FIXED: Mapping[str, Mapping[str, object]] = {  # by section: keys that may be there with one value only
    "": {"channels": 1},
    "seanet": {"channels": 1, "causal": True, "activation": "ELU", "norm": "none", "pad_mode": "constant",
               "true_skip": True, "disable_norm_outer_blocks": 0},
    "transformer": {"causal": True, "conv_layout": True, "gating": "none", "norm": "layer_norm",
                    "positional_embedding": "rope"},
    "quantizer": {},
}  # fmt: skip
SILENT = {"transformer": ("layer_scale", "input_dimension", "output_dimensions"),  # the weights say it
          "quantizer": ("input_dimension", "output_dimension")}  # fmt: skip


class SeanetConfig(msgspec.Struct, frozen=True):
    """Kyutai's keys; the defaults are Mimi's."""

    dimension: int = 512
    n_filters: int = 64
    n_residual_layers: int = 1
    ratios: tuple[int, ...] = (8, 6, 5, 4)
    kernel_size: int = 7
    residual_kernel_size: int = 3
    last_kernel_size: int = 3
    dilation_base: int = 2
    compress: int = 2


class TransformerConfig(msgspec.Struct, frozen=True):
    d_model: int = 512
    num_heads: int = 8
    num_layers: int = 8
    dim_feedforward: int = 2048
    context: int = 250  # steps, of which a frame has two
    max_period: float = 10_000.0


class QuantizerConfig(msgspec.Struct, frozen=True):
    dimension: int = 256
    n_q: int = 32  # books in the file; a model may use fewer
    bins: int = 2048


class MimiConfig(msgspec.Struct, frozen=True):
    sample_rate: int = 24_000
    frame_rate: float = 12.5
    seanet: SeanetConfig = SeanetConfig()
    transformer: TransformerConfig = TransformerConfig()
    quantizer: QuantizerConfig = QuantizerConfig()

    @property
    def frame_size(self) -> int:
        """Samples per frame."""
        return round(self.sample_rate / self.frame_rate)

    @property
    def stride(self) -> int:
        """Steps of the transformers per frame."""
        steps = self.frame_size
        for ratio in self.seanet.ratios:
            steps //= ratio
        return steps


def read_mimi_config(path: Path) -> MimiConfig:
    """Kyutai's JSON. A file that cannot be used raises InputError."""
    data = read_json(path)
    sections: dict[str, Any] = {}
    for section, fixed in FIXED.items():
        part = data if not section else data.get(section, {})
        if not isinstance(part, dict):
            raise InputError(f"{path}: {section} is {part!r}, no section")
        for key, only in fixed.items():
            if part.get(key, only) != only:
                raise InputError(f"{path}: {section}.{key} is {part[key]!r}; only {only!r} is built here")
        sections[section] = {k: v for k, v in part.items() if k not in (*fixed, *SILENT.get(section, ()))}
    top = sections.pop("")
    top["seanet"] = from_data(sections["seanet"], SeanetConfig, f"{path}: seanet")
    top["transformer"] = from_data(sections["transformer"], TransformerConfig, f"{path}: transformer")
    top["quantizer"] = from_data(sections["quantizer"], QuantizerConfig, f"{path}: quantizer")
    config = from_data(top, MimiConfig, str(path))
    c, steps = config.seanet, config.frame_size
    for ratio in c.ratios:
        steps, rest = divmod(steps, ratio)
        if rest:
            raise InputError(f"{path}: a frame of {config.frame_size} samples is not divided by {list(c.ratios)}")
    if c.dimension != config.transformer.d_model:
        raise InputError(f"{path}: a transformer of another width ({config.transformer.d_model}) is not built here")
    return config
