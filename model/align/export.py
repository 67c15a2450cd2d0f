"""An aligned model as a folder that talks: what its base's folder holds, with the aligned weights in it.

Adapters are merged into the weights; they are also written apart, as Kyutai's server takes them over the base:

    moshi.server --moshi-weight BASE/model.safetensors --config-path OUT/lora/config.json \\
        --lora-weight OUT/lora/lora.safetensors

The folder appears whole, by a rename.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from model.align.config import ModelConfig
from model.align.lora import kyutai_adapters, merged_weights
from model.lm import DuplexLM
from model.lm_kyutai import WEIGHTS, write
from protocols.errors import InputError, StoreError


def export(lm: DuplexLM, config: ModelConfig, out: Path) -> Path:
    """Write the model into `out`, which must not exist yet. StoreError: it could not be written."""
    if out.exists():
        raise InputError(f"{out} exists already; give another folder")
    base, part = Path(config.base), out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        about: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
        weights = str(about.get("moshi_name", WEIGHTS))
        part.mkdir(parents=True)
        for file in base.iterdir():
            if file.is_file() and file.name not in ("config.json", weights) and not file.name.endswith(".part"):
                shutil.copy2(file, part / file.name)
        write(lm.config, merged_weights(lm), part)
        # What the base's configuration says beside the arithmetic (tokenizer, codec) stays said.
        about |= json.loads((part / "config.json").read_text(encoding="utf-8")) | {"moshi_name": WEIGHTS}
        _write_json(part / "config.json", about)
        if config.adapter == "lora":
            (part / "lora").mkdir()
            save_file(kyutai_adapters(lm, config.lora_rank), part / "lora" / "lora.safetensors")
            lora = {"lora": True, "lora_rank": config.lora_rank, "lora_scaling": config.lora_scaling}
            _write_json(part / "lora" / "config.json", about | lora)
        os.replace(part, out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"{out} cannot be written: {error}") from error
    return out


def _write_json(path: Path, keys: dict[str, Any]) -> None:
    path.write_text(json.dumps(keys, indent=2), encoding="utf-8")
