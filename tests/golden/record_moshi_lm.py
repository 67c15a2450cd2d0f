"""Record what Kyutai's own package makes of two tiny random models, for tests/test_model_lm.py.

It runs in an environment of its own, because the package pins an older torch than ours:

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0 numpy safetensors huggingface_hub einops sentencepiece tqdm
    oracle/bin/pip install --no-deps moshi==0.2.13
    oracle/bin/python tests/golden/record_moshi_lm.py

Each folder of tests/golden/moshi_lm holds a checkpoint as the package writes it (config.json, model.safetensors) and
expected.safetensors: codes and the logits of whole sequences, user codes and what greedy streaming answered. Versions
are in its metadata. The package gives NaN where its mask is False; those places are stored as 0.
"""

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

import torch
from moshi.models.lm import LMGen, LMModel
from moshi_checkpoint import lm_shape
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "moshi_lm"
MOSHI = lm_shape(32, 16, 2, card=24, context=10) | {"text_card": 40}
# All that may vary and does not at Moshi: shared weight sets, low rank, longer delays, the other rounding of widths.
SHARED = MOSHI | {
    "n_q": 12, "dep_q": 6, "delays": [0, 0, 2, 2, 2, 2, 2, 0, 2, 2, 2, 2, 2], "hidden_scale": 4, "num_heads": 4,
    "max_period": 100, "depformer_weights_per_step_schedule": [0, 1, 2, 2, 3, 3], "depformer_low_rank_embeddings": 6,
    "depformer_dim_feedforward": None,
}  # fmt: skip
MODELS = {"moshi": MOSHI, "shared": SHARED}


def built(config: dict, seed: int) -> LMModel:
    torch.manual_seed(seed)
    model = LMModel(device="cpu", dtype=torch.float32, **config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            parameter.data += 0.2 * torch.randn_like(parameter)  # ones would hide a scale that is not applied
    return model


def whole(model: LMModel, config: dict, frames: int = 26) -> dict[str, torch.Tensor]:
    codes = torch.randint(0, config["card"], (3, 1 + config["n_q"], frames))
    codes[:, 0] = torch.randint(0, config["text_card"], (3, frames))
    codes[1, :, 19:] = -1  # a shorter sequence, padded
    codes[2][torch.rand(codes.shape[1:]) < 0.2] = -1  # unknown here and there
    out = model(codes)
    return {
        "codes": codes,
        "text_logits": out.text_logits[:, 0],
        "text_mask": out.text_mask[:, 0],
        "audio_logits": torch.where(out.mask[..., None], out.logits, 0),
        "audio_mask": out.mask,
    }


def streamed(model: LMModel, config: dict, steps: int = 30) -> dict[str, torch.Tensor]:
    user = torch.randint(0, config["card"], (2, config["n_q"] - config["dep_q"], steps))
    logits: list[torch.Tensor] = []
    talk = LMGen(model, use_sampling=False, check=True, on_text_logits_hook=lambda x: logits.append(x[:, 0, 0].clone()))
    with talk.streaming(2):
        tokens = [talk.step(user[:, :, [step]]) for step in range(steps)]
    return {
        "user": user,
        "stream_tokens": torch.cat([x for x in tokens if x is not None], -1),  # [B, 1 + dep_q, steps - max delay]
        "stream_text_logits": torch.stack(logits, 1),  # [B, steps, text_card]
    }


if __name__ == "__main__":
    versions = {name: version(name) for name in ("moshi", "torch", "numpy", "safetensors")}
    versions["python"] = platform.python_version()
    torch.set_num_threads(1)
    with torch.no_grad():
        for seed, (name, config) in enumerate(MODELS.items()):
            folder = FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            model = built(config, seed)
            (folder / "config.json").write_text(json.dumps(config | {"model_type": "moshi"}, indent=1) + "\n")
            made_by = {"versions": json.dumps(versions)}  # one entry: the order of several is not kept
            save_file(model.state_dict(), folder / "model.safetensors", made_by)
            expected = whole(model, config) | streamed(model, config)
            save_file({key: x.contiguous() for key, x in expected.items()}, folder / "expected.safetensors", made_by)
            print(name, sum(p.numel() for p in model.parameters()), "parameters;", versions)
