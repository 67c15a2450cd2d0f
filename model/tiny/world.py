"""What the embedded model talks about, and what it is never trained on.

The world is closed and written down in `world.yaml`, so the truth behind every benchmark of the embedded model is
known. Three things are held out, fixed by a seed: some facts of every relation, one way of asking per relation (and
some request pairs), and whole voices. What is held out never reaches a training talk; `spoken` is the only door.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from protocols.config import read_yaml
from protocols.errors import InputError

FILE = Path(__file__).with_name("world.yaml")
SEED = 1
HELD_FACTS = 0.1  # share of each relation's facts, at least one
HELD_PAIRS = 10


class Fact(NamedTuple):
    """Something the model knows. `answers[0]` is what it says; the others are right as well."""

    id: str
    relation: str
    subject: str
    answers: tuple[str, ...]
    asks: tuple[str, ...]  # of which one is held out
    also: tuple[str, ...]  # further ways to ask, for training alone
    replies: tuple[str, ...]


class Pair(NamedTuple):
    """An unsafe request, a harmless one that sounds like it, and the reply the harmless one deserves."""

    id: str
    unsafe: str
    safe: str
    reply: str


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Small talk: anything of `user` is answered by anything of `reply`."""

    user: tuple[str, ...]
    reply: tuple[str, ...]


class World(NamedTuple):
    facts: tuple[Fact, ...]
    pairs: tuple[Pair, ...]
    small_talk: tuple[Exchange, ...]
    greeting: tuple[str, ...]
    refusal: tuple[str, ...]
    comply: tuple[str, ...]  # what it must not say to an unsafe request
    dont_know: tuple[str, ...]
    backchannel: tuple[str, ...]
    filler: tuple[str, ...]  # said inside a pause of one's own turn
    stop: tuple[str, ...]
    side_talk: tuple[str, ...]
    agent_voice: str
    train_voices: tuple[str, ...]
    held_voices: tuple[str, ...]


class Split(NamedTuple):
    """What is kept from training."""

    facts: frozenset[str]  # ids
    asks: dict[str, int]  # relation -> index of its held-out way of asking
    pairs: frozenset[str]  # ids


class _Relation(msgspec.Struct, forbid_unknown_fields=True):
    ask: tuple[str, ...]
    also: tuple[str, ...]
    reply: tuple[str, ...]
    facts: dict[str, str]


class _Pair(msgspec.Struct, forbid_unknown_fields=True):
    unsafe: str
    safe: str
    reply: str


class _Backchannel(msgspec.Struct, forbid_unknown_fields=True):
    user: tuple[str, ...]


class _Voices(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    train: tuple[str, ...]
    held: tuple[str, ...]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """world.yaml."""

    voices: _Voices
    relations: dict[str, _Relation]
    small_talk: tuple[Exchange, ...]
    greeting: tuple[str, ...]
    refusal: tuple[str, ...]
    comply: tuple[str, ...]
    dont_know: tuple[str, ...]
    backchannel: _Backchannel
    filler: tuple[str, ...]
    stop: tuple[str, ...]
    side_talk: tuple[str, ...]
    pairs: tuple[_Pair, ...]


@cache
def load_world(path: Path = FILE) -> World:
    """The world as written; InputError where the file is not one."""
    file = read_yaml(path, _File)
    both = set(file.voices.train) & set(file.voices.held)
    if both:
        raise InputError(f"{path}: trained and held-out voices share {', '.join(sorted(both))}")
    return World(
        facts=tuple(fact for name, relation in file.relations.items() for fact in _facts(name, relation)),
        pairs=tuple(Pair(f"pair{i:02d}", p.unsafe, p.safe, p.reply) for i, p in enumerate(file.pairs)),
        small_talk=file.small_talk,
        greeting=file.greeting,
        refusal=file.refusal,
        comply=file.comply,
        dont_know=file.dont_know,
        backchannel=file.backchannel.user,
        filler=file.filler,
        stop=file.stop,
        side_talk=file.side_talk,
        agent_voice=file.voices.agent,
        train_voices=file.voices.train,
        held_voices=file.voices.held,
    )


def _facts(name: str, relation: _Relation) -> Iterator[Fact]:
    for subject, line in relation.facts.items():
        answers = tuple(answer.strip() for answer in line.split("|"))
        yield Fact(
            id=f"{name}/{subject}",
            relation=name,
            subject=subject,
            answers=answers,
            asks=tuple(_sentence(ask, subject, answers[0]) for ask in relation.ask),
            also=tuple(_sentence(ask, subject, answers[0]) for ask in relation.also),
            replies=tuple(_sentence(reply, subject, answers[0]) for reply in relation.reply),
        )


def _sentence(template: str, subject: str, answer: str) -> str:
    text = template.format(x=subject, y=answer)
    return text[0].upper() + text[1:]


def split(world: World, seed: int = SEED) -> Split:
    """What is held out; the same for the same world and seed."""
    rng = np.random.default_rng(seed)
    relations: dict[str, list[Fact]] = {}
    for fact in world.facts:
        relations.setdefault(fact.relation, []).append(fact)
    held: set[str] = set()
    asks: dict[str, int] = {}
    for name, facts in relations.items():
        n = max(1, round(HELD_FACTS * len(facts)))
        held.update(facts[i].id for i in rng.permutation(len(facts))[:n])
        asks[name] = int(rng.integers(len(facts[0].asks)))
    pairs = rng.permutation(len(world.pairs))[:HELD_PAIRS]
    return Split(frozenset(held), asks, frozenset(world.pairs[i].id for i in pairs))


def spoken(world: World, held: Split) -> list[str]:
    """Everything a user may say in training, each text once, in a fixed order; the further ways to ask come last."""
    trained = [fact for fact in world.facts if fact.id not in held.facts]
    texts = [ask for fact in trained for ask in usual_asks(fact, held)]
    texts += [text for pair in world.pairs if pair.id not in held.pairs for text in (pair.unsafe, pair.safe)]
    texts += [text for exchange in world.small_talk for text in exchange.user]
    texts += [*world.backchannel, *world.stop, *world.side_talk, *world.filler]
    texts += [ask for fact in trained for ask in fact.also]
    return list(dict.fromkeys(texts))


def usual_asks(fact: Fact, held: Split) -> tuple[str, ...]:
    """The ways of asking that training and the suite share."""
    return tuple(ask for i, ask in enumerate(fact.asks) if i != held.asks[fact.relation])


def trained_asks(fact: Fact, held: Split) -> tuple[str, ...]:
    """The ways of asking for a fact that training uses."""
    return (*usual_asks(fact, held), *fact.also)


def replies(world: World) -> list[str]:
    """Everything the agent may say, held-out facts included, because a wrong answer may be any of them."""
    texts = [reply for fact in world.facts for reply in fact.replies]
    texts += [pair.reply for pair in world.pairs]
    texts += [text for exchange in world.small_talk for text in exchange.reply]
    texts += [*world.greeting, *world.refusal, *world.comply, *world.dont_know]
    return list(dict.fromkeys(texts))
