"""Training talks of the closed world: who says what and when, with the base model's faults planted.

A talk is a row of scenes (a question, a request, small talk, an interruption, a backchannel, talk to somebody else,
silence) until its frames are used up. Every chance comes from one generator, so talk n of a seed is always the same.
Each scene is written down as a `Moment` as well, which is how tests and figures know what really happened. In a reading
the agent says one reply after another for nobody: its words are given, and how they sound is all there is to learn.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from model.tiny.faults import Faults
from model.tiny.grid import AgentClip, Codes, Grid, UserClip
from model.tiny.world import Fact, Split, World, trained_asks

Frames = tuple[int, int]  # lowest and highest number of them

SCENES = ("fact", "request", "small_talk", "side_talk", "silence")


class Scenario(NamedTuple):
    """How talks go: frames, and shares of the occasions."""

    scenes: tuple[float, ...] = (0.55, 0.25, 0.1, 0.05, 0.05)  # of each of SCENES
    latency: Frames = (2, 9)  # between the user's last sound and the reply; the spread keeps both ends learnable
    usual_latency: int = 4
    usual: float = 0.5  # of replies come at the usual latency, so that the likeliest frame to begin is one
    stop: Frames = (2, 5)  # until an interrupted agent is silent
    pause: Frames = (5, 14)  # inside a question
    gap: Frames = (6, 18)  # between scenes
    paused: float = 0.35  # of questions
    filled: float = 0.3  # of pauses
    tempo: float = 0.15  # utterances are up to this much slower or faster than they were recorded
    spliced: float = 0.4  # of questions, begin with the first words of another
    interrupted: float = 0.2  # of answers
    backchannelled: float = 0.15  # of answers
    greeted: float = 0.2  # of talks, the agent speaks first
    hurried: float = 0.5  # of greeted users, do not hear the greeting out
    begins: Frames = (2, 16)  # of silence before the first of all


WHOLE = Scenario()
DENSE = Scenario(
    (0.7, 0.25, 0.05, 0, 0),
    (2, 5),
    usual=0,
    gap=(3, 6),
    paused=0,
    spliced=0,
    interrupted=0,
    backchannelled=0,
    greeted=0,
    begins=(2, 9),
)


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
    def replies(self) -> tuple[str, ...]:
        """What the agent's voice says."""
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
    heard: np.ndarray  # int16 [T], the user's words where they end
    moments: tuple[Moment, ...]


