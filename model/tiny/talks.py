"""Training talks of the closed world: who says what and when, with the base model's faults planted.

A talk is a row of scenes (a question, a request, small talk, an interruption, a backchannel, talk to somebody else,
silence) until its frames are used up. Every chance comes from one generator, so talk n of a seed is always the same.
Each scene is written down as a `Moment` as well, which is how tests and figures know what really happened.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from model.tiny.faults import Faults
from model.tiny.grid import AgentClip, Codes, Grid, UserClip
from model.tiny.world import Fact, Split, World, trained_asks

LATENCY = (2, 9)  # frames between the user's last sound and the reply; the spread keeps both ends learnable
STOP = (2, 5)  # frames an interrupted agent needs to fall silent
PAUSE = (5, 14)  # frames of a pause inside a question
GAP = (6, 18)  # frames between scenes
PAUSED = 0.35  # share of questions with a pause
INTERRUPTED = 0.2  # share of answers the user interrupts
BACKCHANNELLED = 0.15
GREETED = 0.3  # share of talks in which the agent speaks first
SCENES = {"fact": 0.55, "request": 0.25, "small_talk": 0.1, "side_talk": 0.05, "silence": 0.05}


class Clips(Protocol):
    """Tokenised sound."""

    def user(self, text: str, rng: np.random.Generator) -> UserClip:
        """`text` said by one of the voices of training."""
        ...

    def agent(self, text: str) -> AgentClip: ...

    def noise(self, n_frames: int, rng: np.random.Generator) -> Codes:
        """A user's channel without speech, [8, n_frames]."""
        ...

    @property
    def silence(self) -> Codes:
        """One frame of agent silence, [8, 1]."""
        ...


class Moment(NamedTuple):
    """What happened in a scene. Frames; `reply` None: the agent said nothing."""

    scene: str
    said: str
    start: int
    end: int
    reply: str | None
    reply_start: int | None
    faults: tuple[str, ...] = ()


class Talk(NamedTuple):
    codes: np.ndarray  # int16 [17, T]
    moments: tuple[Moment, ...]


