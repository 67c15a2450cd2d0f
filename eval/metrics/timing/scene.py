"""What the timing rules read of a talk: the agent's holds of the floor and its backchannels, by one read-out.

Two read-outs exist, activity detection ("vad") and a transcriber's words ("words"); every event rule works on
either, so that their disagreement can be measured. Agent speech is first cut into inter-pausal units, then joined
over breaths into stretches; a stretch either takes the floor or is a backchannel (`takeover`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

from eval.metrics.base import Heard, evidence
from eval.metrics.timing.settings import TimingSettings, takeover
from protocols.records import Event, Evidence, Transcript, Word
from protocols.timeline import Span, Track, first_from, utterances

ReadOut = Literal["vad", "words"]
WORD_SLACK = 0.25  # how far a word may lie outside the sound it belongs to


class Scene(NamedTuple):
    """A talk as the rules see it."""

    speech: Track  # the agent's inter-pausal units
    takes: Track  # its stretches that take the floor
    backchannels: Track  # its stretches that do not
    events: tuple[tuple[int, Event], ...]
    duration: float
    stimulus: float  # how long the user's audio is
    source: str
    settings: TimingSettings

    def of(self, *kinds: str) -> list[tuple[int, Event]]:
        """The events of some kinds, by their start, each with its index in the talk."""
        return [(i, e) for i, e in self.events if e.kind in kinds]

    def next_turn(self, after: float) -> float | None:
        """When the user next takes a turn, at `after` or later."""
        starts = (e.start for _, e in self.events if e.kind in ("turn", "interruption") and not e.missed)
        return min((s for s in starts if s >= after), default=None)

    def span(self, label: str, span: Span) -> Evidence:
        """Agent speech as evidence."""
        return evidence(label, "agent", span, self.source)

    def unusable(self, event: Event) -> tuple[str, str] | None:
        """Outcome and reason of an event nothing can be read from; None if it can be judged."""
        if event.missed is not None:
            return "not_exercised", event.missed or "the event did not happen"
        if not 0 <= event.start < self.duration:
            return "outside", f"the event at {event.start:g} s lies outside the recording of {self.duration:g} s"
        return None


@lru_cache
def scene_maker(settings: TimingSettings, read_out: ReadOut) -> Callable[[Heard], Scene | None]:
    """A function that makes a talk's scene, the same one for the same settings, so that `Heard.once` can keep it.

    It gives None where the read-out is missing: nobody listened for words.
    """

    def make(heard: Heard) -> Scene | None:
        known = heard.speech_transcript() or heard.model_transcript()
        if read_out == "vad":
            return scene_of(heard, heard.spans("agent"), known, heard.activity_source, settings)
        asr = heard.speech_transcript()
        if asr is None:
            return None
        return scene_of(heard, tuple(Span(w.start, w.end) for w in asr.words), asr, asr.source, settings)

    return make


def scene_of(heard: Heard, spans: Track, known: Transcript | None, source: str, settings: TimingSettings) -> Scene:
    """The scene that agent spans and words make. Spans may be unsorted and overlap."""
    speech = utterances(spans)
    takes: list[Span] = []
    backchannels: list[Span] = []
    words = None if known is None else sorted(known.words, key=_middle)
    for stretch, spoken in stretches(speech, settings.breath):
        said = None if words is None or spoken >= settings.takeover.seconds else _inside(words, stretch)
        (takes if takeover(spoken, said, settings.takeover) else backchannels).append(stretch)
    events = tuple(sorted(enumerate(heard.talk.events), key=lambda pair: (pair[1].start, pair[1].end, pair[0])))
    stimulus = heard.sample.length
    return Scene(speech, tuple(takes), tuple(backchannels), events, heard.duration, stimulus, source, settings)


def stretches(speech: Track, breath: float) -> list[tuple[Span, float]]:
    """Speech joined over silences shorter than `breath`, each stretch with the seconds spoken in it."""
    out: list[tuple[Span, float]] = []
    for span in speech:
        if out and span.start - out[-1][0].end < breath:
            before, spoken = out[-1]
            out[-1] = Span(before.start, span.end), spoken + span.duration
        else:
            out.append((span, span.duration))
    return out


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _inside(words: list[Word], stretch: Span) -> list[str]:
    low = bisect_left(words, stretch.start - WORD_SLACK, key=_middle)
    high = bisect_right(words, stretch.end + WORD_SLACK, key=_middle)
    return [word.text for word in words[low:high]]


def reply_after(scene: Scene, since: float, until: float) -> Span | None:
    """The first speech that takes the floor and begins in [since, until]."""
    found = first_from(scene.takes, since)
    return found if found is not None and found.start <= until else None
