"""Synthetic two-channel talks whose every fault is known: what pair building is measured and timed on.

Talk n of a seed is always the same. Times lie on the frame grid, sounds are token columns alone, and a text always
sounds the same, so the voice that says chosen replies is the agent's own. What can be asked, and what is right and
wrong, is handed in (`Topic`); without topics, sums are asked.
"""

import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from eval.metrics.base import Heard
from eval.pairs.settings import TimingFault
from eval.pairs.source import Name
from eval.pairs.talks import RawTalk
from protocols.contracts import Line, Verdict
from protocols.duplex import FRAME, SAMPLE_RATE
from protocols.records import CHANNELS, Activity, Conversation, Event, Listening, Recording, Sample, Transcript, Word
from protocols.replies import GridLayout, Said, Tokens
from protocols.timeline import track

LAYOUT = GridLayout(17, 0, slice(1, 9), slice(9, 17), 3, (0,) * 8, (0,) * 8, agent_lag=3, user_lag=1)
EPAD, FIRST_WORD, TEXT_CARD, CARD = 0, 4, 8_000, 1_024
PER_WORD = 4  # frames
SCENES = ("plain", "cuts_in", "talks_over", "late", "silent", "does_not_yield", "yields", "stops_for_backchannel",
          "keeps")  # fmt: skip
FAULTY = frozenset({"cuts_in", "talks_over", "late", "silent", "does_not_yield", "stops_for_backchannel"})
WEIGHTS = (0.36, 0.1, 0.05, 0.08, 0.2, 0.06, 0.04, 0.06, 0.05)
NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
)
MORE = "and i can tell you a good deal more about that whenever you want to hear it from me"


class Topic(NamedTuple):
    """Something to ask, its right reply and a wrong one."""

    ask: str
    right: str
    wrong: str


class Planted(NamedTuple):
    """A fault that was put into a talk."""

    fault: TimingFault | None  # None: a wrong reply
    start: float  # of the event or reply it belongs to
    end: float


def sums() -> tuple[Topic, ...]:
    return tuple(
        Topic(f"tell me what {NUMBERS[a]} and {NUMBERS[b]} make", f"{NUMBERS[a + b]} is what they make.",
              f"{NUMBERS[(a + b + 3) % 19]} is what they make.")
        for a in range(10) for b in range(a, 10)
    )  # fmt: skip


class SyntheticTalks:
    """`count` talks of a seed, as a Source."""

    def __init__(self, count: int, seed: int = 0, topics: Sequence[Topic] = (), wrong: float = 0.2,
                 scenes: tuple[int, int] = (2, 5), weights: Sequence[float] = WEIGHTS) -> None:  # fmt: skip
        self.count, self.seed, self.topics = count, seed, tuple(topics) or sums()
        self.wrong, self.scenes, self.weights = wrong, scenes, tuple(weights)
        self.source = f"synthetic/1:{count}:seed={seed}"

    def names(self) -> Iterator[Name]:
        return (Name(f"synthetic/{self.seed}/{n:06d}", str(n)) for n in range(self.count))

    def read(self, name: Name) -> RawTalk:
        return self.talk(int(name.key))[0]

    def talk(self, number: int) -> tuple[RawTalk, tuple[Planted, ...]]:
        """A talk, and what was planted in it."""
        writer = _Writer(self, np.random.default_rng([self.seed, number]))
        return writer.write(f"synthetic/{self.seed}/{number:06d}"), tuple(writer.planted)


