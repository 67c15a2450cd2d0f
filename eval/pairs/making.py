"""One talk in, its pairs out: flags, sites, proposals, the paper's rules, and a last look at what was chosen.

Rules: a context runs from the start to the talk's first flagged reply; that pair alone has rank 0 and makes the unique
set. At most `per_talk - 1` of the further flagged replies, in order of time, make pairs of higher rank, whose contexts
hold the bad replies before them; where the first makes no pair, no other takes its rank. All pairs of a talk share one
window start, so that the trainer can run their common past once. The diverging column is the first one that differs,
found by comparing, not by construction.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from eval.metrics.base import Heard
from eval.pairs.branch import Branch, time_of
from eval.pairs.chosen import Parts, Proposal, Talk, Unusable, propose
from eval.pairs.content import content_flags, judged
from eval.pairs.faults import Flag, timing_flags
from eval.pairs.marks import MarkedTurn, mark_flags, marked_events, marked_turns
from eval.pairs.settings import PairSettings
from eval.pairs.sites import sites_of
from eval.pairs.talks import Exclusion, RawTalk, lines_of, replies_of, scene_of
from protocols.contracts import Line, Waiting
from protocols.errors import DuologueError
from protocols.records import CHANNELS, Activity, Conversation, Listening, Transcript
from protocols.timeline import Span, clip, track


class Made(NamedTuple):
    """A pair of a talk. Columns are None for talks without a token grid."""

    proposal: Proposal
    chosen: Branch
    rejected: Branch
    rank: int  # 0: the talk's first flagged reply; else the how many-th further one that made a pair
    context: tuple[Line, ...]

    @property
    def column(self) -> int:
        return self.chosen.column


class TalkPairs(NamedTuple):
    pairs: tuple[Made, ...]
    window_start: int  # column
    exclusions: tuple[Exclusion, ...]
    flags: tuple[Flag, ...]
    marked: tuple[MarkedTurn, ...] = ()  # people beside who else judges, in a talk that somebody marked


def pairs_of(raw: RawTalk, parts: Parts, settings: PairSettings) -> TalkPairs:
    """Every pair of a talk, and why a flagged reply gave none. Raises Waiting where an answer is not there yet."""
    scene = scene_of(raw, settings)
    replies = replies_of(raw, scene)
    timing = timing_flags(scene, replies, settings, parts.unfinished)
    flags = timing + mark_flags(raw, replies)
    exclusions: list[Exclusion] = []
    marked = marked_events(raw, scene, timing)
    if parts.critic is not None:
        verdicts, failed = judged(raw, replies, parts.critic, parts.axes)
        flags += content_flags(verdicts, replies, parts.critic.source, settings)
        exclusions += [Exclusion(raw.id, "unjudged", f"{axis}: {why}") for axis, why in failed.items()]
        marked += marked_turns(raw, replies, verdicts, parts.critic.source, settings)
    talk = Talk(raw, scene, replies, tuple(sites_of(flags, scene)))
    if not flags:
        return TalkPairs((), 0, (*exclusions, Exclusion(raw.id, "no_fault", "nothing was flagged")), (), marked)
    made, unusable = _made_of(talk, parts, settings)
    exclusions += unusable
    kept, start = _window(made, parts, settings)
    for left in made[len(kept) :]:
        where = f"the pair at {time_of(left.column, parts.layout):.2f} s"
        exclusions.append(
            Exclusion(raw.id, "does_not_fit", f"{where} does not fit into {settings.window} s with the rest")
        )
    return TalkPairs(tuple(kept), start, tuple(exclusions), tuple(flags), marked)


def _made_of(talk: Talk, parts: Parts, settings: PairSettings) -> tuple[list[Made], list[Exclusion]]:
    """The pairs of a talk's flagged replies, and why the others gave none."""
    made: list[Made] = []
    unusable: list[Exclusion] = []
    waiting = further = 0
    for n, site in enumerate(talk.sites):
        if further == settings.per_talk - 1 and n > 0:
            break
        try:
            pair = _parted(propose(talk, site, parts, settings), talk, further + 1 if n else 0, parts)
            _look_again(talk, pair, parts, settings)
            made.append(pair)
        except Waiting:
            waiting += 1  # it may come to a pair, so nothing is asked that only matters if it does not
        except Unusable as error:
            unusable.append(Exclusion(talk.raw.id, error.reason, f"{site.kind} at {site.at:.2f} s: {error}"))
            continue
        except DuologueError as error:
            unusable.append(Exclusion(talk.raw.id, "unjudged", f"{site.kind} at {site.at:.2f} s: {error}"))
            continue
        further += n > 0
    if waiting:
        raise Waiting
    return made, unusable


