"""Kyutai's own server, unchanged, with a tiny random checkpoint on the CPU. Runs in an environment of its own:

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0 numpy safetensors huggingface_hub einops sentencepiece 'sphn<0.3' aiohttp tqdm
    oracle/bin/pip install --no-deps moshi==0.2.13
    DUOLOGUE_MOSHI_PYTHON=oracle/bin/python pytest tests/test_model_systems_moshi_server.py

Arguments: a folder for the checkpoint, and the port. The server waits for a GPU as it warms up, whatever its device;
that one call is made to do nothing where there is none.
"""

import json
import runpy
import sys
from pathlib import Path

import torch
from moshi_checkpoint import MIMI_NAME, TOKENIZER_NAME, lm_shape, mimi_shape, write_checkpoint


def main(folder: Path, port: str) -> None:
    torch.set_num_threads(1)
    write_checkpoint(folder, lm_shape(64, 32, 1, card=64, context=250), mimi_shape(64, 8, card=64))
    where = {"mimi_config_name": f"file://{(folder / 'mimi.json').resolve()}"}  # there is no flag for it
    config = json.loads((folder / "config.json").read_text()) | where
    (folder / "config.json").write_text(json.dumps(config))
    if not torch.cuda.is_available():
        torch.cuda.synchronize = lambda *args, **kwargs: None
    sys.argv = ["moshi.server", "--host", "127.0.0.1", "--port", port, "--device", "cpu", "--static", "none"]
    sys.argv += ["--moshi-weight", str(folder / "model.safetensors"), "--mimi-weight", str(folder / MIMI_NAME)]
    sys.argv += ["--tokenizer", str(folder / TOKENIZER_NAME), "--config-path", str(folder / "config.json")]
    runpy.run_module("moshi.server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
