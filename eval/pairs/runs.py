"""Talks of a run folder as raw talks: what was said, what our instruments heard, and the system's own tokens.

Rows are found by their place in the files, so a run of any length costs a few bytes a talk.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from eval.metrics.base import Heard
from eval.pairs.events import events_of
from eval.pairs.marks import marks_of_ratings
from eval.pairs.settings import PairSettings
from eval.pairs.source import Name
from eval.pairs.talks import Exclusion, Mark, RawTalk
from protocols.base import from_json
from protocols.errors import StoreError
from protocols.records import Conversation, Listening, Rating, Recording, Sample, Word
from protocols.store import FILES, R, Run


class _Key(msgspec.Struct):
    """As much of a row as it takes to find it."""

    sample: str = ""
    take: int = 0
    id: str = ""
    recording: Recording | None = None


class RunTalks:
    """A Source over a run folder. The folder's ratings are marks, their talks named "RUN/SAMPLE.TAKE", as ours, or
    "SAMPLE.TAKE"."""

    def __init__(self, path: Path, settings: PairSettings) -> None:
        self.run = Run(path)
        self.settings = settings
        self._rated = marks_of_ratings(self.run.read(Rating), settings)
        self.source = f"run:{path.resolve().name}:{self.run.info.system}:{self.run.info.system_version}"
        self._name = path.resolve().name
        self._samples = {key.id: at for at, key in self._places(Sample)}
        self._talks = {(key.sample, key.take): (at, key.recording) for at, key in self._places(Conversation)}
        self._heard = {(key.sample, key.take): at for at, key in self._places(Listening)}

    def names(self) -> Iterator[Name]:
        for (sample, take), (_, recording) in self._talks.items():
            yield Name(f"{self._name}/{sample}.{take}", f"{sample}\n{take}", recording.sha256 if recording else None)

    def read(self, name: Name) -> RawTalk | Exclusion:
        sample_id, _, take = name.key.partition("\n")
        key = (sample_id, int(take))
        talk = self._row(self._talks[key][0], Conversation)
        if talk.recording is None:
            return Exclusion(name.id, "no_recording", talk.reason or "there is no recording")
        if key not in self._heard or sample_id not in self._samples:
            return Exclusion(name.id, "not_heard", "the talk was not listened to; give the bench command again")
        listening = self._row(self._heard[key], Listening)
        sample = self._row(self._samples[sample_id], Sample)
        said = next((t.words for t in listening.transcripts if t.channel == "user"), ())
        heard = Heard(sample, talk, listening, talk.recording.duration)
        if not talk.events:
            heard = with_events(heard, said, self.settings)
        try:
            tokens = None if talk.tokens is None else self.run.read_tokens(talk.tokens)
        except StoreError as error:
            return Exclusion(name.id, "unreadable", str(error))
        sound = str((self.run.path / talk.recording.path).resolve())
        return RawTalk(name.id, heard, tokens, said, sound, self._marks_of(name, sample_id, take))

    def _marks_of(self, name: Name, sample: str, take: str) -> tuple[Mark, ...]:
        return (*self._rated.get(name.id, ()), *self._rated.get(f"{sample}.{take}", ()))

    def _places(self, kind: type[R]) -> Iterator[tuple[int, _Key]]:
        """Where each row of a kind begins, and its key; a cut last line is passed over."""
        path = self.run.path / FILES[kind]
        if not path.exists():
            return
        decoder, at = msgspec.json.Decoder(_Key), 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                try:
                    yield at, decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise StoreError(f"{path}: the row at byte {at} cannot be read: {error}") from error
                at += len(line)

    def _row(self, at: int, kind: type[R]) -> R:
        with (self.run.path / FILES[kind]).open("rb") as file:
            file.seek(at)
            return from_json(file.readline(), kind)


def with_events(heard: Heard, user_words: tuple[Word, ...], settings: PairSettings) -> Heard:
    """The same talk with events read off who speaks when."""
    events = events_of(heard.spans("agent"), heard.spans("user"), user_words, heard.activity_source, settings)
    talk = msgspec.structs.replace(heard.talk, events=events)
    return Heard(heard.sample, talk, heard.listening, heard.duration)
