"""What training hears: which text is said in which voice and at which speed, as far as possible in which order.

Pure planning; the speakers are handed in. The agent's replies come first and every text is said once before any is said
again, so that a recipe that was stopped early has used its time well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from model.tiny.world import Split, World, replies, spoken
from protocols.contracts import Speaker
from protocols.errors import InputError

SLOWEST, FASTEST = 0.8, 1.25


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

    The few fillers of a pause are said by every voice.
    """
    rng = np.random.default_rng(seed)
    texts = [text for text in spoken(world, held) if text not in world.filler]
    out: list[Said] = []
    for engine, n in rounds.items():
        voices = [voice for voice in world.train_voices if voice.startswith(f"{engine}/")]
        if n > len(voices):
            raise InputError(f"{n} rounds need {n} voices of {engine}; training has {len(voices)}")
        order = [rng.permutation(len(voices)) for _ in texts]
        out += [
            Said(text, voices[order[i][r]], round(float(rng.uniform(SLOWEST, FASTEST)), 2))
            for r in range(n)
            for i, text in enumerate(texts)
        ]
        out += [Said(text, voice, 1.0) for voice in voices for text in world.filler]
    return out


def say_all(
    lines: Sequence[Said], speakers: Mapping[str, Speaker], progress: Callable[[int], None] = lambda done: None
) -> Iterator[tuple[Said, np.ndarray]]:
    """Each line with its sound at 24 kHz, [n]."""
    for i, line in enumerate(lines):
        engine, _, voice = line.voice.partition("/")
        if engine not in speakers:
            raise InputError(f"voice {line.voice} needs the speaker {engine!r}, which is not there")
        yield line, speakers[engine].say(line.text, voice, line.speed)
        progress(i + 1)
