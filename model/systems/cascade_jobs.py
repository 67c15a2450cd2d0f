"""What a cascade computes, recognising and answering, and when its results are there on the talk's clock.

In real time a job runs in a thread and a result is there when it is ready. On the simulated clock it runs at once,
and its results are dated: by the time they took, or by the times that were declared; so a run is as slow as its parts
without waiting for them, or repeatable to the sample. Results of a job that was cancelled are dropped unseen.
"""

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from model.systems.cascade_config import ClockConfig, VoiceConfig
from model.systems.chat import Chat, Counts, Message
from model.systems.sentences import Sentences
from protocols.contracts import Speaker, Transcriber
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.timeline import Span


class Heard(NamedTuple):
    """What the user said; empty if nothing could be made out."""

    text: str
    aside: Span | None = None  # said over the agent's speech; None: a turn


class Sentence(NamedTuple):
    text: str
    audio: Audio


class Done(NamedTuple):
    """An answer is complete."""

    counts: Counts


class Failed(NamedTuple):
    error: Exception


Result = Heard | Sentence | Done | Failed
Work = Callable[[], Iterator[Result]]


class Arrival(NamedTuple):
    at: float  # seconds of the talk
    job: int
    result: Result


class Jobs:
    """Those of one talk. `now` is the talk's real clock, None on the simulated one."""

    def __init__(self, clock: ClockConfig, now: Callable[[], float] | None) -> None:
        self._clock, self._now = clock, now
        self._waiting: list[tuple[float, int, Arrival]] = []  # simulated, by time
        self._arrived: queue.Queue[Arrival] = queue.Queue()  # real time
        self._numbers, self._order = itertools.count(1), itertools.count()
        self._live: set[int] = set()

    def cancel(self) -> None:
        """What is under way counts no more."""
        self._live.clear()

    def start(self, at: float, work: Work) -> None:
        """Begin a job `at` seconds of the talk."""
        self._live.add(job := next(self._numbers))
        if self._now is None:
            self._run_now(job, at, work)
        else:
            threading.Thread(target=self._run_along, args=(job, work), daemon=True).start()

    def next(self, until: float, wait: float = 0.0) -> Arrival | None:
        """The next result there before `until` seconds; in real time `wait` seconds for it. None: there is none."""
        while (arrival := self._take(until, wait)) is not None:
            if arrival.job in self._live:
                if isinstance(arrival.result, Heard | Done | Failed):
                    self._live.discard(arrival.job)
                return arrival
            wait = 0.0
        return None

    def _take(self, until: float, wait: float) -> Arrival | None:
        if self._now is None:
            due = bool(self._waiting) and self._waiting[0][0] < until
            return heapq.heappop(self._waiting)[2] if due else None
        try:
            return self._arrived.get(timeout=wait) if wait > 0 else self._arrived.get_nowait()
        except queue.Empty:
            return None

    def _run_now(self, job: int, at: float, work: Work) -> None:
        began, sentences, due = time.perf_counter(), 0, at
        for result in guarded(work):
            if self._clock.compute == "measured":
                due = at + time.perf_counter() - began
            elif isinstance(result, Heard):
                due += self._clock.recognition
            elif isinstance(result, Sentence):
                due += self._clock.sentence if sentences else self._clock.first_sentence
                sentences += 1
            heapq.heappush(self._waiting, (due, next(self._order), Arrival(due, job, result)))

    def _run_along(self, job: int, work: Work) -> None:
        assert self._now is not None
        for result in guarded(work):
            if job not in self._live:
                return
            self._arrived.put(Arrival(self._now(), job, result))


def guarded(work: Work) -> Iterator[Result]:
    """The results of work; its failure is the last of them."""
    try:
        yield from work()
    except Exception as error:
        yield Failed(error)


def recognise(transcriber: Transcriber, audio: Audio, spans: Sequence[Span], aside: Span | None) -> Iterator[Result]:
    """The words of [n] at 24 kHz, said in `spans`."""
    yield Heard(" ".join(word.text for word in transcriber.words(audio, SAMPLE_RATE, tuple(spans))), aside)


def answer(
    chat: Chat, messages: Sequence[Message], seed: int, speaker: Speaker, voice: VoiceConfig
) -> Iterator[Result]:
    """The answer's sentences as sound, each as soon as it is whole."""
    sentences, counts = Sentences(), Counts()
    for piece in chat.answer(messages, seed):
        if isinstance(piece, Counts):
            counts = piece
            continue
        for text in sentences.push(piece):
            yield Sentence(text, speaker.say(text, voice.voice, voice.speed))
    for text in sentences.rest():
        yield Sentence(text, speaker.say(text, voice.voice, voice.speed))
    yield Done(counts)
