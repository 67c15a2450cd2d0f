"""The simulated user of one talk: listens frame by frame, and decides inside the frame what to say and when.

It hears the agent's frames and nothing else. By `eval.onset` it knows when the agent speaks, and it takes a reply for
over after a gap of quiet, drawn for each turn and never shorter than a breath. Its own turns are not given up when the
agent cuts in. The agent's frame k is known before the user's frame k is made, so whatever it does begins at a sample,
not at a frame. Words that take time to find (a language model, a transcriber) take none on the simulated clock; in real
time the user thinks in a thread and speaks when it is done.

What it did is in its diary, to the sample. Times inside are samples on the session's clock.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Literal, NamedTuple

import numpy as np

from eval.channel import GREETING_LIMIT, GREETING_SILENCE, mix
from eval.onset import AgentSpeech
from eval.simulate.diary import Diary
from eval.simulate.ears import Ears
from eval.simulate.manner import Manner, Plan, plan_turn, worded
from eval.simulate.minds import Mind, Move, Said
from eval.simulate.mouth import Mouth, Spoken
from eval.simulate.scenario import Scenarios
from protocols.duplex import Audio, SystemInfo, TextPiece
from protocols.records import Event

REPLIED = 0.3  # seconds the agent must go on after the user's turn for its speech to be a reply
OUT_OF_TIME = "the talk had lasted long enough"
LEFT_OUT = "the user had no reason to say it"


class Turn(NamedTuple):
    """What the user is about to say, ready to be played."""

    move: Move
    plan: Plan
    spoken: Spoken
    over: Spoken | None  # what may be said into the reply


class Thought(NamedTuple):
    """What was understood of the agent's reply, and what to say to it; None: nothing more."""

    heard: str
    turn: Turn | None


Begin = Callable[[Callable[[], Thought]], "Future[Thought]"]


class Person(NamedTuple):
    """Who a simulated user is: what is the same whatever happens in the talk."""

    mind: Mind
    mouth: Mouth
    ears: Ears
    manner: Manner
    phrases: Scenarios  # what is said in passing
    seed: int
    longest: float  # seconds, after which no more turns are begun
    waits: bool  # whether the clock can wait for a thought (simulated), or goes on (real time)


def at_once(make: Callable[[], Thought]) -> "Future[Thought]":
    """A thought had now, fault or not."""
    future: Future[Thought] = Future()
    try:
        future.set_result(make())
    except Exception as error:
        future.set_exception(error)
    return future


