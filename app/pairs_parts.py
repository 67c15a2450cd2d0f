"""Who judges, writes and speaks in a build of pairs, by their names on the command line.

A language model's replies lie in the dataset's folder, so a build that was stopped asks nothing twice. It is asked for
the content axes only, unless others are named: what it says of times flags nothing, it can only be compared.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from app.judging import REPLIES, JudgeOptions, open_judge
from app.pairs_grid import Grid
from eval.judge.critic import JudgeCritic
from eval.judge.desk import Desk
from eval.judge.writer import JudgeWriter
from eval.pairs.chosen import Parts
from eval.pairs.content import CONTENT_AXES
from eval.pairs.spoken import SpokenVoice
from eval.pairs.synthetic import LAYOUT, SyntheticTruth
from eval.speakers import open_speaker
from eval.words import Aligner
from model.tiny.clips import ClipLibrary, vocabulary
from model.tiny.codec import load_codec
from model.tiny.truth import WorldTruth
from model.tiny.voice import TinyVoice, recorded_clips
from model.tiny.world import load_world
from protocols.audio import read_channel
from protocols.duplex import Audio
from protocols.errors import InputError, unknown_name
from protocols.replies import ReplyVoice

JUDGES = ("none", "world", "synthetic", "llm")
VOICES = "none, clips:FILE (of train-base), recorded:TABLE.tsv or speaker:NAME"


class Judging(NamedTuple):
    """Who judges content, as the command line names it."""

    judge: str = "none"
    voice: str = "none"
    axes: tuple[str, ...] = ()  # none: all that the judge is asked by itself
    llm: JudgeOptions = JudgeOptions()


class Staffed(NamedTuple):
    """The parts, and the desk that their questions to a language model go over."""

    parts: Parts
    desk: Desk | None = None


def staff(wanted: Judging, out: Path, systems: Sequence[str], grid: Grid, synthetic: bool) -> Staffed:
    """`systems`: names and versions of whom the talks are with; `synthetic`: every talk is a synthetic one."""
    if wanted.judge == "llm":
        return _with_llm(wanted, out, systems, grid, synthetic)
    if wanted.llm.judged:
        raise InputError("--judge-url and --judge-model belong to --judge llm")
    if wanted.judge == "synthetic" or synthetic:
        truth = SyntheticTruth() if wanted.judge == "synthetic" else None
        axes = _axes(wanted, ("factuality",), ("factuality",)) if truth else ()
        return Staffed(Parts(LAYOUT, truth, axes, truth, truth, truth))
    layout, voice = grid.layout, open_voice(wanted.voice, grid)
    if wanted.judge == "none":
        return Staffed(Parts(layout, voice=voice))
    world = WorldTruth(load_world())
    axes = _axes(wanted, world.axes, tuple(a for a in CONTENT_AXES if a in world.axes))
    return Staffed(Parts(layout, world, axes, world, world, voice))


def _with_llm(wanted: Judging, out: Path, systems: Sequence[str], grid: Grid, synthetic: bool) -> Staffed:
    desk = Desk(open_judge(wanted.llm, out / REPLIES, systems), gather=True)
    critic, writer = JudgeCritic(desk), JudgeWriter(desk)
    layout, voice = (LAYOUT, SyntheticTruth()) if synthetic else (grid.layout, open_voice(wanted.voice, grid))
    axes = _axes(wanted, critic.axes, CONTENT_AXES)
    return Staffed(Parts(layout, critic, axes, writer, writer, voice), desk)


def _axes(wanted: Judging, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    for axis in wanted.axes:
        if axis not in known:
            raise unknown_name("axis", axis, known)
    return tuple(dict.fromkeys(wanted.axes)) or tuple(default)


def open_voice(name: str, grid: Grid) -> ReplyVoice | None:
    """Who says what is written, in the grid's tokens if there are any; None for nobody."""
    kind, _, place = name.partition(":")
    words = vocabulary(load_world())
    if name == "none":
        return None
    if kind == "clips" and place:
        return TinyVoice(
            ClipLibrary.load(Path(place).expanduser()).agent, words, f"clips:{Path(place).name}", load_codec()
        )
    if kind == "recorded" and place:
        clips = recorded_clips(_recordings(Path(place).expanduser()), words, load_codec(), Aligner())
        return TinyVoice(clips, words, f"recorded:{Path(place).name}", load_codec())
    if kind == "speaker" and place:
        return grid.voice(SpokenVoice(open_speaker(place), Aligner()))
    raise InputError(f"unknown voice {name!r}; write {VOICES}")


def _recordings(table: Path) -> dict[str, Audio]:
    """Replies in the agent's voice by their text, from a TSV with the columns Reply and Reply Filename."""
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise InputError(f"cannot read {table}: {error.strerror}") from error
    if not rows or not {"Reply", "Reply Filename"} <= set(rows[0]):
        raise InputError(f"{table} lacks the columns Reply and Reply Filename")
    return {row["Reply"]: read_channel(table.parent / row["Reply Filename"]) for row in rows}
