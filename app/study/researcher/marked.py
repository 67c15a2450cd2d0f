"""Raters' marks as the pair builder reads them: a folder of talks as heard, and one line of JSON per mark.

    duologue pairs build talks --marks marks.jsonl --out pairs

A mark says that the reply which sounds at its moment, or the last one before, said something bad (or, for "nice",
good). Marks of timing ("it cut me off") are set beside what the builder finds by program. Only talks whose ratings
count are in it. The builder runs elsewhere: it needs a codec and a free machine, and the server's machine has talks to
hold. What raters prefer between two talks is not in it: the builder's choices are between talks with one past, and a
rater's two talks have each their own.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.pairs_live import AXIS
from app.study.people import Judged
from app.study.researcher.browse import GOOD_MARKS, sound_of
from app.study.tables import TalkRow
from eval.pairs.talks import Mark
from protocols.errors import InputError

FOLDER = "talks"


def marked_talks(people: Sequence[Judged]) -> list[TalkRow]:
    """Talks that count and in which something was marked."""
    return [
        talk for one in people for talk in one.person.talks if talk.kind == "talk" and talk.marks and one.uses(talk.id)
    ]


def marks_of(talk: TalkRow, name: str) -> list[Mark]:
    """A talk's marks, under the name the builder knows the talk by."""
    return [
        Mark(name, mark.at, AXIS.get(mark.kind, mark.kind), mark.rater_id, mark.kind not in GOOD_MARKS)
        for mark in talk.marks
    ]


def write_marked(people: Sequence[Judged], root: Path, out: Path) -> None:
    """Write marks.jsonl and the marked talks into a new ZIP. InputError if there are none."""
    talks = marked_talks(people)
    if not talks:
        raise InputError("no talk that counts has a mark yet")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # FLAC does not shrink
        lines = [msgspec.json.encode(mark) + b"\n" for talk in talks for mark in marks_of(talk, f"{FOLDER}/{talk.id}")]
        archive.writestr("marks.jsonl", b"".join(lines))
        for talk in talks:
            archive.write(sound_of(root, talk, "heard"), f"{FOLDER}/{talk.id}.flac")