class SimulatedUser:
    """Implements `eval.channel.User`."""

    def __init__(
        self, person: Person, diary: Diary, info: SystemInfo, lead_in: float, greeting: Literal["none", "wait"],
        begin: Begin = at_once,
    ) -> None:  # fmt: skip
        self._person, self._diary, self._begin = person, diary, begin
        self._size, self._rate = info.frame_size, info.sample_rate
        self._lead_in, self._greeting = round(lead_in * self._rate), greeting
        self._agent = AgentSpeech(self._rate)
        self._frames = 0  # of the agent, heard so far
        self._talk: list[Said] = []
        self._thinking: Future[Thought] | None = None
        self._now: Turn | None = None  # the turn that was begun last
        self._from = 0  # where that turn began
        self._until = 0  # where it ended, or the interruption of its reply did
        self._busy = 0  # where the user's last sound is over
        self._over_open = False  # whether something may still be said into this reply
        self._sounds: list[tuple[int, Audio]] = []
        self.starts_at: int | None = None
        self.ends_at: int | None = None

    def frame(self, number: int) -> Audio:
        start = number * self._size
        out = np.zeros(self._size, np.float32)
        for at, audio in self._sounds:
            mix(audio, at, start, out)
        self._sounds = [(at, audio) for at, audio in self._sounds if at + len(audio) > start + len(out)]
        return out

    def hear(self, said: Audio, text: Sequence[TextPiece] = ()) -> None:
        self._agent.hear(said)
        self._person.ears.hear(said, text)
        start = self._frames * self._size
        self._frames += 1
        if self.ends_at is None:
            self._decide(start)

    def events(self, duration: float) -> tuple[Event, ...]:
        return self._diary.events(duration)

    # --- decisions ---

    def _decide(self, start: int) -> None:
        """What is done in the user's frame that begins at `start`."""
        self._say_over(start)
        if start >= self._person.longest * self._rate:
            self._finish(start, OUT_OF_TIME)
            return
        due = self._turn_due(start)
        if due is None:
            self._thinking = None  # the agent speaks: what was thought of is out of date
            return
        is_due = due < start + self._size
        if self._thinking is None and (is_due or self._replied or self._now is None):  # not while an answer may come
            self._thinking = self._begin(self._thought())
        if is_due and self._thinking is not None and (self._person.waits or self._thinking.done()):
            self._act(max(due, start), self._thinking.result())

    @property
    def _last_sound(self) -> int:
        """Where the agent's last sound ended."""
        return self._agent.heard - self._agent.quiet

    @property
    def _replied(self) -> bool:
        """Whether the agent has spoken since the user's turn."""
        return self._last_sound >= self._until + REPLIED * self._rate

    @property
    def _next_turn(self) -> int:
        return 0 if self._now is None else self._now.move.turn + 1

    def _turn_due(self, start: int) -> int | None:
        """Where the next turn begins if the agent stays silent; None while it speaks."""
        if self._now is None:
            return self._opening_due(start)
        onset = self._agent.onset
        if onset is not None:
            tired = start - max(onset, self._until) >= self._person.manner.endurance * self._rate
            return max(start, self._busy) if tired else None
        wait = self._now.plan.gap if self._replied else self._person.manner.patience
        return max((self._last_sound if self._replied else self._until) + round(wait * self._rate), self._busy)

    def _opening_due(self, start: int) -> int | None:
        if self._greeting == "none":
            return self._lead_in
        if start >= GREETING_LIMIT * self._rate:
            return max(start, self._lead_in)
        if self._agent.onset is not None:
            return None
        return max(self._last_sound + round(GREETING_SILENCE * self._rate), self._lead_in)

    def _thought(self) -> Callable[[], Thought]:
        """What to say next, as a function that may run elsewhere: it reads nothing that changes."""
        person, talk = self._person, tuple(self._talk)
        heard = person.ears.since(self._from // self._size)
        number = self._next_turn

        def think() -> Thought:
            reply = heard()
            known = (*talk, Said("agent", reply)) if reply else talk
            move = person.mind.next(number, known)
            if move is None:
                return Thought(reply, None)
            plan = plan_turn(person.manner, person.seed, move.turn)
            filler = _picked(person.phrases.fillers, plan)
            spoken = person.mouth.say(worded(move.text, plan, filler), plan.pause)
            return Thought(reply, Turn(move, plan, spoken, _over(person, plan)))

        return think

    def _act(self, at: int, thought: Thought) -> None:
        """Begin a turn, or end the talk."""
        self._thinking = None
        if thought.heard:
            self._talk.append(Said("agent", thought.heard))
        if thought.turn is None:
            self._finish(at, LEFT_OUT)
            return
        self._close_reply()
        move, plan, spoken, over = thought.turn
        for skipped in range(self._next_turn, move.turn):
            self._diary.left_out(skipped, LEFT_OUT)
        if move.turn == self._diary.turns:
            self._diary.plan("", plan)
        self._diary.said(move.turn, at / self._rate, spoken)
        self._talk.append(Said("user", spoken.text))
        self._now, self._from = thought.turn, at
        self._until = self._play(at, spoken)
        self._over_open = over is not None
        if self.starts_at is None:
            self.starts_at = at

    def _say_over(self, start: int) -> None:
        """Interrupt or acknowledge the reply under way, if that is due in the frame from `start` on."""
        onset, sounding = self._agent.onset, self._agent.sounding_since
        if not self._over_open or onset is None or sounding is None or self._now is None:
            return
        assert self._now.over is not None
        due = max(onset, self._until) + round(self._now.plan.after * self._rate)
        due = max(due, sounding, start)
        if due >= start + self._size:
            return
        self._over_open = False
        self._diary.over(self._now.move.turn, due / self._rate, self._now.over)
        ended = self._play(due, self._now.over)
        if self._now.plan.over == "interruption":
            self._until = ended
            self._talk.append(Said("user", self._now.over.text))

    def _play(self, at: int, spoken: Spoken) -> int:
        """Play from `at` on; where its last sound is."""
        self._sounds.append((at, spoken.audio))
        self._busy = at + len(spoken.audio)
        return at + round(spoken.speech.end * self._rate)

    def _close_reply(self) -> None:
        if self._over_open and self._now is not None:
            self._diary.reply_over(self._now.move.turn, self._now.plan.after)
        self._over_open = False

    def _finish(self, at: int, why: str) -> None:
        self._close_reply()
        for unsaid in range(self._next_turn, self._diary.turns):
            self._diary.left_out(unsaid, why)
        self.ends_at = max(at, self._busy)
        self._thinking = None


def _over(person: Person, plan: Plan) -> Spoken | None:
    """What is said into the reply, if anything is."""
    if plan.over is None:
        return None
    texts = person.phrases.interruptions if plan.over == "interruption" else person.phrases.backchannels
    return person.mouth.say((_picked(texts, plan),))


def _picked(texts: tuple[str, ...], plan: Plan) -> str:
    return texts[plan.pick % len(texts)]
