"""Which finished talks a rater of the second stage is given: a pure function of who has which, and the rater's number.

A talk with the fewest raters comes first. Within a rater the arms come in blocks, one talk of each while there are any,
in an order drawn from the seed; the next rater has it mirrored. Raters take the study's modes in turn, and mirror each
other within a mode, so that neither order nor mode goes with an arm.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from app.study.config import Mode, SecondStage


class Finished(NamedTuple):
    """A talk that may be given out."""

    talk: str
    arm: str
    raters: Mapping[Mode, int] = {}  # who have it or are to have it


def mode_of(stage: SecondStage, number: int) -> Mode:
    """How rater 0, 1, 2, ... meets all of their talks."""
    return stage.modes[number % len(stage.modes)]


def choose(stage: SecondStage, seed: int, finished: Sequence[Finished], number: int) -> list[str]:
    """The talks of rater 0, 1, 2, ... in their order; as many as there are, `per_rater` at most."""
    mode = mode_of(stage, number)
    turn, mirrored = divmod(number // len(stage.modes), 2)
    draw = np.random.default_rng([abs(seed), turn, stage.modes.index(mode)])
    arms = sorted({one.arm for one in finished})
    queues = {arm: _queue(stage, mode, draw, [one for one in finished if one.arm == arm]) for arm in arms}
    chosen: list[str] = []
    while any(queues.values()) and len(chosen) < stage.per_rater:
        order = [arms[k] for k in draw.permutation(len(arms))]
        for arm in reversed(order) if mirrored else order:
            if queues[arm] and len(chosen) < stage.per_rater:
                chosen.append(queues[arm].pop(0))
    return chosen


def _queue(stage: SecondStage, mode: Mode, draw: np.random.Generator, talks: Sequence[Finished]) -> list[str]:
    """Talks that lack raters, those with the fewest first, chance deciding between equals."""
    shuffled = [talks[k] for k in draw.permutation(len(talks))]
    lacking = [one for one in shuffled if one.raters.get(mode, 0) < stage.per_talk]
    return [one.talk for one in sorted(lacking, key=lambda one: one.raters.get(mode, 0))]
