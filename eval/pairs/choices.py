"""Choices between two talks that are one up to a moment as pairs; people's choices in particular.

The talks must share their past. Where both have tokens it is their common columns, bit for bit, and the agent is the
one who departs from it: two talks in which the user says something else are no pair, whichever is liked better. A
choice about talks without tokens says where they part (`at`). What a person's pair is about follows from what differs:
other words are content, the same words sooner or later are timing. A study's preferences are read as they were
exported; most of them are between talks that never had one past, and are counted as such.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from eval.pairs.branch import Branch, column_from, recorded, time_of
from eval.pairs.build import SHARD, PartInfo, PlanInfo, read_part, take_folder, write_shard
from eval.pairs.checks import misfit
from eval.pairs.chosen import Parts, Proposal
from eval.pairs.dataset import DatasetInfo, finish
from eval.pairs.faults import Flag
from eval.pairs.making import Made, TalkPairs
from eval.pairs.rows import SCHEMA, PairRow, TalkRow, joined, rows_of
from eval.pairs.settings import PairSettings, TimingFault
from eval.pairs.sites import Site
from eval.pairs.source import Name, Source
from eval.pairs.talks import Exclusion, RawTalk, lines_of, replies_of, scene_of
from protocols.base import Value
from protocols.errors import InputError, StoreError
from protocols.records import Evidence, Rating
from protocols.replies import GridLayout


class Choice(Value, frozen=True):
    """Which of two talks (by id, "RUN/SAMPLE.TAKE") a person prefers from where they part."""

    a: str
    b: str
    preferred: Literal["a", "b", "tie"]
    rater: str
    at: float | None = None  # where they part; None: found in their tokens
    axis: str = "preference"


class Preferred(NamedTuple):
    """One talk before another (by id), whoever says so."""

    better: str
    worse: str
    by: str
    at: float | None = None  # where they part; None: found in their tokens
    axis: str = "preference"
    flags: tuple[Flag, ...] = ()  # what is wrong with the worse; none given: what differs says it
    tie: bool = False


PREFERENCE = "preference"  # a study's question
ANSWERS: dict[object, Literal["a", "b", "tie"]] = {"first": "a", "second": "b", "tie": "tie"}


def read_choices(path: Path) -> list[Choice]:
    """Choices from lines of JSON, or the preferences among a study's ratings; StoreError for a line that is none."""
    choices: list[Choice] = []
    ratings: list[Rating] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            if b'"record"' in line:
                ratings.append(msgspec.json.decode(line, type=Rating))
            else:
                choices.append(msgspec.json.decode(line, type=Choice))
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path}, line {number} is not a choice: {error}") from error
    amended = {rating.amends for rating in ratings}
    for r in ratings:
        if r.question == PREFERENCE and r.id not in amended and r.answer in ANSWERS and len(r.talks) == 2:
            choices.append(Choice(r.talks[0], r.talks[1], ANSWERS[r.answer], r.rater))
    if not choices:
        raise InputError(f"{path} holds no choice between two talks")
    return choices


def build_choices(
    choices: Sequence[Choice], source: Source, out: Path, parts: Parts, settings: PairSettings
) -> DatasetInfo:
    """A dataset of people's choices, in the form of any other."""
    ordered = ((c, (c.b, c.a) if c.preferred == "b" else (c.a, c.b)) for c in choices)
    preferred = [Preferred(*talks, f"rater:{c.rater}", c.at, c.axis, tie=c.preferred == "tie") for c, talks in ordered]
    return build_preferred(preferred, source, out, parts, settings)


def by_name(names: Sequence[Name]) -> dict[str, Name]:
    """Talks by their id, and by what stands after its first slash where only one is called so."""
    short = Counter(name.id.partition("/")[2] for name in names)
    alone = {s: name for name in names if short[s := name.id.partition("/")[2]] == 1 and s}
    return {**alone, **{name.id: name for name in names}}


def build_preferred(
    choices: Sequence[Preferred], source: Source, out: Path, parts: Parts, settings: PairSettings
) -> DatasetInfo:
    """A dataset with a pair per choice; goes on where it was stopped."""
    known = list(source.names())
    names = by_name(known)
    listed = joined([repr(c) for c in choices])
    digest = joined([listed, *(f"{n.id} {n.sound_sha256}" for n in known), repr(settings.described())])
    by = {"choices": ",".join(sorted({c.by.partition(":")[0] for c in choices}))}
    grid = parts.layout.described() if parts.layout.streams else {}
    plan = PlanInfo(SCHEMA, digest, len(choices), SHARD, (source.source,), by, settings.described(), grid)
    take_folder(out, plan)
    made: list[PartInfo] = []
    for first in range(0, len(choices), SHARD):
        group, done = choices[first : first + SHARD], read_part(out, len(made))
        made.append(done or _shard(out, len(made), enumerate(group, first), names, source, parts, settings))
    return finish(out, made)


