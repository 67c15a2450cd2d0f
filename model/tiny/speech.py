"""What training hears: which text is said in which voice and at which speed, as far as possible in which order.

Pure planning; the speakers are handed in. The agent's replies come first and every text is said once before any is said
again, so that a recipe that was stopped early has used its time well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from model.tiny.world import Split, World, replies, spoken
from protocols.contracts import Speaker
from protocols.errors import InputError

SLOWEST, FASTEST = 0.8, 1.25
BLENDED = "blended"


class Said(NamedTuple):
    """One thing to be said: `voice` is ENGINE/VOICE."""

    text: str
    voice: str
    speed: float


def agent_lines(world: World) -> list[Said]:
    """Every reply, once, in the agent's voice."""
    return [Said(text, world.agent_voice, 1.0) for text in replies(world)]


def user_lines(world: World, held: Split, rounds: Mapping[str, int], seed: int) -> list[Said]:
    """Every text of training in `rounds[engine]` different voices of each engine, at random speeds.

    The engine BLENDED says each text in voices that were never heard before: mixtures of two of Kokoro's, at random.
    The few fillers of a pause are said by every voice. The further ways to ask draw their voices last, so that adding
    some leaves the lines of all other texts as they were.
    """
    rng = np.random.default_rng(seed)
    also = {ask for fact in world.facts for ask in fact.also}
    texts = [text for text in spoken(world, held) if text not in world.filler]
    out = _in_voices(world, [text for text in texts if text not in also], rounds, rng)
    out += [Said(text, voice, 1.0) for engine in rounds for voice in _voices(world, engine) for text in world.filler]
    out += _in_voices(world, [text for text in texts if text in also], rounds, rng)
    return list(dict.fromkeys(out))


def _in_voices(world: World, texts: list[str], rounds: Mapping[str, int], rng: np.random.Generator) -> list[Said]:
    """Each text in so many different voices of each engine."""
    return [
        Said(text, voice, round(float(rng.uniform(SLOWEST, FASTEST)), 2))
        for engine, n in rounds.items()
        for chosen in (_blends if engine == BLENDED else _rotation)(_voices(world, engine), n, len(texts), rng)
        for text, voice in zip(texts, chosen, strict=True)
    ]


def _voices(world: World, engine: str) -> list[str]:
    family = "kokoro" if engine == BLENDED else engine
    return [voice for voice in world.train_voices if voice.startswith(f"{family}/")]


def _rotation(voices: list[str], n: int, n_texts: int, rng: np.random.Generator) -> list[list[str]]:
    """[n][n_texts]: n different voices for every text."""
    if n > len(voices):
        raise InputError(f"{n} rounds need {n} voices of an engine; training has {len(voices)}")
    order = [rng.permutation(len(voices)) for _ in range(n_texts)]
    return [[voices[order[i][r]] for i in range(n_texts)] for r in range(n)]


def _blends(voices: list[str], n: int, n_texts: int, rng: np.random.Generator) -> list[list[str]]:
    """[n][n_texts]: mixtures of two voices, 30 to 70 per cent of either."""

    def one() -> str:
        first, second = (voices[i].partition("/")[2] for i in rng.choice(len(voices), 2, replace=False))
        share = int(rng.integers(30, 71))
        return f"kokoro/{first}:{share}+{second}:{100 - share}"

    return [[one() for _ in range(n_texts)] for _ in range(n)]


def say_all(
    lines: Sequence[Said],
    speakers: Mapping[str, Speaker],
    progress: Callable[[int], None] = lambda done: None,
    at_once: int = 1,
) -> Iterator[tuple[Said, np.ndarray]]:
    """Each line with its sound at 24 kHz, [n]; so many are said side by side, which changes none of them."""
    engines = {line.voice.partition("/")[0] for line in lines}
    if missing := engines - set(speakers):
        raise InputError(f"no speaker for {', '.join(sorted(missing))}")

    def say(line: Said) -> np.ndarray:
        engine, _, voice = line.voice.partition("/")
        return speakers[engine].say(line.text, voice, line.speed)

    with ThreadPoolExecutor(at_once) as pool:
        for i, (line, sound) in enumerate(zip(lines, pool.map(say, lines), strict=True)):
            yield line, sound
            progress(i + 1)