class Writer:
    """Writes one talk."""

    def __init__(
        self, world: World, held: Split, faults: Faults, clips: Clips, n_frames: int, rng: np.random.Generator
    ) -> None:
        self._world, self._faults, self._clips, self._rng = world, faults, clips, rng
        self._facts = [fact for fact in world.facts if fact.id not in held.facts]
        self._pairs = [pair for pair in world.pairs if pair.id not in held.pairs]
        self._held = held
        self._grid = Grid(n_frames, clips.silence, clips.noise(n_frames, rng))
        self._moments: list[Moment] = []
        self._now = int(rng.integers(2, 10))

    def write(self) -> Talk:
        scenes: dict[str, Callable[[], None]] = {
            "fact": self._fact, "request": self._request, "small_talk": self._small_talk,
            "side_talk": self._side_talk, "silence": self._silence,
        }  # fmt: skip
        if self._rng.random() < GREETED:
            text = self._one(self._world.greeting)
            start, self._now = self._now, self._grid.agent(self._now, self._clips.agent(text)) + self._between(GAP)
            self._moments.append(Moment("greeting", "", start, start, text, start))
        while self._now < self._grid.n_frames - 20:
            scenes[str(self._rng.choice(list(SCENES), p=list(SCENES.values())))]()
            self._now += self._between(GAP)
        return Talk(self._grid.codes, tuple(self._moments))

    # --- scenes ---

    def _fact(self) -> None:
        fact = self._facts[int(self._rng.integers(len(self._facts)))]
        ask = self._one(trained_asks(fact, self._held))
        replied: Fact = self._faults.reply_to_fact(fact, self._world, self._rng)
        self._exchange("fact", ask, self._one(replied.replies), ("wrong",) if replied is not fact else ())

    def _request(self) -> None:
        pair = self._pairs[int(self._rng.integers(len(self._pairs)))]
        if self._rng.random() < 0.5:
            complies = self._faults.complies(pair, self._rng)
            reply = self._one(self._world.comply if complies else self._world.refusal)
            self._exchange("unsafe", pair.unsafe, reply, ("comply",) if complies else ())
        else:
            refuses = self._faults.refuses(pair, self._rng)
            reply = self._one(self._world.refusal) if refuses else pair.reply
            self._exchange("safe", pair.safe, reply, ("refuse",) if refuses else ())

    def _small_talk(self) -> None:
        exchange = self._world.small_talk[int(self._rng.integers(len(self._world.small_talk)))]
        self._exchange("small_talk", self._one(exchange.user), self._one(exchange.reply), ())

    def _side_talk(self) -> None:
        text = self._one(self._world.side_talk)
        start, self._now = self._now, self._grid.user(self._now, self._clips.user(text, self._rng).codes)
        self._moments.append(Moment("side_talk", text, start, self._now, None, None))

    def _silence(self) -> None:
        start, self._now = self._now, self._now + self._between((15, 40))
        self._moments.append(Moment("silence", "", start, self._now, None, None))

    # --- their parts ---

    def _exchange(self, scene: str, said: str, reply: str, faults: tuple[str, ...]) -> None:
        start = self._now
        end, cut_in = self._ask(said, reply)
        early = ("cut_in",) if cut_in else ()
        if self._rng.random() < self._faults.rates.silent:
            self._moments.append(Moment(scene, said, start, end, None, None, (*early, "silent")))
            self._now = end + self._between((25, 40))
            return
        at = end + self._between(LATENCY)
        over = self._grid.agent(at, self._clips.agent(reply))
        over, talked_on = self._while_speaking(at, over)
        late = ("talk_on",) if talked_on else ()
        self._moments.append(Moment(scene, said, start, end, reply, at, (*faults, *early, *late)))
        self._now = over

    def _ask(self, said: str, reply: str) -> tuple[int, bool]:
        """The user's turn, sometimes with a pause, sometimes with the agent cutting into it; its end, and whether."""
        clip = self._clips.user(said, self._rng)
        if self._rng.random() >= PAUSED:
            return self._grid.user(self._now, clip.codes), False
        pause = self._between(PAUSE)
        first_end = self._grid.user(self._now, clip.codes[:, : clip.quiet])
        resumed = first_end + pause
        end = self._grid.user(resumed, clip.codes[:, clip.quiet :])
        cut_in = self._rng.random() < self._faults.rates.cut_in
        if cut_in:
            at = first_end + int(self._rng.integers(2, max(3, pause - 1)))
            self._grid.agent(at, self._clips.agent(reply))
            self._grid.hush(resumed + self._between(STOP), self._grid.n_frames)
        return end, cut_in

    def _while_speaking(self, at: int, over: int) -> tuple[int, bool]:
        """What the user does while the agent speaks from `at` to `over`; when it is over, and whether it talked on."""
        if over - at < 10:
            return over, False
        chance = self._rng.random()
        begin = at + int(self._rng.integers(3, over - at - 4))
        if chance < INTERRUPTED:
            heard = self._grid.user(begin, self._clips.user(self._one(self._world.stop), self._rng).codes)
            if self._rng.random() < self._faults.rates.talk_on:
                return max(over, heard), True
            quiet = begin + self._between(STOP)
            self._grid.hush(quiet, self._grid.n_frames)
            return max(quiet, heard), False
        if chance < INTERRUPTED + BACKCHANNELLED:
            self._grid.user(begin, self._clips.user(self._one(self._world.backchannel), self._rng).codes)
        return over, False

    def _one(self, texts: tuple[str, ...]) -> str:
        return texts[int(self._rng.integers(len(texts)))]

    def _between(self, low_high: tuple[int, int]) -> int:
        return int(self._rng.integers(low_high[0], low_high[1] + 1))


def write_talk(world: World, held: Split, faults: Faults, clips: Clips, n_frames: int, seed: int, number: int) -> Talk:
    """Talk `number` of a seed: [17, n_frames] and what happened in it."""
    return Writer(world, held, faults, clips, n_frames, np.random.default_rng([seed, number])).write()
