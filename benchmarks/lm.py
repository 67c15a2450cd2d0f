"""Time of one streaming step and of one training step, beside Kyutai's own package where that is installed.

One core, random weights, sampled tokens, sessions of 150 frames. Both run the same checkpoint, in turns of one step,
so that a busy machine is as unkind to one as to the other. `python -m benchmarks.lm` in the environment that
tests/golden/record_moshi_lm.py describes shows both.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.lm import Decoding, DuplexLM, LMConfig, save_kyutai

CONFIG = LMConfig(
    dim=192, num_layers=5, num_heads=6, hidden_scale=4.125, n_q=16, dep_q=8, card=512, text_card=256, context=375,
    delays=(0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1), depformer_dim=64, depformer_num_layers=2,
    depformer_num_heads=4, depformer_multi_linear=True,
)  # fmt: skip


def kyutais(lm: DuplexLM) -> Any:
    """The same model in Kyutai's package; None where that is not installed."""
    os.environ.setdefault("NO_TORCH_COMPILE", "1")  # read when moshi is imported
    try:
        from moshi.models import loaders
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        save_kyutai(lm, Path(folder))
        files = {"moshi_weights": f"{folder}/model.safetensors", "config_path": f"{folder}/config.json"}
        info = loaders.CheckpointInfo.from_hf_repo("", mimi_weights="none", tokenizer="none", **files)
        return info.get_moshi(device="cpu", dtype=torch.float32)


def talk(lm: DuplexLM, user: Tensor) -> Iterator[float]:
    with lm.streaming(len(user), Decoding()):
        for frame in user.unbind(2):
            started = time.perf_counter()
            lm.step(frame)
            yield time.perf_counter() - started


def talk_kyutais(lm: Any, user: Tensor) -> Iterator[float]:
    from moshi.models.lm import LMGen

    speaker = LMGen(lm.eval())
    with speaker.streaming(len(user)):
        for frame in user.split(1, 2):
            started = time.perf_counter()
            speaker.step(frame)
            yield time.perf_counter() - started


def train(lm: Any, codes: Tensor) -> Iterator[float]:
    """Forward and backward of all logits; Kyutai's are NaN where masked."""
    for _ in range(8):
        started = time.perf_counter()
        out = lm.train()(codes)
        audio = out.audio_logits if isinstance(lm, DuplexLM) else out.logits
        (out.text_logits.nanmean() + audio.nanmean()).backward()
        lm.zero_grad()
        yield time.perf_counter() - started


def medians(ways: list[Iterator[float]], skip: int) -> list[str]:
    """Milliseconds of each way's step; the first steps warm up."""
    columns = zip(*list(zip(*ways, strict=True))[skip:], strict=True)
    return [f"{statistics.median(column) * 1e3:.1f} ms" for column in columns]


COLUMNS = ["median time of a step", "ours", "moshi 0.2.13"]


def table() -> list[list[str]]:
    """A row per kind of step."""
    torch.set_num_threads(1)
    lm = DuplexLM(CONFIG)
    theirs = kyutais(lm)
    absent = [] if theirs else ["not installed"]
    rows = []
    for slots in (1, 16):
        user = torch.randint(0, CONFIG.card, (slots, 8, 150))
        ways = [talk(lm, user)] + ([talk_kyutais(theirs, user)] if theirs else [])
        rows.append([f"streaming, {slots} session(s)", *medians(ways, 10), *absent])
    codes = torch.randint(0, 256, (8, 17, 125))
    steps = medians([train(x, codes) for x in (lm, theirs) if x], 1)
    return [*rows, ["training, 8 x 125 frames", *steps, *absent]]


if __name__ == "__main__":
    for row in [COLUMNS, *table()]:
        print("".join(f"{cell:<28}" for cell in row))
