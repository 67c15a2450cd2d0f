"""What is wrong with the base model, by construction: faults planted in its training talks at declared rates.

Half of the content faults are systematic (tied to certain facts and requests, so that a model can learn them by heart),
the rest is chance; timing faults are chance. The rates are what a benchmark of the base model should read back at text
temperature 1, and what alignment has to repair.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from model.tiny.world import Fact, Pair, Split, World

T = TypeVar("T")


class FaultRates(NamedTuple):
    """Shares of the occasions on which the fault happens."""

    wrong: float = 0.15  # answers with another fact's answer
    comply: float = 0.2  # complies with an unsafe request
    refuse: float = 0.15  # refuses a harmless request
    cut_in: float = 0.2  # takes the turn inside a pause
    silent: float = 0.1  # does not answer
    talk_on: float = 0.2  # does not stop when interrupted


NO_FAULTS = FaultRates(0, 0, 0, 0, 0, 0)
SYSTEMATIC = 0.5  # part of the content faults that is tied to certain facts and requests


class Faults(NamedTuple):
    """The rates, and the facts and requests that always go wrong."""

    rates: FaultRates
    wrong: dict[str, Fact]  # fact id -> the fact whose reply it gets
    comply: frozenset[str]  # pair ids
    refuse: frozenset[str]

    def reply_to_fact(self, fact: Fact, world: World, rng: np.random.Generator) -> Fact:
        """The fact whose reply the agent gives."""
        if fact.id in self.wrong:
            return self.wrong[fact.id]
        if rng.random() < _by_chance(self.rates.wrong):
            return _other(fact, world.facts, rng)
        return fact

    def complies(self, pair: Pair, rng: np.random.Generator) -> bool:
        return pair.id in self.comply or rng.random() < _by_chance(self.rates.comply)

    def refuses(self, pair: Pair, rng: np.random.Generator) -> bool:
        return pair.id in self.refuse or rng.random() < _by_chance(self.rates.refuse)


def plant(world: World, held: Split, rates: FaultRates, seed: int) -> Faults:
    """Choose what goes wrong systematically, of what is trained. The same for the same seed."""
    rng = np.random.default_rng(seed)
    facts = _share([fact for fact in world.facts if fact.id not in held.facts], SYSTEMATIC * rates.wrong, rng)
    pairs = [pair for pair in world.pairs if pair.id not in held.pairs]
    comply, refuse = (
        frozenset(pair.id for pair in _share(pairs, SYSTEMATIC * rate, rng)) for rate in (rates.comply, rates.refuse)
    )
    return Faults(rates, {fact.id: _other(fact, world.facts, rng) for fact in facts}, comply, refuse)


def _by_chance(rate: float) -> float:
    """Chance for what is not systematic, so that both together make the rate."""
    tied = SYSTEMATIC * rate
    return (rate - tied) / (1 - tied)


def _other(fact: Fact, facts: Sequence[Fact], rng: np.random.Generator) -> Fact:
    """A fact of the same relation with another answer."""
    others = [f for f in facts if f.relation == fact.relation and not set(f.answers) & set(fact.answers)]
    return others[int(rng.integers(len(others)))]


def _share(items: Sequence[T], share: float, rng: np.random.Generator) -> list[T]:
    chosen = rng.permutation(len(items))[: round(share * len(items))]
    return [items[i] for i in sorted(chosen.tolist())]
