"""What stimuli are cut from: things a user may say, by role, spoken for the purpose or recorded before.

The one non-obvious decision: a spoken text with a bar in it is said in parts, so that a pause can be put where a
speaker would stop and its edges are made, not estimated; a recording is cut at its quietest moment instead. Either way
all sound lands as 16-bit WAV in the folder of the set, whose bytes no encoder's version changes.
This file decides neither what is asked nor when.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import msgspec

from eval.tasks.questions import Question
from eval.tasks.spoken import MARGIN, speak
from eval.tasks.user import quietest_moment
from protocols.audio import cached_channel
from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.encoding import encoded, to_pcm16
from protocols.errors import InputError, unknown_name
from protocols.records import Key
from protocols.store import file_name
from protocols.timeline import Span, shift

Role = Literal[
    "question", "paused", "repair", "filler", "long", "interruption", "backchannel", "background", "side_talk",
    "short", "monologue",
]  # fmt: skip
ROLES: tuple[Role, ...] = get_args(Role)
# Recordings that only are questions can also stand in these roles.
STAND_INS: tuple[Role, ...] = ("paused", "long", "interruption", "background", "short", "monologue")
MONOLOGUE = 5  # recordings that make one
EDGE = 0.1  # seconds of a recording kept around its speech
SOUND = "sound"  # folder of the sounds, inside the set's


class StimulusTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What users say, as `protocols/library/stimuli/texts.yaml` holds it."""

    questions: tuple[str, ...]
    paused: tuple[str, ...]
    repairs: tuple[str, ...]
    fillers: tuple[str, ...]
    long: tuple[str, ...]
    interruptions: tuple[str, ...]
    backchannels: tuple[str, ...]
    background: tuple[str, ...]
    side_talk: tuple[str, ...]
    short: tuple[str, ...]
    monologues: tuple[tuple[str, ...], ...]

    def parts(self) -> dict[Role, list[tuple[str, ...]]]:
        """By role, the parts of each text."""
        by_role: dict[Role, Sequence[str]] = {
            "question": self.questions, "paused": self.paused, "repair": self.repairs, "filler": self.fillers,
            "long": self.long, "interruption": self.interruptions, "backchannel": self.backchannels,
            "background": self.background, "side_talk": self.side_talk, "short": self.short,
        }  # fmt: skip
        split = {role: [tuple(p.strip() for p in text.split("|")) for text in texts] for role, texts in by_role.items()}
        return {**split, "monologue": list(self.monologues)}


class Clip(NamedTuple):
    """A stretch of a sound file; `speech` counts from the stretch's start."""

    path: str  # relative to the set's folder
    start: float
    end: float | None  # None: to the end of the file
    length: float
    speech: Span


class Utterance(NamedTuple):
    """Something a user says, in the parts between which the user may stop."""

    id: str  # of what is said, whoever says it
    text: str
    voice: str | None
    parts: tuple[Clip, ...]
    source: str  # how the edges of its speech are known


class Material(Protocol):
    """Utterances by role."""

    def count(self, role: Role) -> int:
        """How many different ones there are."""
        ...

    @property
    def voices(self) -> Sequence[str | None]: ...

    def get(self, role: Role, number: int, voice: str | None) -> Utterance:
        """The number-th of a role (counting on from the first after the last), in that voice where there is it."""
        ...


class SpokenMaterial:
    """Texts in the voices of a speaker. A sound is made when it is first asked for."""

    def __init__(self, texts: StimulusTexts, speaker: Speaker, folder: Path) -> None:
        self._parts = texts.parts()
        self._speaker, self._folder = speaker, folder
        self.voices: tuple[str | None, ...] = tuple(speaker.voices) or (None,)

    def count(self, role: Role) -> int:
        return len(self._parts[role])

    def get(self, role: Role, number: int, voice: str | None) -> Utterance:
        number %= self.count(role)
        parts = self._parts[role][number]
        name = f"{role}-{number:02d}"
        clips = tuple(self._clip(f"{name}.{i}", text, voice) for i, text in enumerate(parts))
        return Utterance(name, " ".join(parts), voice, clips, "made")

    def _clip(self, name: str, text: str, voice: str | None) -> Clip:
        path = f"{SOUND}/{name}.{file_name(Key(voice or 'voice', 0))}.wav"
        if not (self._folder / path).exists():
            write_wav(self._folder / path, speak(self._speaker, text, voice))
        n = len(cached_channel(self._folder / path))
        return Clip(path, 0.0, None, n / SAMPLE_RATE, Span(MARGIN / SAMPLE_RATE, (n - MARGIN) / SAMPLE_RATE))


class RecordedMaterial:
    """Recordings with roles. Plain questions stand in for what they can; other roles need recordings of their own."""

    def __init__(self, questions: Sequence[Question], roles: Mapping[str, Role], folder: Path) -> None:
        self._folder = folder
        plain = [q for q in questions if roles[q.id] == "question"]
        self._by_role: dict[Role, list[Question]] = {
            role: [q for q in questions if roles[q.id] == role] or (plain if role in STAND_INS else [])
            for role in ROLES
        }
        self.voices: tuple[str | None, ...] = tuple(sorted({q.voice for q in questions if q.voice})) or (None,)

    def count(self, role: Role) -> int:
        return len(self._by_role[role])

    def get(self, role: Role, number: int, voice: str | None) -> Utterance:
        pool = self._by_role[role]
        pool = [q for q in pool if voice is None or q.voice == voice] or pool
        chosen = [pool[(number + i) % len(pool)] for i in range(MONOLOGUE if role == "monologue" else 1)]
        clips = [clip for q in chosen for clip in self._clips(q, role in ("paused", "repair"))]
        text = " ".join(q.text for q in chosen)
        return Utterance(f"{role}-{chosen[0].id}", text, chosen[0].voice, tuple(clips), chosen[0].speech_source)

    def _clips(self, question: Question, cut: bool) -> list[Clip]:
        path = f"{SOUND}/{file_name(Key(question.id, 0))}.wav"
        if not (self._folder / path).exists():
            write_wav(self._folder / path, cached_channel(question.file))
        low, high = max(question.speech.start - EDGE, 0.0), min(question.speech.end + EDGE, question.duration)
        speech = shift((question.speech,), -low)[0]
        if not cut:
            return [Clip(path, low, high, high - low, speech)]
        at = quietest_moment(question)
        return [
            Clip(path, low, at, at - low, Span(speech.start, at - low)),
            Clip(path, at, high, high - at, Span(0.0, question.speech.end - at)),
        ]


def role_of(name: str, where: str) -> Role:
    """The role a table names."""
    found = next((role for role in ROLES if role == name.strip().lower().replace(" ", "_")), None)
    if found is None:
        raise InputError(f"{where}: {unknown_name('role', name, ROLES)}")
    return found


def write_wav(path: Path, audio: Audio) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(to_pcm16(audio), SAMPLE_RATE, "WAV"))
