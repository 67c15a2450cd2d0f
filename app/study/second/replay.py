"""A finished talk as a rater of the second stage meets it: by ear with its picture and turns, or as turns to read.

Nothing here says which system it was: words are a recogniser's, the same for all arms, and the sound has no name but
its place in the rater's plan.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session

from analysis.report.timeline import Outcome, Timeline, levels
from analysis.report.timeline_page import svg
from app.live.away import here
from app.live.folder import read_talk
from app.study import raters
from app.study.config import Mode
from app.study.second.words import Turn, read_words, turns_of
from app.study.tables import MarkRow, RaterRow
from protocols.audio import read_sound
from protocols.errors import InputError
from protocols.records import Activity, Transcript

STEPS = 800  # of the picture of a level
PLAYED = "played"  # share of the talk that the page has played


class Replay(NamedTuple):
    mode: Mode
    turns: list[Turn]
    picture: str | None  # SVG; None where nothing is heard


def replay(folder: Path, mode: Mode) -> Replay:
    """What a page shows. InputError or StoreError if the talk's sound or words cannot be read."""
    heard = read_words(folder)
    drawn = None
    if mode == "sound":
        drawn = svg(timeline_of(sound_of(folder), "The talk", heard.transcripts, heard.activity))
    return Replay(mode, turns_of(heard), drawn)


def timeline_of(
    sound: Path, name: str, transcripts: Sequence[Transcript], activity: Sequence[Activity] = (),
    outcomes: Sequence[Outcome] = (),
) -> Timeline:  # fmt: skip
    """A talk as heard, ready to be drawn."""
    found = read_sound(sound)
    agent, user = found.samples
    return Timeline(
        system="", sample=name, take=0, text="", duration=len(agent) / found.sample_rate,
        agent_level=levels(agent, STEPS), user_level=levels(user, STEPS), activity=tuple(activity),
        transcripts=tuple(transcripts), events=(), outcomes=tuple(outcomes), guards=(), sound=sound,
    )  # fmt: skip


def sound_of(folder: Path) -> Path:
    """The recording as heard, both sides in it. InputError if there is none."""
    record = read_talk(folder)
    if record.heard is None:
        raise InputError("this talk has no recording")
    return here(folder / Path(record.heard.path).name)


def keep_review(
    session: Session, rater: RaterRow, folder: Path, mode: Mode, data: Mapping[str, str], kinds: Collection[str]
) -> None:
    """Store the turns a rater has marked, and how much of the talk was played. InputError for what no page sends. The
    marks of a preview are read and not kept: they would lie in somebody's talk."""
    turns = {f"mark-{k}": turn for k, turn in enumerate(turns_of(read_words(folder))) if turn.channel == "agent"}
    for name, kind in data.items():
        if name.startswith("mark-") and kind:
            if name not in turns or kind not in kinds:
                raise InputError(f"{kind[:40]!r} is no mark of a turn, or {name[:40]!r} no turn of the system's")
            if rater.source == "preview":
                continue
            turn = turns[name]
            sample = round(turn.start * read_talk(folder).rate)
            session.add(MarkRow(talk_id=folder.name, rater_id=rater.id, kind=kind, sample=sample, at=turn.start))
    if mode == "sound":
        raters.note(session, rater, "played", talk=folder.name, share=_share(data.get(PLAYED, "")))


def _share(text: str) -> float | None:
    """None for what is no share: the page could not tell."""
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 <= share <= 1.05 else None
