"""Kyutai's checkpoint format: what config.json says of a language model, and which of its tensors is which of ours.

The map of names is written out and checked in both directions before a weight is read, so a file of another model is
one clear error. Options that Kyutai's code has and this model has not are refused, never ignored. It knows nothing of
what the numbers do.
"""

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Size, Tensor

from protocols.errors import InputError, unknown_name

WEIGHTS = "model.safetensors"

# Kyutai's options that exist here in one form. Where one of the first is absent, Kyutai's code takes another form.
_STATED: dict[str, object] = {"norm": "rms_norm_f32", "gating": "silu", "positional_embedding": "rope"}
_STATED |= {"depformer_pos_emb": "none", "depformer_weights_per_step": True}
_USUAL: dict[str, object] = {"causal": True, "depformer_gating": "silu", "kv_repeat": 1}
_USUAL |= dict.fromkeys(("layer_scale", "depformer_layer_scale", "depformer_norm", "norm_emb", "bias_proj"))
_USUAL |= dict.fromkeys(("conditioners", "fuser", "cross_attention", "quantize", "lora", "extra_heads_num_heads"))
_USUAL |= dict.fromkeys(("demux_second_stream", "demux_second_text_stream", "text_card_out"))
# Keys that say nothing about the arithmetic.
_SILENT = {"depformer_causal", "depformer_context", "depformer_max_period", "extra_heads_dim", "gradient_checkpointing"}
_SILENT |= {"lora_name", "lora_rank", "lora_scaling", "lm_gen_config", "stt_config", "tts_config", "model_id"}
_SILENT |= {"mimi_config_name", "mimi_name", "model_type", "moshi_name", "tokenizer_name"}


