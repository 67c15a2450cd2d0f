"""Record a talk with Kyutai's own package, for tests/test_model_systems_moshi.py; see record_moshi_lm.py for how.

tests/golden/moshi_talk holds a tiny random checkpoint and expected.safetensors: sound and what Mimi makes of it at
once, and a talk held as `moshi.server` holds it (greedy): the user's sound, the agent's tokens, text logits and sound.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

import torch
from moshi.models import loaders
from moshi.models.lm import LMGen
from moshi_checkpoint import MIMI_NAME, lm_shape, mimi_shape, write_checkpoint
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "moshi_talk"
SIZE, FRAMES = 1_920, 16


def sound() -> torch.Tensor:
    """[1, 1, FRAMES * SIZE]: noise, a tone, silence, noise."""
    parts = torch.split(0.3 * torch.randn(FRAMES * SIZE), 4 * SIZE)
    tone = 0.2 * torch.sin(torch.arange(4 * SIZE) * 2 * torch.pi * 220 / 24_000)
    return torch.cat([parts[0], tone, torch.zeros(4 * SIZE), parts[3]])[None, None]


def talk(info: loaders.CheckpointInfo, user: torch.Tensor) -> dict[str, torch.Tensor]:
    """The loop of the server: the first frame's codes are of no use, and the encoder begins anew after it."""
    mimi, lm = info.get_mimi(), info.get_moshi(dtype=torch.float32)
    logits: list[torch.Tensor] = []
    held = LMGen(lm, use_sampling=False, on_text_logits_hook=lambda x: logits.append(x[:, 0, 0].clone()))
    tokens, said = [], []
    with mimi.streaming(1), held.streaming(1):
        for number, frame in enumerate(user.split(SIZE, -1)):
            codes = mimi.encode(frame)
            if number == 0:
                mimi.reset_streaming()
            if (given := held.step(codes)) is not None:
                tokens.append(given)
                said.append(mimi.decode(given[:, 1:]))
    return {"tokens": torch.cat(tokens, -1)[0], "said": torch.cat(said, -1)[0, 0], "text_logits": torch.cat(logits)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    write_checkpoint(FOLDER, lm_shape(32, 16, 1, card=32, context=64), mimi_shape(32, 4, card=32), seed=5)
    config = json.loads((FOLDER / "mimi.json").read_text())
    files = {"moshi_weights": FOLDER / "model.safetensors", "mimi_weights": FOLDER / MIMI_NAME, "tokenizer": "none"}
    info = loaders.CheckpointInfo.from_hf_repo(
        "", config_path=FOLDER / "config.json", mimi_config_path=FOLDER / "mimi.json", **files
    )
    with torch.no_grad():
        user = sound()
        codes = info.get_mimi().encode(user)
        expected = {"user": user[0, 0], "codes": codes[0], "decoded": info.get_mimi().decode(codes)[0, 0]} | talk(
            info, user
        )
    made_by = {"versions": json.dumps({name: version(name) for name in ("moshi", "torch", "sentencepiece")})}
    save_file({key: x.contiguous() for key, x in expected.items()}, FOLDER / "expected.safetensors", made_by)
    print({key: tuple(x.shape) for key, x in expected.items()}, config["quantizer"])