class SyntheticTruth:
    """Critic, rewriter, answerer and voice of synthetic talks: the topics are all there is to know."""

    source = "synthetic-truth/1"

    def __init__(self, topics: Sequence[Topic] = ()) -> None:
        self._topics = {topic.ask: topic for topic in (tuple(topics) or sums())}

    def judge(self, talk: Sequence[Line], axis: str) -> list[Verdict]:
        out: list[Verdict] = []
        topic = None
        for line in talk:
            if line.channel == "user":
                topic = self._topics.get(line.text, topic)
                continue
            applies = axis == "factuality" and topic is not None
            wrong = (
                applies
                and topic is not None
                and _begins(line.text, topic.wrong)
                and not _begins(line.text, topic.right)
            )
            out.append(Verdict(len(out) + 1, axis, (0 if wrong else 4) if applies else None, bool(wrong), "sum"))
        return out

    def rewrite(self, talk: Sequence[Line], fault: Verdict) -> "Written":
        turns = [i for i, line in enumerate(talk) if line.channel == "agent"]
        return Written(self.answer(talk[: turns[fault.turn - 1]]) or "", 3)

    def answer(self, talk: Sequence[Line]) -> str | None:
        asked = [self._topics[line.text] for line in talk if line.channel == "user" and line.text in self._topics]
        return asked[-1].right if asked else None

    def complete(self, said: str) -> str | None:
        """Replies are one sentence, with or without more; a broken one has no end mark."""
        if said.endswith("."):
            return None
        known = [t for topic in self._topics.values() for t in (topic.right, topic.wrong)]
        whole = [t for text in known for t in (text, f"{text[:-1]} {MORE}.") if t.startswith(said) and t != said]
        return max(whole, key=len, default=None)

    def reply(self, text: str) -> Said | None:
        return said(text) if text else None


def _begins(said: str, text: str) -> bool:
    """A reply begins as a text does, as far as both go."""
    a, b = ([w.strip(".") for w in t.split()] for t in (said, text))
    n = min(len(a), len(b))
    return n > 0 and a[:n] == b[:n]


class Written(NamedTuple):
    improved: str
    how_much_better: int


@lru_cache(maxsize=4096)
def said(text: str) -> Said:
    """A text in the synthetic agent's voice."""
    words = text.split()
    n = PER_WORD * len(words)
    columns = np.zeros((9, n + 1), np.int16)
    columns[0] = LAYOUT.pad
    columns[0, 0] = EPAD
    columns[0, 1::PER_WORD] = [word_id(word) for word in words]
    columns[1:, 1:] = np.random.default_rng(zlib.crc32(text.encode())).integers(1, CARD, (8, n))
    columns.flags.writeable = False
    spoken = tuple(Word(w, i * PER_WORD * FRAME, (i + 1) * PER_WORD * FRAME) for i, w in enumerate(words))
    return Said(spoken, n * FRAME, None, columns, 1)


def word_id(word: str) -> int:
    return FIRST_WORD + zlib.crc32(word.encode()) % (TEXT_CARD - FIRST_WORD)


