"""`cascade:CONFIG.yaml`: endpointing, recognition, a chat model and text to speech, one after the other.

It is what people build first, and the baseline a full-duplex model has to beat. The parts are handed in; what they
compute and when that is there is `cascade_jobs`' business, so a talk is held alike on both clocks.

The non-obvious decisions. A user who goes on before anything of the reply was heard has not ended the turn: the reply
is dropped and the whole turn is recognised again. A user who speaks over the agent for `barge_in` seconds stops it, and
the history keeps the words that were heard. Shorter speech over the agent is recognised; only if it is more than a
backchannel does it stop the agent, and then it is a turn. A filler is said when a reply is late and is no part of the
history. On the simulated clock the decision that a turn has ended is dated where silence has lasted long enough, not
at the frame's end; nothing is heard before the frame in which it could be known.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from model.systems.cascade_config import CascadeConfig
from model.systems.cascade_jobs import Arrival, Done, Failed, Heard, Jobs, Sentence, answer, recognise
from model.systems.chat import Chat, Message
from model.systems.mouth import Mouth
from model.systems.paced import MARGIN
from model.systems.playout import RealTime
from model.systems.turns import Ears, Ended
from model.systems.utterance import spread
from protocols.contracts import Speaker, SpeechGate, Transcriber
from protocols.duplex import FRAME, Account, Audio, Step, SystemInfo, TextPiece
from protocols.timeline import Span


class Parts(NamedTuple):
    """What a cascade is made of."""

    gate: Callable[[], SpeechGate]  # one for each talk
    transcriber: Transcriber
    chat: Chat
    speaker: Speaker


class CascadeSystem:
    """One talk at a time. `real_time`: whether frames come at the pace of speech."""

    def __init__(self, info: SystemInfo, config: CascadeConfig, parts: Parts, real_time: bool) -> None:
        self.info, self._config, self._parts, self._real_time = info, config, parts, real_time
        say = partial(parts.speaker.say, voice=config.voice.voice, speed=config.voice.speed)
        self._fillers = [Sentence(text, say(text)) for text in config.filler.say]

    def open(self, seed: int, sample_id: str | None = None) -> "CascadeSession":
        return CascadeSession(self._config, self._parts, self._fillers, seed, self._real_time)

    def close(self) -> None:
        self._parts.chat.close()


class CascadeSession:
    """One talk."""

    def __init__(
        self, config: CascadeConfig, parts: Parts, fillers: list[Sentence], seed: int, real_time: bool
    ) -> None:
        self._config, self._parts, self._fillers, self._seed = config, parts, fillers, seed
        self._backchannels = {_words(text) for text in config.turns.backchannels}
        self._clock = RealTime(FRAME) if real_time else None
        self._jobs = Jobs(config.clock, self._clock.now if self._clock else None)
        self._ears, self._mouth = Ears(parts.gate(), config.turns.silence), Mouth()
        self._history = [Message("system", config.chat.instructions)]
        self._turn: list[Span] = []  # the user's speech that has not been answered
        self._asked = ""  # the words of the turn that is being answered
        self._filler_due: float | None = None
        self._heard: dict[float, tuple[TextPiece, ...]] = {}  # the user's words, by where their turn begins
        self._usage = dict.fromkeys(("turns", "barge_ins", "backchannels", "fillers", "resumed"), 0.0)
        self._frames = 0

    def step(self, frame: Audio) -> Step:
        if self._clock:
            self._clock.tick(self._frames)
        self._frames += 1
        begun, ended = self._ears.hear(frame)
        now = self._ears.now
        if begun and self._turn and not self._mouth.begun:
            self._resume(now)
        if self._ears.speaking >= self._config.turns.barge_in and self._mouth.busy(now):
            self._interrupt(now)
            self._usage["barge_ins"] += 1
        if ended is not None:
            self._end_of_speech(ended)
        self._admit(now + FRAME)
        return Step(self._mouth.take(), self._mouth.words())

    def close(self) -> None:
        self._jobs.cancel()

    def account(self) -> Account:
        return Account(dict(self._usage), tuple(piece for pieces in self._heard.values() for piece in pieces))

    # --- what the user does ---

    def _end_of_speech(self, ended: Ended) -> None:
        """Recognise what was said: an aside over the agent's speech, or a turn."""
        over = self._mouth.begun and self._mouth.busy(ended.span.start)
        aside = ended.span if over and ended.span.duration < self._config.turns.barge_in else None
        if aside is None:
            self._interrupt(self._ears.now)
            self._turn.append(ended.span)
            self._filler_due = ended.at + self._config.filler.after if self._fillers else None
        sound, inside = self._ears.sound([aside] if aside else self._turn)
        self._jobs.start(ended.at, partial(recognise, self._parts.transcriber, sound, inside, aside))

    def _resume(self, at: float) -> None:
        """The user goes on before the reply was heard: there is none."""
        self._jobs.cancel()
        self._mouth.cut(at)
        self._mouth.finish()
        self._asked, self._filler_due = "", None
        self._usage["resumed"] += 1

    def _interrupt(self, at: float) -> None:
        """The agent stops, and remembers what was heard of it."""
        self._jobs.cancel()
        self._mouth.cut(at)
        self._settle()
        self._filler_due = None

    def _settle(self) -> None:
        """Put the last exchange into the history, as far as it was heard; a turn that was not answered stays open."""
        begun, said = self._mouth.begun, self._mouth.finish()
        if begun:
            self._history += [Message("user", self._asked), Message("assistant", said)]
            self._turn = []
        self._asked = ""

    # --- what is computed ---

    def _admit(self, until: float) -> None:
        """Take in every result that is there before `until` seconds, in order; in real time wait for them."""
        while True:
            wait = max(until - MARGIN - self._clock.now(), 0.0) if self._clock else 0.0
            if self._filler_due is not None and self._clock:
                wait = min(wait, max(self._filler_due - self._clock.now(), 0.0))
            arrival = self._jobs.next(until, wait)
            due = arrival.at if arrival is not None else self._clock.now() if self._clock else until
            self._fill(due)
            if arrival is not None:
                self._take(arrival)
            elif self._clock is None or self._clock.now() >= until - MARGIN:
                return

    def _fill(self, until: float) -> None:
        """Say a filler that was due before `until` seconds."""
        if self._filler_due is not None and self._filler_due < until:
            filler = self._fillers[int(self._usage["fillers"]) % len(self._fillers)]
            self._mouth.say(filler.text, filler.audio, self._filler_due, filler=True)
            self._usage["fillers"] += 1
            self._filler_due = None

    def _take(self, arrival: Arrival) -> None:
        result = arrival.result
        if isinstance(result, Failed):
            raise result.error
        if isinstance(result, Heard):
            self._understand(result, arrival.at)
        elif isinstance(result, Sentence):
            self._filler_due = None
            self._mouth.say(result.text, result.audio, arrival.at)
        else:
            self._complete(result)

    def _understand(self, heard: Heard, at: float) -> None:
        text = heard.text
        if heard.aside is not None:
            words = _words(text)
            if words in self._backchannels or self._backchannels.issuperset(words.split()):
                self._usage["backchannels"] += bool(text)
                return
            self._interrupt(at)
            self._turn = [heard.aside]
        if not text:
            self._turn, self._filler_due = [], None
            return
        self._usage["turns"] += 1
        self._heard[self._turn[0].start] = spread(text, self._turn[0].start, self._turn[-1].end)
        self._asked = text
        messages = [*self._history, Message("user", text)]
        c = self._config
        self._jobs.start(at, partial(answer, self._parts.chat, messages, self._seed, self._parts.speaker, c.voice))

    def _complete(self, done: Done) -> None:
        self._filler_due = None
        for kind, count in done.counts._asdict().items():
            self._usage[f"{kind}_tokens"] = self._usage.get(f"{kind}_tokens", 0.0) + count


def _words(text: str) -> str:
    """For comparison: letters and digits in lower case, single spaces."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
