"""A folder of recordings as raw talks: two-channel files (left agent, right user) or ID.agent and ID.user beside each
other, with or without alignments in ID.json as moshi-finetune lays them out:

    {"alignments": [["hello", [0.5, 0.8], "SPEAKER_MAIN"], ...]}

SPEAKER_MAIN is the agent; every other speaker is the user. Given alignments are also when each side speaks, if both
sides have some; otherwise a detector listens. A transcriber writes down what no alignment gives, if there is one.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from eval.metrics.base import Heard
from eval.pairs.checks import swapped_sound
from eval.pairs.events import words_as_speech
from eval.pairs.runs import with_events
from eval.pairs.settings import PairSettings
from eval.pairs.sides import both_sides, is_one_side, other_side
from eval.pairs.source import Name
from eval.pairs.talks import Exclusion, RawTalk
from protocols.audio import sample_hashes
from protocols.contracts import ActivityDetector, Transcriber
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError
from protocols.records import CHANNELS, Activity, Conversation, Listening, Recording, Sample, Transcript, Word
from protocols.store import sha256_of

SOUNDS = {".wav", ".flac", ".ogg", ".opus"}
MAIN = "SPEAKER_MAIN"


class _Aligned(msgspec.Struct):
    """ID.json; what else it holds is not ours."""

    alignments: list[tuple[str, tuple[float, float], str]] = []


class FolderTalks:
    """A Source over a folder of recordings."""

    def __init__(
        self, folder: Path, detector: ActivityDetector, transcriber: Transcriber | None, settings: PairSettings
    ) -> None:
        if not folder.is_dir():
            raise InputError(f"no folder of recordings at {folder}")
        self.folder, self.settings = folder, settings
        self._detector, self._transcriber = detector, transcriber
        self.source = f"folder:{folder.resolve().name}:{detector.source}"

    def names(self) -> Iterator[Name]:
        for path in sorted(self.folder.iterdir()):
            if path.suffix.lower() in SOUNDS and not (path.stem.endswith(".user") and other_side(path).exists()):
                name = path.stem.removesuffix(".agent").removesuffix(".user")
                yield Name(f"{self.folder.resolve().name}/{name}", path.name, self._sha256(path))

    def _sha256(self, path: Path) -> str | None:
        files = [path, other_side(path)] if is_one_side(path) else [path]
        try:
            return hashlib.sha256(b"".join(sample_hashes(p) for p in files if p.exists())).hexdigest()
        except InputError:
            return None  # `read` says what is wrong with it

    def read(self, name: Name) -> RawTalk | Exclusion:
        path = self.folder / name.key
        try:
            audio = both_sides(path)
            agent, user = self._words(self._aligned(path))
        except InputError as error:
            reason = "missing_side" if "side" in str(error) else "unreadable"
            return Exclusion(name.id, reason, str(error))  # type: ignore[arg-type]
        if swapped_sound(agent, audio):
            return Exclusion(name.id, "swapped", "the agent's words sound on the user's channel: they are swapped")
        if not agent and not user and self._transcriber is None and self._aligned(path).exists():
            return Exclusion(name.id, "no_words", f"{self._aligned(path).name} holds no words; --asr would write them")
        agent, user = self._transcribed(audio, agent, user)
        if agent and user:
            spans = [words_as_speech(words) for words in (agent, user)]
            source = "alignments"
        else:
            spans = [self._detector.spans(channel, SAMPLE_RATE) for channel in audio]
            source = self._detector.source
        duration = audio.shape[1] / SAMPLE_RATE
        recording = Recording(path.name, SAMPLE_RATE, audio.shape[1], sha256_of(path))
        said = (Transcript("agent", source, agent),) if agent else ()
        talk = Conversation(name.id, 0, self.source, 0, recording, transcripts=said)
        activity = tuple(Activity(c, source, s) for c, s in zip(CHANNELS, spans, strict=True))
        heard = Heard(Sample(name.id, "folder", (), duration), talk, Listening(name.id, 0, activity), duration)
        events = with_events(heard, user, self.settings)
        return RawTalk(name.id, events, None, user, str(path.resolve()))

    def _aligned(self, path: Path) -> Path:
        return path.with_name(path.stem.removesuffix(".agent") + ".json")

    def _words(self, path: Path) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
        if not path.exists():
            return (), ()
        try:
            given = msgspec.json.decode(path.read_bytes(), type=_Aligned).alignments
            words = [(Word(text, start, end), who) for text, (start, end), who in given]
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise InputError(f"{path.name} is not a file of alignments: {error}") from error
        ordered = sorted(words, key=lambda pair: (pair[0].start, pair[0].end))
        return tuple(w for w, who in ordered if who == MAIN), tuple(w for w, who in ordered if who != MAIN)

    def _transcribed(
        self, audio: Audio, agent: tuple[Word, ...], user: tuple[Word, ...]
    ) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
        if self._transcriber is None:
            return agent, user
        out = []
        for channel, words in zip(audio, (agent, user), strict=True):
            heard = self._detector.spans(channel, SAMPLE_RATE) if not words else ()
            out.append(words or self._transcriber.words(channel, SAMPLE_RATE, heard))
        return out[0], out[1]
