"""The two tables of a dataset: pairs, and the talks whose past they share.

A talk's tokens are stored once, from the window's start to its last diverging column; a pair's context is the first
`context_frames` columns of it. Tokens are int16, little endian, row after row: `numpy.frombuffer(x, "<i2")
.reshape(streams, -1)`. A row's digest is of its values, not of the file, so another writer of Parquet gives the same.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from eval.pairs.branch import Branch, Cut, time_of
from eval.pairs.chosen import Parts
from eval.pairs.making import Made, TalkPairs
from eval.pairs.settings import PairSettings
from eval.pairs.talks import RawTalk
from protocols.base import Value
from protocols.duplex import SAMPLE_RATE
from protocols.encoding import flac_of
from protocols.records import Evidence, Word
from protocols.replies import Tokens

SCHEMA = 1
SOUNDS = "sounds/"  # of a dataset: what voices said anew, named by its content
Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = ("train", "validation")


class Spoken(Value, frozen=True):
    """A line of the context's transcript."""

    channel: str
    start: float
    end: float
    text: str


class Stretch(Value, frozen=True):
    """A stretch of time."""

    start: float
    end: float


class TalkRow(Value, frozen=True):
    """The past that a talk's pairs share."""

    talk: str
    split: Part
    streams: int | None  # None, as all of the grid: the system gave no tokens
    window_start_frame: int
    frames: int | None
    tokens: bytes | None
    duration: float
    sound: str | None  # two-channel file, left agent, right user
    sound_sha256: str | None
    system: str
    lines: tuple[Spoken, ...]  # up to the last diverging moment
    user_speech: tuple[Stretch, ...]  # as recorded, as far as any of its pairs goes


class PairRow(Value, frozen=True):
    """One preference. Times are seconds of the talk."""

    id: str
    talk: str
    split: Part
    rank: int  # 0: the first of its talk; those alone make the set with unique contexts
    kind: str  # content, cuts_user, silent, mixed
    faults: tuple[str, ...]  # timing faults by name
    axes: tuple[str, ...]
    strength: float | None  # 0 to 1; None: whoever flagged it gave no score
    diverges_at: float
    context_frames: int | None
    context_sha256: str | None
    chosen_tokens: bytes | None
    rejected_tokens: bytes | None
    chosen_words: tuple[Word, ...]
    rejected_words: tuple[Word, ...]
    chosen_sound: tuple[Cut, ...]  # what the agent's channel plays from diverges_at on
    rejected_sound: tuple[Cut, ...]
    chosen_until: float
    rejected_until: float
    user_silent_from: float | None  # in the chosen continuation
    user_end: float | None  # of the turn it is about; None: it is about none
    chosen_latency: float | None  # first sound minus user_end; None: no speech, or no turn
    rejected_latency: float | None
    turn: int | None  # of the agent, from 1; None: the reply that never came
    evidence: tuple[Evidence, ...]
    judges: tuple[str, ...]
    writer: str | None  # None: the agent's own words
    voice: str | None
    seed: int


class Rows(NamedTuple):
    talk: TalkRow
    pairs: tuple[PairRow, ...]
    sounds: dict[str, bytes]  # file name -> FLAC, of what a voice said


def rows_of(raw: RawTalk, made: TalkPairs, parts: Parts, settings: PairSettings) -> Rows:
    """A talk with pairs as rows."""
    start = made.window_start
    last = max(m.column for m in made.pairs)
    part = split_of(raw.id, settings)
    grid = None if raw.tokens is None else raw.tokens[:, start:last]
    recording = raw.heard.talk.recording
    lines = max((m.context for m in made.pairs), key=len)
    until = max(max(m.chosen.until, m.rejected.until) for m in made.pairs)
    talk = TalkRow(
        talk=raw.id,
        split=part,
        streams=None if grid is None else grid.shape[0],
        window_start_frame=start,
        frames=None if grid is None else grid.shape[1],
        tokens=_bytes(grid),
        duration=raw.heard.duration,
        sound=raw.sound,
        sound_sha256=None if recording is None else recording.sha256,
        system=raw.heard.talk.system,
        lines=tuple(Spoken(*line) for line in lines),
        user_speech=tuple(Stretch(*span) for span in raw.heard.spans("user") if span.start < until),
    )
    sounds: dict[str, bytes] = {}
    if raw.sound is not None and raw.sound_data is not None:
        sounds[raw.sound] = raw.sound_data
    pairs = tuple(_pair(raw, m, start, part, parts, settings, sounds) for m in made.pairs)
    return Rows(talk, pairs, sounds)


