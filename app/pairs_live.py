"""Live talks as raw talks: what the system was given and said, in its own time, with its tokens and the person's marks.

Pairs are made on the recording as modelled, whose frames are the columns of the token grid. A mark is stamped where it
was heard; it is moved to where the system then was, by what was skipped and by the lag of that moment. Who marked is
known to a study's export alone (`raters`). A void talk is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from app.live.events import Lag, LiveEvent, Skipped, Text, read_events
from app.live.folder import LiveTalk, read_talk
from eval.metrics.base import Heard
from eval.pairs.runs import with_events
from eval.pairs.settings import PairSettings
from eval.pairs.source import Name
from eval.pairs.talks import Exclusion, Mark, RawTalk
from eval.talk import words_of
from protocols.audio import read_sound, resample
from protocols.contracts import ActivityDetector, Transcriber
from protocols.duplex import SAMPLE_RATE, TextPiece
from protocols.errors import DuologueError
from protocols.records import CHANNELS, Activity, Conversation, Listening, Recording, Sample, Transcript
from protocols.replies import Tokens

AXIS = {"cut-off": "interruption", "too-slow": "unresponsiveness", "ignored": "unresponsiveness",
        "wrong": "factuality", "unsafe": "safety", "nice": "helpfulness"}  # fmt: skip
GOOD = ("nice",)
NOBODY = "talker"  # who marked, where no study says


def is_live(folder: Path) -> bool:
    """Whether a folder holds live talks."""
    return next(folder.glob("*/talk.json"), None) is not None


class LiveTalks:
    """A Source over a folder of live talks, or one of a study (STUDY/talks)."""

    def __init__(
        self, folder: Path, detector: ActivityDetector, transcriber: Transcriber | None, settings: PairSettings,
        raters: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.folder, self.settings = folder, settings
        self._detector, self._transcriber, self._raters = detector, transcriber, dict(raters)
        self._talks = {path.parent.name: read_talk(path.parent) for path in sorted(folder.glob("*/talk.json"))}
        self.source = f"live:{folder.resolve().name}:{detector.source}"
        self.systems = sorted({talk.system for talk in self._talks.values()})

    def names(self) -> Iterator[Name]:
        for key, talk in self._talks.items():
            sound = talk.modelled.sha256 if talk.modelled else None
            yield Name(f"{self.folder.resolve().name}/{key}", key, sound)

    def read(self, name: Name) -> RawTalk | Exclusion:
        talk, place = self._talks[name.key], self.folder / name.key
        if talk.status != "done":
            return Exclusion(name.id, "void", talk.reason or f"the talk is {talk.status}")
        if talk.modelled is None:
            return Exclusion(name.id, "no_recording", "nothing was recorded")
        try:
            return self._raw(name, talk, talk.modelled, place)
        except (DuologueError, OSError, ValueError) as error:
            return Exclusion(name.id, "unreadable", str(error))

    def _raw(self, name: Name, talk: LiveTalk, recording: Recording, place: Path) -> RawTalk:
        sound = read_sound(place / recording.path)
        sides = [resample(channel, sound.sample_rate, SAMPLE_RATE) for channel in sound.samples]
        spans = [self._detector.spans(side, SAMPLE_RATE) for side in sides]
        log = read_events((place / "events.jsonl").read_bytes()) if (place / "events.jsonl").exists() else []
        pieces = [(e.frame, TextPiece(e.text, e.start, e.end)) for e in log if isinstance(e, Text)]
        said = (Transcript("agent", "model", words_of(pieces, talk.frame)),) if pieces else ()
        user = self._transcriber.words(sides[1], SAMPLE_RATE, spans[1]) if self._transcriber else ()
        held = Conversation(name.id, 0, talk.system, talk.seed, recording, transcripts=said)
        activity = tuple(Activity(c, self._detector.source, s) for c, s in zip(CHANNELS, spans, strict=True))
        sample = Sample(name.id, "live", (), recording.duration)
        heard = Heard(sample, held, Listening(name.id, 0, activity), recording.duration)
        path = str((place / recording.path).resolve())
        marks = marks_of(name, talk, log, self._raters.get(name.key, NOBODY))
        return RawTalk(name.id, with_events(heard, user, self.settings), _tokens(place, talk), user, path, marks)


def _tokens(place: Path, talk: LiveTalk) -> Tokens | None:
    if talk.tokens is None:
        return None
    return np.asarray(np.load(place / talk.tokens.path, allow_pickle=False), np.int16)


def marks_of(name: Name, talk: LiveTalk, log: Sequence[LiveEvent], rater: str) -> tuple[Mark, ...]:
    """What the person marked, in seconds of the recording as modelled; kinds of a study's own are axes of that name."""
    return tuple(
        Mark(name.id, modelled_at(mark.sample, talk, log), AXIS.get(mark.kind, mark.kind), rater, mark.kind not in GOOD)
        for mark in talk.marks
    )


def modelled_at(sample: int, talk: LiveTalk, log: Sequence[LiveEvent]) -> float:
    """When the system said what is heard at a sample of the page's clock, in its own seconds."""
    skipped = sum(min(e.n, sample - e.sample) for e in log if isinstance(e, Skipped) and e.sample < sample)
    lags = [e.ms / 1e3 for e in log if isinstance(e, Lag) and e.sample <= sample]
    lag = lags[-1] if lags else talk.lag_p50 or 0.0
    return max((sample - skipped) / talk.rate - lag, 0.0)
