"""`duologue train-base`: the recipe of the embedded model, from texts to a checkpoint, each stage resumable.

speech   every text of training is said (kept in a cache, never said twice)
clips    sounds become tokens (clips.npz)
train    talks become a model (training.safetensors every few hundred steps, losses.jsonl)
model/   what `tiny:FOLDER` loads
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from app.show import Terminal
from eval.speak import CachedSpeaker, EspeakSpeaker, KokoroSpeaker, speech_cache
from eval.words import Aligner
from model.codec import Codec
from model.lm import save_kyutai
from model.systems.tiny import load_parts
from model.tiny import disguise
from model.tiny.clips import ClipLibrary, Sound, build, heard_vocabulary, plan_hash, vocabulary
from model.tiny.codec import TinyCodec
from model.tiny.disguise import Disguised
from model.tiny.faults import FaultRates, plant
from model.tiny.recipe import Recipe, tiny_config
from model.tiny.speech import Said, agent_lines, say_all, user_lines
from model.tiny.train import Losses, Trainer
from model.tiny.world import FILE, Split, World, load_world, split
from protocols.contracts import Speaker
from protocols.errors import InputError
from protocols.store import sha256_of

AGENT_SENTENCES, USER_SENTENCES, ESPEAK_SENTENCES = 180, 7, 9  # per voice, of the codec's training
SHOWN = 50  # steps a line of losses.jsonl stands for


@dataclass(frozen=True)
class BaseOptions:
    """What a training is made from."""

    out: Path
    kokoro_voices: Path
    rounds: Mapping[str, int]  # engine -> how many of its voices say each text
    variants: int = 4  # conditions each utterance is heard in
    faults: FaultRates = field(default=FaultRates())
    recipe: Recipe = field(default_factory=Recipe)
    begin_from: Path | None = None  # a model of this world whose training goes on; None: random weights
    device: str = "cpu"


def train_base(options: BaseOptions, codec: Codec, terminal: Terminal) -> Path:
    """Make (or go on making) a base model; the folder that holds it."""
    world = load_world()
    held = split(world)
    clips = _clips(options, world, held, codec, terminal)
    n_heard = len(heard_vocabulary(world, held))
    trainer = Trainer(tiny_config(len(vocabulary(world)), codec.card), options.recipe, n_heard, options.device)
    if trainer.load(options.out):
        terminal.note(f"going on at step {trainer.step:,}")
    elif options.begin_from:
        trainer.begin_from(load_parts(options.begin_from, codec).lm)
    faults = plant(world, held, options.faults, options.recipe.seed)
    heard = Disguised(clips, codec.quantiser) if isinstance(codec, TinyCodec) else clips
    _train(trainer, options, terminal, trainer.run(world, held, faults, heard, options.out))
    trainer.save(options.out)
    return _export(trainer, world, options)


def chosen_device(wanted: str | None) -> str:
    """Where to train: as wanted, else on a GPU if there is one. InputError if the GPU that is wanted is not there."""
    gpu = torch.cuda.is_available()
    if wanted == "cuda" and not gpu:
        raise InputError("torch finds no GPU for --device cuda; leave the option away to train on the processor")
    return wanted or ("cuda" if gpu else "cpu")


def chosen_precision(wanted: str | None, device: str) -> str:
    """What products are computed in: as wanted, else bfloat16 where that is the faster one."""
    fast = (
        torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu.get_capabilities().get("avx512_bf16", False)
    )
    return wanted or ("bfloat16" if fast else "float32")


def _export(trainer: Trainer, world: World, options: BaseOptions) -> Path:
    """Write the model as `tiny:FOLDER` reads it, in half precision, and how it was made."""
    folder = options.out / "model"
    save_kyutai(trainer.model.half(), folder)
    (folder / "words.json").write_bytes(msgspec.json.encode(vocabulary(world)))
    made = {
        "recipe": asdict(options.recipe),
        "faults": options.faults._asdict(),
        "voices_per_text": dict(options.rounds),
        "conditions_per_voice": options.variants,
        "disguised": {
            "share": disguise.SHARE,
            "warp": disguise.WARP,
            "colour": disguise.COLOUR,
            "pitch": disguise.PITCH,
        },
        "device": options.device,
        "begun_from": options.begin_from and _origin(options.begin_from),
        "clips_sha256": sha256_of(options.out / "clips.npz"),
        "world_sha256": sha256_of(FILE),
        "versions": {name: version(name) for name in ("duologue", "torch", "numpy")},
        "losses": [json.loads(line) for line in (options.out / "losses.jsonl").read_text("utf-8").splitlines()],
    }
    (folder / "training.json").write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1))
    return folder


def _origin(folder: Path) -> dict[str, Any]:
    """Which model a training began from, and how that one was made as far as it says."""
    made = folder / "training.json"
    return {
        "sha256": sha256_of(folder / "model.safetensors"),
        "training": json.loads(made.read_text("utf-8")) if made.exists() else None,
    }


def _clips(options: BaseOptions, world: World, held: Split, codec: Codec, terminal: Terminal) -> ClipLibrary:
    path = options.out / "clips.npz"
    lines = agent_lines(world) + user_lines(world, held, options.rounds, options.recipe.seed)
    if path.exists():
        clips = ClipLibrary.load(path)
        if clips.plan != plan_hash(lines, options.variants, options.recipe.seed):
            raise InputError(f"{path} was made from other texts, voices or conditions; remove it or take another --out")
        return clips
    options.out.mkdir(parents=True, exist_ok=True)
    with terminal.progress("speech", len(lines)) as step:
        said = say_all(lines, _speakers(lines, options.kokoro_voices), step, os.cpu_count() or 1)
        sounds = [Sound(*each) for each in said]
    with terminal.progress("clips", len(sounds) * options.variants) as step:
        clips = build(sounds, world, held, codec, Aligner(), options.variants, options.recipe.seed, step)
    clips.save(path)
    return clips


def _speakers(lines: list[Said], kokoro_voices: Path) -> dict[str, Speaker]:
    """A cached speaker for each engine the lines need."""
    engines = {line.voice.partition("/")[0] for line in lines}
    made: dict[str, Speaker] = {}
    if "kokoro" in engines:
        made["kokoro"] = CachedSpeaker(KokoroSpeaker(kokoro_voices), speech_cache())
    if "espeak" in engines:
        made["espeak"] = CachedSpeaker(EspeakSpeaker(), speech_cache())
    return made


def _train(trainer: Trainer, options: BaseOptions, terminal: Terminal, steps: Iterator[Losses]) -> None:
    recent: list[Losses] = []
    path = options.out / "losses.jsonl"
    written = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in written if line.endswith("\n") and json.loads(line)["step"] <= trainer.step]
    path.write_text("".join(kept), "utf-8")  # what was trained after the last checkpoint is trained again
    with terminal.progress("training", options.recipe.steps) as step, path.open("a", encoding="utf-8") as log:
        for losses in steps:
            recent.append(losses)
            step(trainer.step)
            if trainer.step % SHOWN == 0:
                means = dict(zip(Losses._fields, np.mean(recent, axis=0).round(4).tolist(), strict=True))
                log.write(json.dumps({"step": trainer.step, **means}) + "\n")
                log.flush()
                recent = []


def make_codec(kokoro_voices: Path, out: Path, seed: int, steps: int | None, terminal: Terminal) -> Path:
    """Train the codec and its voice on the voices of training; the weights' path."""
    from model.tiny.train_codec import STEPS, train
    from model.tiny.train_speech import Cast

    torch.set_num_threads(1)
    world = load_world()
    voices = [voice.partition("/") for voice in world.train_voices]
    kokoro, espeak = (tuple(v for engine, _, v in voices if engine == name) for name in ("kokoro", "espeak"))
    natural = KokoroSpeaker(kokoro_voices)
    users = (Cast(natural, kokoro, USER_SENTENCES), Cast(EspeakSpeaker(), espeak, ESPEAK_SENTENCES))
    agent = Cast(natural, (world.agent_voice.partition("/")[2],), AGENT_SENTENCES)
    path = out / "codec.safetensors"
    train(agent, users, out, path, seed, STEPS if steps is None else steps, terminal.note)
    return path
