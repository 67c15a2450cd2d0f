"""Tiny random checkpoints in the very form that Kyutai's own package writes; runs where that package is installed.

`SHAPE` is what the language models of all recorders here have in common with Moshi.
"""

import io
import json
import os
from pathlib import Path

os.environ["NO_TORCH_COMPILE"] = "1"  # read when moshi is imported
os.environ["HF_HUB_OFFLINE"] = "1"

import sentencepiece
import torch
from moshi.models import loaders
from moshi.models.lm import LMModel
from safetensors.torch import save_file

TEXT = "hello how are you what is the capital of france paris london one two three four five red blue green"
SHAPE = {
    "num_layers": 2, "num_heads": 2, "hidden_scale": 4.125, "n_q": 16, "dep_q": 8,
    "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1], "max_period": 10000, "causal": True,
    "layer_scale": None, "existing_text_padding_id": 3, "gating": "silu", "norm": "rms_norm_f32",
    "positional_embedding": "rope", "depformer_num_heads": 2, "depformer_multi_linear": True,
    "depformer_layer_scale": None, "depformer_context": 8, "depformer_max_period": 10000, "depformer_gating": "silu",
    "depformer_pos_emb": "none", "depformer_weights_per_step": True,
}  # fmt: skip
MIMI_NAME = "tokenizer-e351c8d8-checkpoint125.safetensors"
TOKENIZER_NAME = "tokenizer_spm_32k_3.model"


def lm_shape(dim: int, depth_dim: int, depth_layers: int, card: int, context: int) -> dict[str, object]:
    """config.json of a language model like Moshi, smaller; text_card is still to be said."""
    depth = {"depformer_dim": depth_dim, "depformer_num_layers": depth_layers}
    return (
        SHAPE
        | {"dim": dim, "card": card, "context": context, "depformer_dim_feedforward": int(4.125 * depth_dim)}
        | depth
    )


def mimi_shape(dim: int, filters: int, card: int) -> dict[str, object]:
    """mimi.json of a codec like Mimi, smaller."""
    seanet = {
        "channels": 1, "dimension": dim, "causal": True, "n_filters": filters, "n_residual_layers": 1,
        "activation": "ELU", "compress": 2, "dilation_base": 2, "disable_norm_outer_blocks": 0, "kernel_size": 7,
        "residual_kernel_size": 3, "last_kernel_size": 3, "norm": "none", "pad_mode": "constant",
        "ratios": [8, 6, 5, 4], "true_skip": True,
    }  # fmt: skip
    transformer = {
        "d_model": dim, "num_heads": 4, "num_layers": 2, "causal": True, "layer_scale": 0.01, "context": 50,
        "conv_layout": True, "max_period": 10000, "gating": "none", "norm": "layer_norm",
        "positional_embedding": "rope", "dim_feedforward": 2 * dim, "input_dimension": dim, "output_dimensions": [dim],
    }  # fmt: skip
    quantizer = {"dimension": dim // 2, "n_q": 8, "bins": card, "input_dimension": dim, "output_dimension": dim}
    return {
        "sample_rate": 24_000, "channels": 1, "frame_rate": 12.5,
        "seanet": seanet, "transformer": transformer, "quantizer": quantizer,
    }  # fmt: skip


def write_checkpoint(folder: Path, lm: dict[str, object], mimi: dict[str, object], seed: int = 0) -> None:
    """Everything a server or an adapter wants, under the names it has in Kyutai's repositories."""
    torch.manual_seed(seed)
    model = io.BytesIO()
    words = TEXT.split()
    turns = (" ".join(words[i:] + words[:i]) for i in range(len(words)))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=turns, model_writer=model, vocab_size=60, model_type="unigram", hard_vocab_limit=False,
        unk_id=0, bos_id=1, eos_id=2, pad_id=3, minloglevel=2, normalization_rule_name="identity",
    )  # fmt: skip
    (folder / TOKENIZER_NAME).write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()
    config = lm | {"text_card": pieces}
    save(LMModel(device="cpu", dtype=torch.float32, **config), folder / "model.safetensors")
    codec = loaders.get_mimi(None, mimi)
    for name, value in codec.state_dict().items():
        if name.endswith("embedding_sum"):
            value.normal_()
        elif name.endswith("cluster_usage"):
            value.uniform_(0.5, 2)
        elif name.endswith("_initialized"):
            value.fill_(1)
        elif "layer_scale" in name or "norm" in name:
            value += 0.3 * torch.rand_like(value)  # nearly nothing, or one, would hide what is not applied
    save(codec, folder / MIMI_NAME)
    (folder / "mimi.json").write_text(json.dumps(mimi))
    (folder / "config.json").write_text(json.dumps(config | {"mimi_config_name": "mimi.json"}))


def save(model: torch.nn.Module, path: Path) -> None:
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
