"""`duologue train-base`: the recipe of the embedded model, from texts to a checkpoint, each stage resumable.

speech   every text of training is said (kept in a cache, never said twice)
clips    sounds become tokens (clips.npz)
train    talks become a model (training.safetensors every few hundred steps, losses.jsonl)
model/   what `tiny:FOLDER` loads
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from app.show import Terminal
from eval.speak import CachedSpeaker, EspeakSpeaker, KokoroSpeaker
from eval.words import Aligner
from model.codec import Codec
from model.lm import save_kyutai
from model.tiny.clips import ClipLibrary, Sound, build, vocabulary
from model.tiny.faults import FaultRates, plant
from model.tiny.speech import Said, agent_lines, say_all, user_lines
from model.tiny.train import Losses, Recipe, Trainer, tiny_config
from model.tiny.world import Split, World, load_world, split
from protocols.contracts import Speaker
from protocols.errors import InputError

CACHE = Path("~/.cache/duologue/speech")
AGENT_SENTENCES, USER_SENTENCES, ESPEAK_SENTENCES = 180, 7, 9  # per voice, of the codec's training
SHOWN = 50  # steps a line of losses.jsonl stands for


@dataclass(frozen=True)
class BaseOptions:
    """What a training is made from."""

    out: Path
    kokoro_voices: Path
    rounds: Mapping[str, int]  # engine -> how many of its voices say each text
    variants: int = 2  # conditions each utterance is heard in
    faults: FaultRates = field(default=FaultRates())
    recipe: Recipe = field(default_factory=Recipe)


def train_base(options: BaseOptions, codec: Codec, terminal: Terminal) -> Path:
    """Make (or go on making) a base model; the folder that holds it."""
    world = load_world()
    held = split(world)
    clips = _clips(options, world, held, codec, terminal)
    trainer = Trainer(tiny_config(len(vocabulary(world)), codec.card), options.recipe)
    if trainer.load(options.out):
        terminal.note(f"going on at step {trainer.step:,}")
    faults = plant(world, options.faults, options.recipe.seed)
    _train(trainer, options, terminal, trainer.run(world, held, faults, clips, options.out))
    trainer.save(options.out)
    return export(trainer, world, options.out / "model")


def export(trainer: Trainer, world: World, folder: Path) -> Path:
    """Write the model as `tiny:FOLDER` reads it, in half precision."""
    save_kyutai(trainer.model.half(), folder)
    (folder / "words.json").write_bytes(msgspec.json.encode(vocabulary(world)))
    return folder


def _clips(options: BaseOptions, world: World, held: Split, codec: Codec, terminal: Terminal) -> ClipLibrary:
    path = options.out / "clips.npz"
    if path.exists():
        return ClipLibrary.load(path)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = agent_lines(world) + user_lines(world, held, options.rounds, options.recipe.seed)
    with terminal.progress("speech", len(lines)) as step:
        sounds = [Sound(said, audio) for said, audio in say_all(lines, _speakers(lines, options.kokoro_voices), step)]
    with terminal.progress("clips", len(sounds) * options.variants) as step:
        clips = build(sounds, world, codec, Aligner(), options.variants, options.recipe.seed, step)
    clips.save(path)
    return clips


def _speakers(lines: list[Said], kokoro_voices: Path) -> dict[str, Speaker]:
    """A cached speaker for each engine the lines need."""
    engines = {line.voice.partition("/")[0] for line in lines}
    made: dict[str, Speaker] = {}
    if "kokoro" in engines:
        made["kokoro"] = CachedSpeaker(KokoroSpeaker(kokoro_voices), CACHE.expanduser())
    if "espeak" in engines:
        made["espeak"] = CachedSpeaker(EspeakSpeaker(), CACHE.expanduser())
    if missing := engines - set(made):
        raise InputError(f"no speaker for {', '.join(sorted(missing))}")
    return made


def _train(trainer: Trainer, options: BaseOptions, terminal: Terminal, steps: Iterator[Losses]) -> None:
    recent: list[Losses] = []
    with (
        terminal.progress("training", options.recipe.steps) as step,
        (options.out / "losses.jsonl").open("a", encoding="utf-8") as log,
    ):
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
    import torch

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