def _shard(
    out: Path, number: int, choices: Iterable[tuple[int, Preferred]], names: Mapping[str, Name], source: Source,
    parts: Parts, settings: PairSettings,
) -> PartInfo:  # fmt: skip
    talks: list[TalkRow] = []
    pairs: list[PairRow] = []
    excluded: list[Exclusion] = []
    n = 0
    for index, choice in choices:
        n += 1
        made = _pair(index, choice, names, source, parts.layout, settings)
        if isinstance(made, Exclusion):
            excluded.append(made)
            continue
        raw, found = made
        rows = rows_of(raw, found, parts, settings)
        talks.append(rows.talk)
        pairs += rows.pairs
    return write_shard(out, number, n, talks, pairs, excluded)


def _pair(
    index: int, choice: Preferred, names: Mapping[str, Name], source: Source, layout: GridLayout, settings: PairSettings
) -> tuple[RawTalk, TalkPairs] | Exclusion:
    if choice.tie:
        return Exclusion(choice.worse, "tie", f"{choice.by} finds it as good as {choice.better}")
    for talk in (choice.better, choice.worse):
        if talk not in names:
            return Exclusion(talk, "unreadable", "no source holds this talk")
    chosen, rejected = source.read(names[choice.better]), source.read(names[choice.worse])
    for raw in (chosen, rejected):
        if isinstance(raw, Exclusion):
            return raw
        if (why := misfit(raw.tokens, layout)) is not None:
            return Exclusion(raw.id, "other_layout", why)
    assert isinstance(chosen, RawTalk)
    assert isinstance(rejected, RawTalk)
    column = _parting(chosen, rejected, choice, layout)
    if isinstance(column, Exclusion):
        return column
    renamed = rejected._replace(id=f"{choice.worse}~{index}")  # one talk may be in many choices
    return renamed, TalkPairs((_made(choice, chosen, renamed, column, layout, settings),), 0, (), ())


def _parting(a: RawTalk, b: RawTalk, choice: Preferred, layout: GridLayout) -> int | Exclusion:
    """The first column in which two talks differ, or why there is none to be used."""
    if choice.at is not None:
        return max(column_from(choice.at, layout), 0)
    if a.tokens is None or b.tokens is None:
        why = "the talks have no tokens, and the choice does not say where they part"
        return Exclusion(choice.worse, "no_difference", why)
    n = min(a.tokens.shape[1], b.tokens.shape[1])
    differ = a.tokens[:, :n] != b.tokens[:, :n]
    columns = np.flatnonzero(differ.any(axis=0))
    if not columns.size:
        return Exclusion(choice.worse, "no_difference", "both talks are the same tokens as far as they go")
    first = int(columns[0])
    own = np.r_[layout.text, np.r_[layout.agent]]
    if first == 0 or not differ[own, first].any():
        where = f"the user goes on differently at column {first}, before the agent does"
        return Exclusion(choice.worse, "no_shared_past", where if first else "the talks share no past")
    return first


def _made(
    choice: Preferred, chosen: RawTalk, rejected: RawTalk, column: int, layout: GridLayout, settings: PairSettings
) -> Made:
    scenes = [scene_of(raw, settings) for raw in (chosen, rejected)]
    replies = [replies_of(raw, scene) for raw, scene in zip((chosen, rejected), scenes, strict=True)]
    since = time_of(column, layout)
    branches: list[Branch] = []
    for raw, said in zip((chosen, rejected), replies, strict=True):
        until = min(raw.heard.duration, since + settings.longest_reply)
        branches.append(recorded(raw, said, column, until, layout))
    shown = Evidence("preferred against", "agent", since, branches[1].until, choice.by)
    reply = next((r for r in replies[1] if r.span.end > since), None)
    event = next((e for _, e in reversed(scenes[1].of("turn", "interruption")) if e.start <= since), None)
    timing = _timing(branches[0], branches[1])
    flags = choice.flags or (Flag(timing, choice.axis, since, None, reply, (shown,), choice.by),)
    site = Site(since, reply, event, flags)
    context = tuple(lines_of(rejected, replies[1], since))
    return Made(Proposal(site, branches[0], branches[1], None, None, None), branches[0], branches[1], 0, context)


def _timing(chosen: Branch, rejected: Branch) -> TimingFault | None:
    """The same words at other times are timing: too soon, too late, or not at all; other words are content."""
    if chosen.words and not rejected.words:
        return "silent"
    if [w.text for w in chosen.words] != [w.text for w in rejected.words] or not chosen.spans or not rejected.spans:
        return None
    return "cuts_in" if rejected.spans[0].start < chosen.spans[0].start else "late"
