"""Talks that were held elsewhere as a run of ours: recordings, and what is told of them (words, faults of length).

Nothing is driven: each sample's two sounds become one recording, and what is wrong with them (no output, another
length, another rate) becomes an outcome of that sample. The sounds start together, at the sample's t = 0. Hearing them
is `eval.hear_all`'s.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from eval.listen import Told, length_guard
from eval.tasks.import_fdb import fdb_samples
from eval.tasks.import_moshi import moshi_files, moshi_words
from protocols.audio import read_channel
from protocols.duplex import Audio
from protocols.errors import InputError
from protocols.records import Conversation, Sample, Transcript, Word
from protocols.store import Run


class Held(NamedTuple):
    """One talk as it lies on disk; `words` None: the folder does not say what was said."""

    agent: Audio  # [n] at 24 kHz
    user: Audio
    words: tuple[Word, ...] | None
    source: str  # of the words


class Missing(Exception):
    """This sample was never answered; the text says what is not there."""


def import_talks(
    run: Run,
    system: str,
    samples: Iterable[Sample],
    read: Callable[[str], Held],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Told]:
    """Store every sample's talk that the run lacks; what is told of those that were added.

    A sample without output is a talk that failed, with the reason. A file that is there and cannot be read is an
    InputError that names it.
    """
    done = {talk.key.sample for talk in run.read(Conversation)}
    told: dict[str, Told] = {}
    with run.writing() as writing:
        for sample in samples:
            if sample.id in done:
                continue
            try:
                held = read(sample.id)
            except Missing as missing:
                writing.append(Conversation(sample.id, 0, system, 0, None, str(missing)))
            else:
                n = max(len(held.agent), len(held.user))
                audio = np.stack([np.pad(c, (0, n - len(c))) for c in (held.agent, held.user)])
                talk = Conversation(sample.id, 0, system, 0, None, "not stored yet", events=sample.events)
                recording = writing.write_audio(talk.key, audio)
                writing.append(msgspec.structs.replace(talk, recording=recording, reason=None))
                told[sample.id] = told_of(held)
            done.add(sample.id)
            progress(len(done))
    return told


def told_of(held: Held) -> Told:
    """What a folder says of a talk besides its sound."""
    fault = length_guard(len(held.agent), len(held.user))
    words = None if held.words is None else Transcript("agent", held.source, held.words)
    return Told(words, () if fault is None else (fault,))


def read_fdb(folder: Path) -> Callable[[str], Held]:
    """Reads {set}/{id}/input.wav, output.wav and output.json by sample id; a clean twin's begin with "clean_"."""
    places = fdb_samples(folder)

    def read(name: str) -> Held:
        place = places[name]
        output = place.file("output.wav")
        if not output.is_file():
            raise Missing(f"no {output.name} in {name}")
        words = _fdb_words(place.file("output.json"))
        return Held(read_channel(output), read_channel(place.file("input.wav")), words, "given:output.json")

    return read


def read_moshi(folder: Path) -> Callable[[str], Held]:
    """Reads a stereo file and the main speaker's words by sample id."""
    files = moshi_files(folder)

    def read(name: str) -> Held:
        file = files[name]
        return Held(read_channel(file, 0), read_channel(file, 1), moshi_words(file).agent, "given:alignments")

    return read


class Chunk(msgspec.Struct):
    text: str
    timestamp: tuple[float | None, float | None]


class Output(msgspec.Struct):
    chunks: list[Chunk]
    text: str = ""


def _fdb_words(path: Path) -> tuple[Word, ...] | None:
    """The agent's words; None without the file. A word without a start cannot be placed and is passed over, one
    without an end lasts until the next."""
    if not path.is_file():
        return None
    try:
        chunks = msgspec.convert(json.loads(path.read_text(encoding="utf-8")), Output).chunks
        dated = sorted(((c.timestamp[0], c) for c in chunks if c.timestamp[0] is not None), key=lambda d: d[0])
        words = []
        for i, (start, chunk) in enumerate(dated):
            end = chunk.timestamp[1]
            if end is None:
                end = dated[i + 1][0] if i + 1 < len(dated) else start
            words.append(Word(chunk.text.strip(), start, end))
        return tuple(words)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise InputError(f"{path} is not as Full-Duplex-Bench writes it: {error}") from error
