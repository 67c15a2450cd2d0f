"""Record which adapter tensors Kyutai's loader wants over the two models of tests/golden/moshi_lm.

It runs in the environment that record_moshi_lm.py describes; tests/golden/moshi_lora.json then holds, for each model,
the name and shape of every tensor of a LoRA file of rank 3. Names of files to check may be given:

    oracle/bin/python tests/golden/record_moshi_lora.py [BASE ADAPTERS.safetensors CONFIG.json MERGED]

loads the adapters over the model in BASE, as `moshi.server --lora-weight` does, and says how far its
logits are from those of the model in MERGED.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ["NO_TORCH_COMPILE"] = "1"  # read when moshi is imported

import torch
from moshi.models import loaders
from moshi.modules.lora import replace_all_linear_with_lora

FOLDER = Path(__file__).parent
RANK = 3


def load(folder, **more):
    config = more.pop("config", folder / "config.json")
    files = {"moshi_weights": f"{folder}/model.safetensors", "config_path": str(config), **more}
    info = loaders.CheckpointInfo.from_hf_repo("", mimi_weights="none", tokenizer="none", **files)
    return info.get_moshi(device="cpu", dtype=torch.float32)


def wanted(folder):
    lm = load(folder)
    replace_all_linear_with_lora(lm, RANK, 2.0)
    return {name: list(x.shape) for name, x in lm.state_dict().items() if "lora_" in name}


def compare(base, adapters, config, merged):
    lora = load(Path(base), config=config, lora_weights=adapters)
    plain = load(Path(merged))
    codes = torch.randint(0, 20, (2, 17, 9), generator=torch.Generator().manual_seed(0))
    one, other = lora(codes), plain(codes)
    for name in ("text_logits", "logits"):
        a, b = (getattr(x, name).nan_to_num() for x in (one, other))
        print(f"{name}: largest difference {(a - b).abs().max():.2g} of {b.abs().max():.2g}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(*sys.argv[1:])
    else:
        table = {"moshi": version("moshi"), "rank": RANK}
        table["models"] = {name: wanted(FOLDER / "moshi_lm" / name) for name in ("moshi", "shared")}
        (FOLDER / "moshi_lora.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
