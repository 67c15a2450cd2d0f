"""Pairs about all that the embedded model was taught: `python -m benchmarks.repair KOKORO_VOICES CLIPS OUT`.

Whether alignment mends what the base learnt wrong can only be seen on what it learns about: a wrong answer that is tied
to a fact is not mended by pairs about other facts. So the base is asked everything it was trained to hear, in voices
and recordings of training (blends of Kokoro's voices, CLIPS is `clips.npz` of `duologue train-base`), and the truth's
replies, said by its own voice, are set before its faults. Judged it is on the suite `world`: other voices, other
recordings, and for half of the facts a way of asking that nobody trained on.

    OUT/questions    what is asked, as sound, and OUT/questions.yaml, the suite of it
    OUT/talks        the base's talks about it, sampled
    OUT/pairs        what it should have said before what it said
    OUT/told         those, and what it did right before a fault (`benchmarks/repair_kept.py`)

    duologue align sweep --preset tiny --table losses --judge world --set data.pairs=OUT/told ...
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from app.alignment import pairs_in
from app.bench import BenchOptions, bench
from app.pairs import BuildOptions, build_pairs, workshop
from app.pairs_parts import Judging
from app.rounds import SAMPLED
from app.show import Terminal
from benchmarks.repair_kept import kept
from eval.pairs.settings import PairSettings
from eval.speak import CachedSpeaker, KokoroSpeaker, speech_cache
from eval.tasks.spoken import QUESTION_COLUMNS, speak, write, write_table
from model.align.data import write_pairs
from model.tiny.speech import Said, user_lines
from model.tiny.world import Split, World, load_world, split, trained_asks

VOICES = {"blended": 5, "espeak": 2}  # of training, per text; Kokoro's are used
FACTS, PAUSED, REQUESTS = 3, 2, 5  # voices in which each text is asked
INTERRUPTED = 3  # per fact, each by a "stop" in its voice where there is one
TASKS = (
    {"name": "facts", "questions": "facts", "metrics": ["qa.text", "timing.answered"]},
    {"name": "pauses", "questions": "paused", "pause": 0.8, "metrics": ["timing.pause_held"]},
    {"name": "unsafe", "questions": "unsafe", "label": "unsafe", "metrics": ["safety.refusal.text"]},
    {"name": "safe", "questions": "safe", "label": "safe", "metrics": ["safety.over_refusal.text"]},
    {"name": "interruptions", "questions": "interrupted", "interruptions": "stop", "metrics": ["timing.yielded"]},
)


class Asked(NamedTuple):
    """A text in a voice, and what is right."""

    id: str
    line: Said
    answers: str


def asked(world: World, held: Split, rng: np.random.Generator) -> dict[str, list[Asked]]:
    """What is asked, by the folder it goes to; nothing that is held out."""
    said: dict[str, list[Said]] = {}
    for line in user_lines(world, held, VOICES, seed=0):
        if line.voice.startswith("kokoro/"):
            said.setdefault(line.text, []).append(line)

    def voices(name: str, text: str, n: int, answers: str) -> Iterator[Asked]:
        lines = said.get(text, [])
        for take, i in enumerate(rng.permutation(len(lines))[:n]):
            yield Asked(f"{slug(name)}-{take}", lines[i], answers)

    facts = [fact for fact in world.facts if fact.id not in held.facts]
    pairs = [pair for pair in world.pairs if pair.id not in held.pairs]
    ways = [(fact, trained_asks(fact, held)) for fact in facts]
    return {
        "facts": [x for fact, asks in ways for way, ask in enumerate(asks)
                  for x in voices(f"{fact.id}-{way}", ask, FACTS, " | ".join(fact.answers))],
        "paused": [x for fact, asks in ways
                   for x in voices(fact.id, asks[int(rng.integers(len(asks)))], PAUSED, " | ".join(fact.answers))],
        "unsafe": [x for pair in pairs for x in voices(pair.id, pair.unsafe, REQUESTS, world.refusal[0])],
        "safe": [x for pair in pairs for x in voices(pair.id, pair.safe, REQUESTS, pair.reply)],
        "interrupted": [x for fact, asks in ways
                        for x in voices(fact.id, asks[int(rng.integers(len(asks)))], INTERRUPTED,
                                        " | ".join(fact.answers))],
        "stop": [x for text in world.stop for x in voices(text, text, len(said.get(text, [])), text)],
    }  # fmt: skip


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def spoken(questions: Sequence[Asked], speaker: CachedSpeaker, folder: Path) -> None:
    """A folder of questions as a suite reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for id_, line, answers in questions:
        voice = line.voice.partition("/")[2]
        sound = speak(speaker, line.text, voice, line.speed)
        rows.append((id_, line.text, answers, *write(folder / f"{id_}.flac", sound), slug(voice)))
    write_table(folder / "questions.tsv", QUESTION_COLUMNS, rows)


def main(kokoro_voices: Path, clips: Path, out: Path) -> None:
    world, terminal = load_world(), Terminal(as_json=False)
    speaker, suite = CachedSpeaker(KokoroSpeaker(kokoro_voices), speech_cache()), out / "questions.yaml"
    for name, questions in asked(world, split(world), np.random.default_rng(0)).items():
        if not (out / "questions" / name / "questions.tsv").exists():
            spoken(questions, speaker, out / "questions" / name)
    about = {"name": "taught", "version": "1", "about": "all the embedded model was taught", "questions": "questions"}
    suite.write_text(yaml.safe_dump({**about, "tasks": list(TASKS)}, sort_keys=False), encoding="utf-8")
    talks = bench(BenchOptions(str(suite), "tiny:base", out / "talks", asr="none", decoding=SAMPLED), terminal).run
    judging, settings = Judging("world", f"clips:{clips}"), PairSettings(validation_share=0)
    build = BuildOptions((str(talks.path),), out / "pairs", judging, settings=settings)
    build_pairs(build, talks.info.n_planned, terminal)
    shop = workshop(build)
    write_pairs(out / "told", [*pairs_in(build.out), *kept(shop.source, shop.parts, settings)])


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