class _Writer:
    """Writes one talk, scene after scene. Times are frames."""

    def __init__(self, how: SyntheticTalks, rng: np.random.Generator) -> None:
        self._how, self._rng = how, rng
        self._now = int(rng.integers(8, 20))
        self._user: list[tuple[int, int, str]] = []
        self._agent: list[tuple[int, int, str]] = []  # start, frames said, text
        self._events: list[Event] = []
        self.planted: list[Planted] = []

    def write(self, name: str) -> RawTalk:
        for _ in range(int(self._rng.integers(self._how.scenes[0], self._how.scenes[1] + 1))):
            scene = SCENES[int(self._rng.choice(len(SCENES), p=self._how.weights))]
            self._scene(scene)
            self._now += int(self._rng.integers(42, 60))  # longer than any answer is waited for
        return self._raw(name)

    def _scene(self, scene: str) -> None:
        topic = self._how.topics[int(self._rng.integers(len(self._how.topics)))]
        wrong = bool(self._rng.random() < self._how.wrong)
        reply = topic.wrong if wrong else topic.right
        start = self._now
        cut = scene == "cuts_in"
        end = self._cut_into(topic.ask, reply, wrong) if cut else start + self._ask(start, topic.ask)
        turn = Event("turn", start * FRAME, end * FRAME, "made", topic.ask)
        self._events.append(turn)
        self._now = end
        if scene in ("cuts_in", "late", "silent"):
            self._plant(scene, turn)
        if scene != "silent":
            self._answer(scene, reply, wrong, topic)

    def _answer(self, scene: str, reply: str, wrong: bool, topic: Topic) -> None:
        at = self._now + int(self._rng.integers(*((26, 34) if scene == "late" else (3, 12))))
        if scene in ("plain", "late", "cuts_in"):
            self._say(at, reply, wrong)
            return
        begin = at + int(self._rng.integers(10, 16))
        text = f"{reply[:-1]} {MORE}."
        kind = {"talks_over": "turn"}.get(scene, "interruption" if "yield" in scene else "backchannel")
        ask = "mm-hmm" if kind == "backchannel" else topic.ask if kind == "turn" else "stop please"
        over = begin + self._ask(begin, ask, 8)
        event = Event(kind, begin * FRAME, over * FRAME, "made", ask)  # type: ignore[arg-type]
        self._events.append(event)
        frames = begin - at + int(self._rng.integers(3, 7)) if scene in ("yields", "stops_for_backchannel") else None
        self._say(at, text, wrong, frames)
        if scene in FAULTY:
            self._plant(scene, event)

    def _cut_into(self, ask: str, reply: str, wrong: bool) -> int:
        """The user pauses inside the question, and the agent takes the turn there; when the user ends."""
        words = ask.split()
        half = len(words) // 2
        first = self._now + self._ask(self._now, " ".join(words[:half]))
        pause = int(self._rng.integers(8, 12))
        end = first + pause + self._ask(first + pause, " ".join(words[half:]))
        self._say(first + 4, reply, False, pause - 4 + int(self._rng.integers(3, 6)))
        if wrong and self._agent[-1][1] >= PER_WORD:
            self._plant_wrong()
        return end

    def _ask(self, at: int, text: str, frames: int | None = None) -> int:
        n = frames or PER_WORD * len(text.split())
        self._user.append((at, n, text))
        return n

    def _say(self, at: int, text: str, wrong: bool, frames: int | None = None) -> None:
        n = PER_WORD * len(text.split()) if frames is None else min(frames, PER_WORD * len(text.split()))
        self._agent.append((at, n, text))
        self._now = max(self._now, at + n)
        if wrong:
            self._plant_wrong()

    def _plant(self, fault: str, event: Event) -> None:
        self.planted.append(Planted(fault, event.start, event.end))  # type: ignore[arg-type]

    def _plant_wrong(self) -> None:
        at, n, _ = self._agent[-1]
        self.planted.append(Planted(None, at * FRAME, (at + n) * FRAME))

    def _raw(self, name: str) -> RawTalk:
        n = self._now + 10
        tokens = np.zeros((LAYOUT.streams, n), np.int16)
        tokens[LAYOUT.text] = LAYOUT.pad
        words: list[Word] = []
        for at, frames, text in self._agent:
            _put_agent(tokens, at - LAYOUT.agent_lag, said(text), frames)
            words += [Word(w.text, w.start + at * FRAME, min(w.end, frames * FRAME) + at * FRAME)
                      for w in said(text).words if w.start < frames * FRAME]  # fmt: skip
        for at, frames, text in self._user:
            codes = np.random.default_rng(zlib.crc32(text.encode())).integers(1, CARD, (8, frames))
            tokens[LAYOUT.user, at - LAYOUT.user_lag : at - LAYOUT.user_lag + frames] = codes
        spans = {"agent": track((a * FRAME, (a + f) * FRAME) for a, f, _ in self._agent),
                 "user": track((a * FRAME, (a + f) * FRAME) for a, f, _ in self._user)}  # fmt: skip
        recording = Recording(f"{name}.flac", SAMPLE_RATE, n * 1920, "0" * 64)
        events = tuple(sorted(self._events, key=lambda e: e.start))
        sample = Sample(name, "synthetic", (), n * FRAME, events)
        talk = Conversation(name, 0, "synthetic", self._how.seed, recording, events=events,
                            transcripts=(Transcript("agent", "model", tuple(words)),))  # fmt: skip
        heard = Listening(name, 0, tuple(Activity(c, "made", spans[c]) for c in CHANNELS))
        return RawTalk(name, Heard(sample, talk, heard, n * FRAME), tokens)


def _put_agent(tokens: Tokens, column: int, speech: Said, frames: int) -> None:
    assert speech.columns is not None
    own = speech.columns[:, : frames + speech.lead]
    first = column - speech.lead
    tokens[LAYOUT.text, first : first + own.shape[1]] = own[0]
    tokens[LAYOUT.agent, first + speech.lead : first + own.shape[1]] = own[1:, speech.lead :]