class Writer:
    """Writes one talk."""

    def __init__(
        self,
        world: World,
        held: Split,
        faults: Faults,
        clips: Clips,
        scenario: Scenario,
        n_frames: int,
        rng: np.random.Generator,
    ) -> None:
        self._world, self._faults, self._clips, self._how, self._rng = world, faults, clips, scenario, rng
        self._facts = [fact for fact in world.facts if fact.id not in held.facts]
        self._pairs = [pair for pair in world.pairs if pair.id not in held.pairs]
        self._held = held
        self._held_asks = {fact.asks[held.asks[fact.relation]].lower() for fact in world.facts}
        self._grid = Grid(n_frames, clips.silence, clips.noise(n_frames, rng))
        self._moments: list[Moment] = []
        self._now = self._between(scenario.begins)

    def write(self) -> Talk:
        scenes: dict[str, Callable[[], None]] = {
            "fact": self._fact, "request": self._request, "small_talk": self._small_talk,
            "side_talk": self._side_talk, "silence": self._silence,
        }  # fmt: skip
        if self._rng.random() < self._how.greeted:
            self._greeting()
        while self._now < self._grid.n_frames - 20:
            scenes[str(self._rng.choice(SCENES, p=self._how.scenes))]()
            self._now += self._between(self._how.gap)
        return Talk(self._grid.codes, self._grid.heard, tuple(self._moments))

    # --- scenes ---

    def _greeting(self) -> None:
        """The agent begins; a user in a hurry asks into it, and it stops to listen."""
        text, start = self._one(self._world.greeting), self._now
        over = self._grid.agent(start, self._clips.agent(text))
        self._moments.append(Moment("greeting", "", start, start, text, start))
        if self._rng.random() < self._how.hurried:
            self._now = start + self._between((2, over - start - 1))
            self._grid.hush(self._now + self._between(self._how.stop), self._grid.n_frames)
            self._fact()
        else:
            self._now = over
        self._now += self._between(self._how.gap)

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
        start, self._now = self._now, self._grid.user(self._now, self._user(text))
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
        at = end + self._latency()
        over = self._grid.agent(at, self._clips.agent(reply))
        over, talked_on = self._while_speaking(at, over)
        late = ("talk_on",) if talked_on else ()
        self._moments.append(Moment(scene, said, start, end, reply, at, (*faults, *early, *late)))
        self._now = over

    def _ask(self, said: str, reply: str) -> tuple[int, bool]:
        """The user's turn, sometimes with a pause, sometimes with the agent cutting into it; its end, and whether."""
        clip = self._question(said)
        if self._rng.random() >= self._how.paused:
            return self._grid.user(self._now, clip), False
        before, after = clip.split(clip.quiet)
        first_end = self._grid.user(self._now, before)
        pause = self._pause(first_end)
        resumed = first_end + pause
        end = self._grid.user(resumed, after)
        cut_in = self._rng.random() < self._faults.rates.cut_in
        if cut_in:
            at = first_end + int(self._rng.integers(2, max(3, pause - 1)))
            self._grid.agent(at, self._clips.agent(reply))
            self._grid.hush(resumed + self._between(self._how.stop), self._grid.n_frames)
        return end, cut_in

    def _question(self, said: str) -> UserClip:
        """What is asked; sometimes up to two first words give way to up to three of another question, because how a
        question begins says little. Never does this make a way of asking that was held out."""
        clip = self._user(said)
        if not self._how.spliced or self._rng.random() >= self._how.spliced:
            return clip
        fact = self._facts[int(self._rng.integers(len(self._facts)))]
        other = self._one(trained_asks(fact, self._held))
        drop, keep = min(int(self._rng.integers(3)), max(len(clip.words) - 3, 0)), int(self._rng.integers(4))
        if " ".join(other.split()[:keep] + said.split()[drop:]).lower() in self._held_asks:
            return clip
        start = self._user(other)
        first, _ = start.split(start.after_words(min(keep, len(start.words))))
        _, rest = clip.split(clip.after_words(drop))
        return first.then(rest)

    def _pause(self, start: int) -> int:
        """A pause from frame `start`, silent or with a filler in it; its length."""
        if self._rng.random() >= self._how.filled:
            return self._between(self._how.pause)
        filler = self._user(self._one(self._world.filler))
        over = self._grid.user(start + self._between((2, 5)), filler)
        return over + self._between((2, 6)) - start

    def _while_speaking(self, at: int, over: int) -> tuple[int, bool]:
        """What the user does while the agent speaks from `at` to `over`; when it is over, and whether it talked on."""
        if over - at < 10:
            return over, False
        chance = self._rng.random()
        begin = at + int(self._rng.integers(3, over - at - 4))
        if chance < self._how.interrupted:
            heard = self._grid.user(begin, self._user(self._one(self._world.stop)))
            if self._rng.random() < self._faults.rates.talk_on:
                return max(over, heard), True
            quiet = begin + self._between(self._how.stop)
            self._grid.hush(quiet, self._grid.n_frames)
            return max(quiet, heard), False
        if chance < self._how.interrupted + self._how.backchannelled:
            self._grid.user(begin, self._user(self._one(self._world.backchannel)))
        return over, False

    def _user(self, text: str) -> UserClip:
        clip, most = self._clips.user(text, self._rng), self._how.tempo
        return clip.slower(1 + self._rng.uniform(-most, most)) if most else clip

    def _latency(self) -> int:
        return self._how.usual_latency if self._rng.random() < self._how.usual else self._between(self._how.latency)

    def _one(self, texts: tuple[str, ...]) -> str:
        return texts[int(self._rng.integers(len(texts)))]

    def _between(self, low_high: tuple[int, int]) -> int:
        return int(self._rng.integers(low_high[0], low_high[1] + 1))


def write_talk(
    world: World,
    held: Split,
    faults: Faults,
    clips: Clips,
    n_frames: int,
    seed: int,
    number: int,
    scenario: Scenario = WHOLE,
) -> Talk:
    """Talk `number` of a seed: [17, n_frames] and what happened in it."""
    return Writer(world, held, faults, clips, scenario, n_frames, np.random.default_rng([seed, number])).write()


def write_reading(clips: Clips, n_frames: int, seed: int, number: int) -> np.ndarray:
    """Reading `number` of a seed: codes int16 [17, n_frames] in which the agent says replies back to back."""
    rng = np.random.default_rng([seed, number])
    grid, now = Grid(n_frames, clips.silence, clips.noise(n_frames, rng)), int(rng.integers(2, 8))
    while now < n_frames:
        text = clips.replies[int(rng.integers(len(clips.replies)))]
        now = grid.agent(now, clips.agent(text)) + int(rng.integers(2, 8))
    return grid.codes
