"""How a simulated user speaks: rates, and what they come to in each turn, drawn before the talk.

The non-obvious decision: everything that is left to chance is drawn from the talk's seed and the turn's number alone,
whatever the system does. So two systems meet the same user, and a rate that is read back differs from the declared one
by sampling and by what the system did not allow (a reply too short to be interrupted), which is counted on its own.
"""

from typing import Literal, NamedTuple

import numpy as np

from protocols.errors import InputError

MIN_WORDS = 4  # a text without a bar that is shorter has no place for a pause
RESTART = 3  # words said before a user takes them back

Over = Literal["interruption", "backchannel"]


class Manner(NamedTuple):
    """Rates from 0 to 1; ranges and times in seconds."""

    pause: float = 0.25  # of turns: a silence inside
    filler: float = 0.2  # of turns: begun with "um" and the like
    repair: float = 0.1  # of turns: begun, taken back, said again
    barge_in: float = 0.2  # of replies: interrupted
    backchannel: float = 0.2  # of replies: acknowledged while they go on
    pause_seconds: tuple[float, float] = (0.5, 1.2)
    barge_in_after: tuple[float, float] = (0.5, 1.5)  # of agent speech in the reply
    backchannel_after: tuple[float, float] = (0.4, 1.2)
    gap: tuple[float, float] = (0.7, 1.4)  # of quiet after a reply, before the user goes on
    patience: float = 4.0  # without an answer, before the user goes on
    endurance: float = 20.0  # of one reply, before the user goes on all the same

    def check(self) -> "Manner":
        """Itself; InputError where a rate or a range makes no sense."""
        for name in ("pause", "filler", "repair", "barge_in", "backchannel"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"the rate {name} is {getattr(self, name):g}, not between 0 and 1")
        if self.barge_in + self.backchannel > 1:
            raise InputError("a reply is interrupted or acknowledged, not both: the two rates add up to more than 1")
        for name in ("pause_seconds", "barge_in_after", "backchannel_after", "gap"):
            low, high = getattr(self, name)
            if not 0.2 <= low <= high <= 30:
                raise InputError(f"{name} runs from {low:g} to {high:g} s; give 0.2 s or more, in rising order")
        if self.gap[0] < 0.5:
            raise InputError("a gap under 0.5 s would take the agent's breath for the end of its reply")
        return self

    def data(self) -> dict[str, float | int | str | bool]:
        """For a run's protocol."""
        return {k: f"{v[0]:g}-{v[1]:g}" if isinstance(v, tuple) else v for k, v in self._asdict().items()}


class Plan(NamedTuple):
    """What chance made of one turn and of the reply to it."""

    pause: float | None  # seconds
    filler: bool
    repair: bool
    over: Over | None  # what the user does while the agent replies
    after: float  # seconds of agent speech before that
    gap: float  # before the next turn
    cut: float  # where a text without a bar is cut, as a share of its words
    pick: int  # which filler, interruption or backchannel


def plan_turn(manner: Manner, seed: int, turn: int) -> Plan:
    """The plan of a talk's turn; every draw is made whether or not it is used."""
    rng = np.random.default_rng([seed, turn])
    pause, filler, repair, over = (float(u) for u in rng.random(4))
    seconds, late, early, gap, cut = (
        round(float(rng.uniform(*low_high)), 3)
        for low_high in (manner.pause_seconds, manner.barge_in_after, manner.backchannel_after, manner.gap, (0.4, 0.7))
    )
    kind: Over | None = None
    if over < manner.barge_in:
        kind = "interruption"
    elif over < manner.barge_in + manner.backchannel:
        kind = "backchannel"
    return Plan(
        pause=seconds if pause < manner.pause else None,
        filler=filler < manner.filler,
        repair=repair < manner.repair,
        over=kind,
        after=late if kind == "interruption" else early,
        gap=gap,
        cut=cut,
        pick=int(rng.integers(1 << 30)),
    )


def can_pause(text: str) -> bool:
    """Whether a text has a place to stop at."""
    return "|" in text or len(text.split()) >= MIN_WORDS


def worded(text: str, plan: Plan, filler: str) -> tuple[str, ...]:
    """What is really said: one part, or two with a pause between them (never more: other bars are read over)."""
    first, _, rest = (part.strip() for part in text.partition("|"))
    rest = " ".join(rest.replace("|", " ").split())
    words = first.split()
    if plan.pause is not None and not rest and can_pause(text):
        at = min(max(round(plan.cut * len(words)), 1), len(words) - 1)
        first, rest = " ".join(words[:at]), " ".join(words[at:])
    if plan.repair and len(words) > RESTART:
        first = f"{' '.join(words[:RESTART])}, sorry, {_lower(first)}"
    if plan.filler:
        first = f"{filler}, {_lower(first)}"
    if plan.pause is None:
        return (f"{first} {rest}".strip(),)
    return (first, rest) if rest else (first,)


def _lower(text: str) -> str:
    """With a small first letter, unless that is a word of its own such as I."""
    return text if text[1:2] in ("", " ", "'") else text[0].lower() + text[1:]
