"""The user's side said anew by another voice, its words at their times, so that no one's voice is in a dataset.

Words in a row are one text-to-speech sentence, found again in its sound by forced alignment and moved to their times
by stretching (`eval.warp`); where that cannot be, each word is said by itself. The agent's side stays as it is, to the
sample. The user's rows of a token grid are those of the new sound. What a word was said like (loudness, tone) is lost,
and so is all sound of the user's that nobody wrote down: a talk with such a stretch is left out.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from eval.metrics.base import Heard
from eval.pairs.events import words_as_speech
from eval.pairs.sides import both_sides
from eval.pairs.source import Altered, Name, Source
from eval.pairs.spoken import WordAligner
from eval.pairs.talks import WORDS_AT, Exclusion, RawTalk, user_text
from eval.warp import warped
from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.encoding import encoded, to_pcm16
from protocols.errors import InputError
from protocols.records import Activity, Recording, Word
from protocols.replies import GridLayout, Tokens

AROUND = 0.2  # seconds of sound on either side of a turn, which alignment wants
JOINED = 0.08  # seconds between words that are said in one breath
SHORTEST = 0.06  # of a word
SPEEDS = 0.5, 2.0  # that a speaker can be asked for

Encode = Callable[[Audio], Tokens]  # the user's sound, [n] at 24 kHz, as codes [K, frames of the recording]


class Revoiced(Altered):
    """A source whose users have another voice."""

    def __init__(
        self, source: Source, speaker: Speaker, aligner: WordAligner, layout: GridLayout, encode: Encode | None
    ) -> None:
        super().__init__(source, f"user:{speaker.source}")
        self._speaker, self._aligner = speaker, aligner
        self._layout, self._encode = layout, encode

    def alter(self, name: Name, raw: RawTalk) -> RawTalk | Exclusion:
        if raw.sound is None:
            return Exclusion(name.id, "no_recording", "there is no sound of the agent to keep")
        try:
            agent, user = both_sides(Path(raw.sound))
            words = raw.user_words or self._dated(raw, user)
            if (silent := unspoken(raw, words)) is not None:
                return Exclusion(name.id, "no_words", f"what the user says at {silent:.2f} s was not written down")
            voice = self._speaker.voices[
                int(hashlib.sha256(raw.id.encode()).hexdigest(), 16) % len(self._speaker.voices)
            ]
            new = said_at(words, len(agent) / SAMPLE_RATE, self._speaker, voice, self._aligner)
            return self._with(raw, agent, new, words)
        except InputError as error:
            return Exclusion(name.id, "not_revoiced", str(error))

    def _dated(self, raw: RawTalk, user: Audio) -> tuple[Word, ...]:
        """Words of a stimulus whose text is known, found in its sound."""
        out: list[Word] = []
        for event in raw.heard.talk.events:
            if event.missed or event.kind not in WORDS_AT or not (text := user_text(raw, event)):
                continue
            begin = max(event.start - AROUND, 0.0)
            part = user[round(begin * SAMPLE_RATE) : round((event.end + AROUND) * SAMPLE_RATE)]
            found = self._aligner.times(text, part, SAMPLE_RATE)
            out += [Word(w.text, w.start + begin, w.end + begin) for w in found or ()]
        return tuple(sorted(out, key=lambda w: w.start))

    def _with(self, raw: RawTalk, agent: Audio, user: Audio, words: tuple[Word, ...]) -> RawTalk:
        data = encoded(to_pcm16(np.stack([agent, user], axis=1)), SAMPLE_RATE, "FLAC")
        sha = hashlib.sha256(data).hexdigest()
        path = f"sounds/{sha[:32]}.flac"
        sample, talk, listening, duration = raw.heard
        talk = msgspec.structs.replace(talk, recording=Recording(path, SAMPLE_RATE, len(agent), sha))
        spoken = Activity("user", f"{self._speaker.source}/words", words_as_speech(words))
        heard = msgspec.structs.replace(
            listening, activity=(*(a for a in listening.activity if a.channel == "agent"), spoken)
        )
        return raw._replace(
            heard=Heard(sample, talk, heard, duration), tokens=self._grid(raw.tokens, user), user_words=words,
            sound=path, sound_data=data,
        )  # fmt: skip

    def _grid(self, tokens: Tokens | None, user: Audio) -> Tokens | None:
        """The grid with the user's rows heard anew."""
        if tokens is None:
            return None
        if self._encode is None:
            raise InputError("nobody is there who could make this system's tokens of the new voice")
        codes, out = self._encode(user)[:, self._layout.user_lag :], tokens.copy()
        out[self._layout.user] = np.array(self._layout.user_silence, np.int16)[:, None]
        out[self._layout.user, : codes.shape[1]] = codes[:, : tokens.shape[1]]
        return out


def unspoken(raw: RawTalk, words: Sequence[Word]) -> float | None:
    """Where the user says something that has no words; None if nowhere."""
    if not words:
        return 0.0
    middles = [(w.start + w.end) / 2 for w in words]
    spans = [e for e in raw.heard.talk.events if e.kind in WORDS_AT and not e.missed]
    return next((e.start for e in spans if not any(e.start <= m <= e.end for m in middles)), None)


def said_at(words: Sequence[Word], seconds: float, speaker: Speaker, voice: str, aligner: WordAligner) -> Audio:
    """[seconds * 24,000] with each word at its time, in one voice. InputError: a word cannot be said."""
    out = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for run in breaths(words):
        found = _sentence(run, speaker, voice, aligner)
        pieces = [(run[0].start, found)] if found is not None else [
            (word.start, _sentence([word], speaker, voice, None)) for word in run]  # fmt: skip
        for start, audio in pieces:
            assert audio is not None
            first = round(start * SAMPLE_RATE)
            room = out[first : first + len(audio)]
            room += audio[: len(room)]
    return out


def breaths(words: Sequence[Word]) -> list[list[Word]]:
    """Words that follow each other closely, none of them shorter than can be said and none over the next."""
    out: list[list[Word]] = []
    for word in sorted(words, key=lambda w: w.start):
        last = out[-1][-1] if out else None
        start = word.start if last is None else max(word.start, last.end)
        placed = Word(word.text, start, max(word.end, start + SHORTEST))
        if last is not None and start - last.end < JOINED:
            out[-1].append(placed)
        else:
            out.append([placed])
    return out


def _sentence(run: Sequence[Word], speaker: Speaker, voice: str, aligner: WordAligner | None) -> Audio | None:
    """A run of words in their own time; None where they cannot be found in what was said."""
    text, length = " ".join(w.text for w in run), run[-1].end - run[0].start
    plain = speaker.say(text, voice)
    speed = min(max(len(plain) / SAMPLE_RATE / length, SPEEDS[0]), SPEEDS[1])
    audio = speaker.say(text, voice, round(speed, 2))
    ends = len(audio) / SAMPLE_RATE
    if len(run) == 1:
        return warped(audio, [(0.0, 0.0), (ends, length)])
    found = aligner.times(text, audio, SAMPLE_RATE) if aligner is not None else None
    if found is None or len(found) != len(run):
        return None
    inner = [(f.start, w.start - run[0].start) for f, w in zip(found[1:], run[1:], strict=True)]
    return warped(audio, [(0.0, 0.0), *inner, (ends, length)])