def _pair(
    raw: RawTalk, m: Made, start: int, part: Part, parts: Parts, settings: PairSettings, sounds: dict[str, bytes]
) -> PairRow:
    site, since = m.proposal.site, time_of(m.column, parts.layout)
    context = None if raw.tokens is None else raw.tokens[:, start : m.column]
    user_end = None if site.event is None else site.event.end
    faults = tuple(dict.fromkeys(f.fault for f in site.flags if f.fault is not None))
    return PairRow(
        id=f"{raw.id}#{m.rank}",
        talk=raw.id,
        split=part,
        rank=m.rank,
        kind=site.kind,
        faults=faults,
        axes=tuple(dict.fromkeys(f.axis for f in site.flags)),
        strength=m.proposal.strength if m.proposal.strength is not None else site.strength,
        diverges_at=since,
        context_frames=None if context is None else context.shape[1],
        context_sha256=None if context is None else hashlib.sha256(context.tobytes()).hexdigest(),
        chosen_tokens=_bytes(m.chosen.columns),
        rejected_tokens=_bytes(m.rejected.columns),
        chosen_words=m.chosen.words,
        rejected_words=m.rejected.words,
        chosen_sound=(*m.chosen.cuts, *_kept(m.chosen, sounds)),
        rejected_sound=m.rejected.cuts,
        chosen_until=m.chosen.until,
        rejected_until=m.rejected.until,
        user_silent_from=m.chosen.user_until,
        user_end=user_end,
        chosen_latency=_latency(m.chosen, user_end),
        rejected_latency=_latency(m.rejected, user_end),
        turn=None if site.reply is None else site.reply.turn,
        evidence=tuple(e for f in site.flags for e in f.evidence),
        judges=tuple(dict.fromkeys(f.source for f in site.flags)),
        writer=m.proposal.writer,
        voice=m.proposal.voice,
        seed=raw.heard.talk.seed,
    )


def _kept(branch: Branch, sounds: dict[str, bytes]) -> list[Cut]:
    """New sound as files named by their content."""
    cuts = []
    for at, audio in branch.new:
        encoded = flac_of(audio)
        name = f"{SOUNDS}{hashlib.sha256(encoded).hexdigest()[:32]}.flac"
        sounds[name] = encoded
        cuts.append(Cut(name, 0.0, len(audio) / SAMPLE_RATE, at))
    return cuts


def _latency(branch: Branch, user_end: float | None) -> float | None:
    return None if user_end is None or not branch.spans else branch.spans[0].start - user_end


def _bytes(tokens: Tokens | None) -> bytes | None:
    return None if tokens is None else np.ascontiguousarray(tokens, dtype="<i2").tobytes()


def split_of(talk: str, settings: PairSettings) -> Part:
    """Train or validation, by the talk's name and the seed alone, so that every mix agrees."""
    digest = hashlib.sha256(f"{settings.seed}/{talk}".encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") < settings.validation_share * 2**64 else "train"


def digest_of(rows: Iterable[Value]) -> str:
    """Of the values of rows, in their order."""
    sha = hashlib.sha256()
    encode = msgspec.msgpack.Encoder().encode
    for row in rows:
        data = encode(row)
        sha.update(len(data).to_bytes(8, "little") + data)
    return sha.hexdigest()


def digest_of_part(*tables: Sequence[Value]) -> str:
    """Of a shard's talks, pairs, exclusions and, if there are any, marked turns."""
    return joined([digest_of(rows) for rows in (*tables[:3], *(t for t in tables[3:] if t))])


def tokens_of(data: bytes | None, streams: int | None) -> Tokens | None:
    """A cell of tokens as int16 [streams, frames]."""
    return None if data is None or streams is None else np.frombuffer(data, "<i2").reshape(streams, -1)


def joined(digests: Sequence[str]) -> str:
    """One digest of several."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
