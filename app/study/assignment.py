"""Which talks the holder of cell k has, in which order: a pure function of the study and k, without end.

Scenarios run through a Williams square (each scenario once at every position, each once right before every other; two
mirrored squares where their number is odd). Order of arms and duration shift from cell to cell, so that over a block of
`block_size` cells every scenario meets every order of arms and every duration at every position equally often. The
order of arms changes fastest: two raters in a row mirror each other. Within a rater, order and duration run through
all their combinations before one comes again.

Who holds a cell, and what happens when its holder leaves, is `raters`'.
"""

from itertools import permutations
from math import lcm
from typing import Literal, NamedTuple

import numpy as np

from app.study.config import Role, Study

Kind = Literal["talk", "trap", "review"]


class Slot(NamedTuple):
    """One talk of a plan."""

    kind: Kind
    arm: str  # "" where it is nobody's business: a finished talk that is reviewed
    scenario: str
    duration: float  # seconds
    round: int  # talks of one round are compared; a trap stands in the round before which it comes


class Plan(NamedTuple):
    """All talks of one rater, in order."""

    slots: tuple[Slot, ...]
    role: Role = "talker"

    def pair(self, index: int) -> tuple[int, int] | None:
        """The two slots of the pair that ends with a slot; None if none does."""
        slot = self.slots[index]
        if slot.kind != "talk":
            return None
        same = [i for i, other in enumerate(self.slots) if (other.kind, other.round) == ("talk", slot.round)]
        return (same[0], same[1]) if len(same) == 2 and same[1] == index else None


def williams(n: int) -> tuple[tuple[int, ...], ...]:
    """Rows over 0..n-1 (Williams 1949): n for even n, 2 n for odd n. Every number stands at every position, and right
    before every other number, equally often."""
    first = [(k + 1) // 2 if k % 2 else n - k // 2 for k in range(n)]
    rows = tuple(tuple((value + shift) % n for value in first) for shift in range(n))
    return rows if n % 2 == 0 or n == 1 else (*rows, *(row[::-1] for row in rows))


def block_size(study: Study) -> int:
    """Cells after which everything is balanced."""
    return len(williams(len(study.scenarios))) * len(_orders(study)) * len(study.durations)


def plan_of(study: Study, cell: int) -> Plan:
    """The talks of cell 0, 1, 2, ..."""
    orders, durations = _orders(study), study.durations
    rows = williams(len(study.scenarios))
    order_shift, rest = cell % len(orders), cell // len(orders)
    row = rows[_shuffled(len(rows), study.seed)[rest % len(rows)]]
    duration_shift = rest // len(rows) % len(durations)
    names = _shuffled(len(study.scenarios), study.seed + 1)
    period = lcm(len(orders), len(durations))
    slots = []
    for k in range(study.rounds):
        scenario = study.scenarios[names[row[k]]].id
        duration = durations[(duration_shift + k + k // period) % len(durations)]
        order = orders[(order_shift + (k if study.design == "paired" else 0)) % len(orders)]
        slots += [Slot("talk", arm, scenario, duration, k) for arm in order]
    return Plan(tuple(_with_trap(study, slots, names[row[study.rounds % len(row)]])))


def _orders(study: Study) -> list[tuple[str, ...]]:
    """Ordered pairs of arms, each next to its mirror; single arms where raters talk with one only."""
    if study.design == "between":
        return [(arm,) for arm in study.arms]
    pairs = list(permutations(study.arms, 2))
    return [pair for a, b in pairs if (b, a) not in pairs[: pairs.index((a, b))] for pair in ((a, b), (b, a))]


def _with_trap(study: Study, slots: list[Slot], scenario: int) -> list[Slot]:
    """The trap between two rounds, in the middle, under a scenario the rater does not have if there is one."""
    if study.trap is None:
        return slots
    middle = (study.rounds + 1) // 2
    at = next((i for i, slot in enumerate(slots) if slot.round == middle), len(slots))
    trap = Slot("trap", study.trap.arm, study.scenarios[scenario].id, min(study.durations), middle)
    return [*slots[:at], trap, *slots[at:]]


def _shuffled(n: int, seed: int) -> list[int]:
    return [int(k) for k in np.random.default_rng(abs(seed)).permutation(n)]