@dataclass(frozen=True)
class LMConfig:
    """The fields of Kyutai's config.json that may vary here, with the defaults they have there."""

    dim: int
    num_layers: int
    num_heads: int
    n_q: int  # audio streams heard: the agent's own, then the user's
    dep_q: int  # audio streams spoken: the agent's
    card: int  # codes of an audio stream
    text_card: int
    delays: tuple[int, ...]  # frames; of the text and each audio stream
    context: int  # frames attended to, the present one included
    depformer_dim: int
    depformer_num_layers: int
    depformer_num_heads: int
    depformer_dim_feedforward: int | tuple[int, ...] | None = None
    depformer_multi_linear: bool = False
    depformer_weights_per_step_schedule: tuple[int, ...] | None = None
    depformer_low_rank_embeddings: int | None = None
    hidden_scale: float = 4.0
    max_period: float = 10_000.0  # frames; of the slowest rotation
    existing_text_padding_id: int = 3  # PAD
    existing_text_end_padding_id: int = 0  # EPAD

    def __post_init__(self) -> None:
        sets, widths, pad = self.schedule, self.depformer_dim_feedforward, self.existing_text_padding_id
        rules = {
            "a dep_q in 2..n_q": 2 <= self.dep_q <= self.n_q,
            "1 + n_q delays": len(self.delays) == 1 + self.n_q and min(self.delays) >= 0,
            "heads of even width": self.dim % (2 * self.num_heads) == 0,
            "a depformer_dim that its heads divide": self.depformer_dim % self.depformer_num_heads == 0,
            "a context of 1 or more": self.context >= 1,
            "a weight set for each spoken stream": len(sets) == self.dep_q and set(sets) == set(range(max(sets) + 1)),
            "one feed-forward width for all codebooks": not isinstance(widths, tuple) or len(set(widths)) == 1,
            "padding inside the text vocabulary": max(pad, self.existing_text_end_padding_id) < self.text_card,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise InputError(f"this language model configuration lacks {'; '.join(broken)}")

    @classmethod
    def from_kyutai(cls, data: dict[str, Any], where: str = "config.json") -> "LMConfig":
        """Kyutai's keys and values. An unknown or missing key, or an option not built here, raises InputError."""
        fields = set(cls.__dataclass_fields__)
        for key in data:
            if key not in (known := fields | set(_STATED) | set(_USUAL) | _SILENT):
                raise InputError(f"{where}: {unknown_name('key', key, known)}")
        for key, needed in (_STATED | _USUAL).items():
            value = data.get(key, _USUAL.get(key))
            if value != needed and (value or needed):
                raise InputError(f"{where}: {key} is {value!r}; only {needed!r} is built here")
        try:
            return msgspec.convert({key: data[key] for key in fields & set(data)}, cls)
        except msgspec.ValidationError as error:
            raise InputError(f"{where}: {error}") from error

    def to_kyutai(self) -> dict[str, Any]:
        """What Kyutai's code needs to build the same model."""
        return asdict(self) | _STATED

    @property
    def cards(self) -> tuple[int, ...]:
        """The size of each stream's vocabulary, which is also the token that stands before its first one."""
        return (self.text_card, *[self.card] * self.n_q)

    @property
    def schedule(self) -> tuple[int, ...]:
        """The weight set of each spoken codebook."""
        return self.depformer_weights_per_step_schedule or tuple(range(self.dep_q))

    @property
    def widths(self) -> tuple[int, int]:
        """Hidden widths of the temporal and the depth transformer's gated feed-forward (Kyutai's two roundings)."""
        depth = self.depformer_dim_feedforward or int(self.hidden_scale * self.depformer_dim)
        plain = (int(self.hidden_scale * self.dim), depth[0] if isinstance(depth, tuple) else depth)
        dims = (self.dim, self.depformer_dim)
        temporal, depth = (21 * d // 8 if w == 4 * d else 2 * w // 3 for d, w in zip(dims, plain, strict=True))
        return temporal, depth


# Our parameters and Kyutai's tensors. {layer} is one number on both sides; {} counts along our first axis.
KYUTAI = {
    "text_embedding": "text_emb.weight",
    "audio_embedding": "emb.{}.weight",
    "layers.{layer}.norm_attention": "transformer.layers.{layer}.norm1.alpha",
    "layers.{layer}.qkv.weight": "transformer.layers.{layer}.self_attn.in_projs.0.weight",
    "layers.{layer}.out.weight": "transformer.layers.{layer}.self_attn.out_projs.0.weight",
    "layers.{layer}.norm_feed": "transformer.layers.{layer}.norm2.alpha",
    "layers.{layer}.gate_up.weight": "transformer.layers.{layer}.gating.linear_in.weight",
    "layers.{layer}.down.weight": "transformer.layers.{layer}.gating.linear_out.weight",
    "norm": "out_norm.alpha",
    "text_head.weight": "text_linear.weight",
    "depth.project.weight": "depformer_in.{}.weight",
    "depth.text_embedding": "depformer_text_emb.weight",
    "depth.text_widen.weight": "depformer_text_emb.low_rank.weight",
    "depth.audio_embedding": "depformer_emb.{}.weight",
    "depth.audio_widen.weight": "depformer_emb.{}.low_rank.weight",
    "depth.layers.{layer}.norm_attention": "depformer.layers.{layer}.norm1.alpha",
    "depth.layers.{layer}.qkv.weight": "depformer.layers.{layer}.self_attn.in_projs.{}.weight",
    "depth.layers.{layer}.out.weight": "depformer.layers.{layer}.self_attn.out_projs.{}.weight",
    "depth.layers.{layer}.norm_feed": "depformer.layers.{layer}.norm2.alpha",
    "depth.layers.{layer}.gate_up.weight": "depformer.layers.{layer}.gating.{}.linear_in.weight",
    "depth.layers.{layer}.down.weight": "depformer.layers.{layer}.gating.{}.linear_out.weight",
    "depth.heads.weight": "linears.{}.weight",
}


MOSHI = LMConfig(  # Kyutai's seven billion parameters; a folder of theirs without config.json holds them
    dim=4096, num_layers=32, num_heads=32, hidden_scale=4.125, n_q=16, dep_q=8, card=2048, text_card=32_000,
    context=3000, delays=(0, 0, *[1] * 7, 0, *[1] * 7), depformer_dim=1024, depformer_num_layers=6,
    depformer_num_heads=16, depformer_dim_feedforward=4224, depformer_multi_linear=True,
)  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. A file that holds none raises InputError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def read_config(folder: Path) -> tuple[LMConfig, Path]:
    """A checkpoint's configuration, and where its weights are. A file that cannot be used raises InputError."""
    path = folder / "config.json"
    data = read_json(path)
    return LMConfig.from_kyutai(data, str(path)), folder / str(data.get("moshi_name", WEIGHTS))


def read_weights(path: Path, shapes: Mapping[str, Size], dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """Our parameters of these shapes, by name. A file that is not exactly theirs raises InputError."""
    try:
        with safe_open(path, "pt", device=device) as file:
            found = {key: Size(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            places = tensors_of(shapes, found)
            _agree(path, found, {key: shape for place in places.values() for key, shape in place.items()})
            return {
                name: torch.cat([file.get_tensor(key) for key in place]).to(dtype).view(shapes[name])
                for name, place in places.items()
            }
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def write(config: LMConfig, weights: Mapping[str, Tensor], folder: Path) -> None:
    """config.json and model.safetensors of our parameters, by name; each replaces what is there in one go."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, place in tensors_of({name: x.shape for name, x in weights.items()}).items():
        parts = weights[name].reshape(len(place), *next(iter(place.values())))
        tensors |= {key: part.contiguous() for key, part in zip(place, parts, strict=True)}
    save_file(tensors, folder / f"{WEIGHTS}.part")
    (folder / "config.json.part").write_text(json.dumps(config.to_kyutai(), indent=2), encoding="utf-8")
    for file in ("config.json", WEIGHTS):
        os.replace(folder / f"{file}.part", folder / file)


def tensors_of(shapes: Mapping[str, Size], present: Collection[str] = ()) -> dict[str, dict[str, Size]]:
    """For each parameter of ours Kyutai's tensors, by name, with their shapes.

    Older files join the attention's codebooks in one tensor; so does the answer where one of those is `present`.
    """
    places = {}
    for name, shape in shapes.items():
        layer = re.search(r"layers\.(\d+)", name)
        theirs = KYUTAI[re.sub(r"layers\.\d+", "layers.{layer}", name)].replace("{layer}", layer[1] if layer else "")
        joined = re.sub(r"in_projs\.(0|{})\.weight", "in_proj_weight", re.sub(r"out_projs\.(0|{})", "out_proj", theirs))
        if joined != theirs and joined in present:
            places[name] = {joined: Size([shape[:-1].numel(), shape[-1]])}
        elif "{}" in theirs:
            places[name] = {theirs.replace("{}", str(k)): shape[1:] for k in range(shape[0])}
        else:
            places[name] = {theirs: Size([1, 1, *shape]) if theirs.endswith("alpha") else shape}
    return places


def _agree(path: Path, found: dict[str, Size], wanted: dict[str, Size]) -> None:
    faults = [f"{key} is missing" for key in wanted.keys() - found.keys()]
    faults += [f"{key} is not this model's" for key in found.keys() - wanted.keys()]
    both = wanted.keys() & found.keys()
    faults += [f"{k} is {[*found[k]]}, not {[*wanted[k]]}" for k in both if found[k] != wanted[k]]
    if faults:
        raise InputError(f"{path} does not fit its config.json, {len(faults)} tensors: {'; '.join(sorted(faults)[:3])}")