def _parted(proposal: Proposal, talk: Talk, rank: int, parts: Parts) -> Made:
    """The proposal from the first column on in which its sides differ."""
    chosen, rejected = proposal.chosen, proposal.rejected
    if chosen.columns is not None and rejected.columns is not None:
        n = min(chosen.columns.shape[1], rejected.columns.shape[1])
        differ = np.flatnonzero((chosen.columns[:, :n] != rejected.columns[:, :n]).any(axis=0))
        if not differ.size:
            raise Unusable("no_difference", "both continuations are the same tokens as far as they go")
        same = int(differ[0])
        chosen = chosen._replace(column=chosen.column + same, columns=chosen.columns[:, same:])
        rejected = rejected._replace(column=rejected.column + same, columns=rejected.columns[:, same:])
        if chosen.column < 1:
            raise Unusable("does_not_fit", "there is no context before it")
    elif chosen.words == rejected.words and chosen.spans == rejected.spans:
        raise Unusable("no_difference", "both continuations are the same")
    since = time_of(chosen.column, parts.layout)
    return Made(proposal, chosen, rejected, rank, tuple(lines_of(talk.raw, talk.replies, since)))


def _look_again(talk: Talk, pair: Made, parts: Parts, settings: PairSettings) -> None:
    """The chosen continuation, judged as the talk was; Unusable if it has a fault of a kind that was flagged."""
    site = pair.proposal.site
    heard = continued(talk.raw, pair.chosen, parts)
    raw = RawTalk(talk.raw.id, heard, None, talk.raw.user_words)
    scene = scene_of(raw, settings)
    replies = replies_of(raw, scene)
    flagged = {(f.fault, f.event) for f in site.flags if f.fault is not None}
    for flag in timing_flags(scene, replies, settings, parts.unfinished):
        if (flag.fault, flag.event) in flagged:
            raise Unusable("chosen_faulty", f"the chosen continuation has the fault as well: {flag.fault}, {flag.note}")
    if site.content and parts.recheck and parts.critic is not None:
        axes = tuple(dict.fromkeys(f.axis for f in site.content if f.source == parts.critic.source))
        starts = {span.start for span in pair.chosen.spans}
        again = judged(raw, replies, parts.critic, axes)
        if again.failed:
            raise Unusable("unjudged", f"the chosen reply could not be judged: {next(iter(again.failed.values()))}")
        for flag in content_flags(again.verdicts, replies, parts.critic.source, settings):
            if flag.reply is not None and any(abs(flag.reply.span.start - s) < 0.5 for s in starts):
                raise Unusable("chosen_faulty", f"the critic flags the chosen reply as well: {flag.axis}")


def continued(raw: RawTalk, branch: Branch, parts: Parts) -> Heard:
    """The talk as it would have been heard, had it gone on with a branch and then ended in silence."""
    sample, talk, listening, _ = raw.heard
    since = time_of(branch.column, parts.layout)
    user_until = branch.until if branch.user_until is None else branch.user_until
    duration = max(branch.until, user_until) + 10.0
    before = Span(0.0, since) if since > 0 else None
    agent = track([*(clip(raw.heard.spans("agent"), before) if before else ()), *branch.spans])
    user = clip(raw.heard.spans("user"), Span(0.0, user_until)) if user_until > 0 else ()
    source = raw.heard.activity_source
    known = raw.heard.model_transcript() or raw.heard.speech_transcript()
    words = tuple(w for w in (known.words if known else ()) if w.start < since) + branch.words
    past = max(user_until, since)
    events = tuple(
        e if e.start < past else msgspec.structs.replace(e, missed="after the continuation") for e in talk.events
    )
    activity = tuple(Activity(c, source, spans) for c, spans in zip(CHANNELS, (agent, user), strict=True))
    said = (Transcript("agent", "model", words),)
    new = Conversation(talk.sample, talk.take, talk.system, talk.seed, talk.recording, talk.reason,
                       talk.user_offset, events, said)  # fmt: skip
    return Heard(sample, new, Listening(listening.sample, listening.take, activity), duration)


def _window(made: Sequence[Made], parts: Parts, settings: PairSettings) -> tuple[list[Made], int]:
    """The pairs that fit into one window that begins at one column, and that column."""
    kept = list(made)
    if settings.window is None:
        return kept, 0
    frames = int(settings.window / parts.layout.frame)
    while kept:
        ends = [m.column + max(_length(m.chosen), _length(m.rejected)) for m in kept]
        start = max(0, max(ends) - frames)
        if start < min(m.column for m in kept):
            return kept, start
        kept.pop()
    return kept, 0


def _length(branch: Branch) -> int:
    return 0 if branch.columns is None else int(branch.columns.shape[1])
