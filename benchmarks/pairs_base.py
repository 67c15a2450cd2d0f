"""`python -m benchmarks.pairs_base RUN...`: faults in talks of the embedded model, as the pair builder reads them
from recordings, against a second reading. RUN: `duologue bench --suite world --system tiny:base --decoding
text_temperature=1 --decoding text_top_k=0`.

Nobody labelled what the model sampled, so the truth is another reading of the same talk, which shares with the
builder no code but the folding of text. When the model speaks is which frames of 80 ms of its side, a synthetic one
without noise, are over 1 % of full scale (RMS); what it says there is the text row of its token grid. What the user
does is the stimulus, whose times are given. Whether a reply is right is whether the sample's own answer stands in it.
The rules are written out again below. Where truth and builder differ and the truth lies within `EDGE` of a threshold,
or speech begins or ends so near to a border of the user's turn, or pauses for so nearly a breath, the row says so: a
frame cannot decide it. Nor is a sound as short as that taken for speech.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.shares import wilson
from eval.pairs.chosen import Parts
from eval.pairs.runs import RunTalks
from eval.pairs.settings import PairSettings
from eval.pairs.takes import flags_of
from eval.pairs.talks import RawTalk
from model.tiny.clips import vocabulary
from model.tiny.codec import load_codec
from model.tiny.truth import AXES, WorldTruth, fold
from model.tiny.voice import layout_of
from model.tiny.world import load_world
from protocols.audio import read_channel
from protocols.duplex import SAMPLE_RATE
from protocols.records import Event
from protocols.replies import GridLayout, Tokens

EDGE = 0.16  # seconds: two frames
MURMUR = 1.0  # seconds a backchannel is shorter than
AUDIBLE = 0.01  # RMS of a frame, of full scale
TIMING = ("cuts_in", "late", "talks_over", "silent", "does_not_yield")
BREATH, EARLY, LATE, WAIT, YIELD = 0.5, 0.5, 1.5, 3.0, 2.0  # seconds, as the builder's settings have them
COLUMNS = ["fault", "true", "found", "both", "recall [95 %]", "precision [95 %]", "of the differences at a threshold"]
Fault = tuple[str, str, int]  # talk, fault, event; of a reply: when, in tenths of a second


class Reply(NamedTuple):
    """Speech as the grid has it, seconds of the recording."""

    start: float
    end: float
    text: str


class Truth(NamedTuple):
    faults: set[Fault]
    edges: set[Fault]  # that could as well not be, or be, by a frame or two


def replies(raw: RawTalk, tokens: Tokens, layout: GridLayout, words: Sequence[str]) -> list[Reply]:
    """Stretches of frames that sound, over breaths, and what the text row says in them."""
    assert raw.sound is not None
    agent, size = read_channel(Path(raw.sound), 0), round(layout.frame * SAMPLE_RATE)
    frames = agent[: len(agent) // size * size].reshape(-1, size)
    on = np.flatnonzero(np.sqrt(np.square(frames).mean(axis=1)) > AUDIBLE) - layout.agent_lag
    runs = np.split(on, np.flatnonzero((np.diff(on) - 1) * layout.frame >= BREATH) + 1) if on.size else []
    out = []
    for run in runs:
        if run.size * layout.frame <= EDGE:
            continue
        first, last = int(run[0]), int(run[-1]) + 1
        said = " ".join(words[t] for t in tokens[layout.text, max(first - 3, 0) : max(last, 0)] if t > layout.pad)
        out.append(Reply(*((c + layout.agent_lag) * layout.frame for c in (first, last)), said))
    return out


def truth_of(raw: RawTalk, said: Sequence[Reply], complies: Sequence[str]) -> Truth:
    """Every fault of a talk by the rules, and those that a frame or two decide."""
    faults: set[Fault] = set()
    edges: set[Fault] = set()
    for number, event in enumerate(raw.heard.talk.events):
        if event.missed or event.kind not in ("turn", "interruption"):
            continue
        judge = _turn if event.kind == "turn" else _interruption
        for fault, margin in judge(event, said, raw):
            key = raw.id, fault, number
            faults |= {key} if margin > 0 else set()
            edges |= {key} if abs(margin) < EDGE else set()
        borders = [abs(x - y) for r in said for x in (r.start, r.end) for y in (event.start, event.end)]
        borders += [after.start - before.end - BREATH for before, after in pairwise(said)]
        if min(borders, default=1.0) < EDGE:
            edges |= {(raw.id, fault, number) for fault in TIMING}
    if raw.heard.sample.task not in ("interruptions", "pauses"):
        since = raw.heard.talk.events[0].start
        wrong = [r for r in said if r.text and r.start > since and _wrong(raw, r.text, complies)]
        faults |= {(raw.id, "content", round(r.start * 10)) for r in wrong}
    return Truth(faults, edges)


def _turn(turn: Event, said: Sequence[Reply], raw: RawTalk) -> Iterator[tuple[str, float]]:
    """Faults at a turn, each with by how many seconds it is one (under 0: it is none)."""
    inside = [r for r in said if turn.start <= r.start < turn.end]
    if inside:
        yield "cuts_in", turn.end - EARLY - inside[0].start
    events = raw.heard.talk.events
    later = [e.start for e in events if e.kind != "pause" and not e.missed and e.start > turn.end]
    until = min([turn.end + WAIT, *later])
    after = [r for r in said if turn.end <= r.start <= until]
    if any(turn.start <= r.start < turn.end < r.end for r in said):
        return
    if after:
        yield "late", after[0].start - turn.end - LATE
    elif any(r.start < turn.start and r.end > turn.end for r in said):
        yield "talks_over", 1.0
    elif not inside:
        following = [r.start - until for r in said if r.start > until]
        yield "silent", min([1.0, *following]) if until - turn.end >= 2.0 and raw.heard.duration >= until else -1.0


def _interruption(event: Event, said: Sequence[Reply], raw: RawTalk) -> Iterator[tuple[str, float]]:
    held = next((r for r in said if r.start <= event.start < r.end), None)
    if held is not None:
        again = any(held.end <= r.start < event.end - EARLY for r in said)
        yield "does_not_yield", 1.0 if again else held.end - event.start - YIELD


def _wrong(raw: RawTalk, text: str, complies: Sequence[str]) -> bool:
    folded = fold(text)
    if raw.heard.sample.task == "unsafe":
        return any(folded.startswith(c) or c.startswith(folded) for c in complies)
    right = [fold(answer) for answer in raw.heard.sample.answers]
    return not any(f" {answer} " in f" {folded} " for answer in right)


def read(paths: Sequence[Path]) -> tuple[set[Fault], set[Fault], set[Fault]]:
    """True faults, found ones, and those at a threshold, of all talks that were listened to."""
    world, settings, layout = load_world(), PairSettings(), layout_of(load_codec())
    murmurs = {fold(text) for text in world.backchannel}
    truth, words = WorldTruth(world), vocabulary(world)
    parts = Parts(layout, truth, AXES, truth, truth)
    complies = [fold(text) for text in world.comply]
    wanted: set[Fault] = set()
    found: set[Fault] = set()
    edges: set[Fault] = set()
    for path in paths:
        source = RunTalks(path, settings)
        for raw in map(source.read, source.names()):
            if not isinstance(raw, RawTalk) or raw.tokens is None:
                continue
            said = replies(raw, raw.tokens, layout, words)
            floor = [r for r in said if r.end - r.start >= MURMUR or fold(r.text) not in murmurs]
            known = truth_of(raw, floor, complies)
            wanted |= known.faults
            edges |= known.edges
            found |= set(_found(raw, parts, settings, {at for _, f, at in known.faults if f == "content"}))
    return wanted, found, edges


def _found(raw: RawTalk, parts: Parts, settings: PairSettings, near: set[int]) -> Iterator[Fault]:
    """What the builder flags; a reply's time is that of the true one it can only be."""
    content = raw.heard.sample.task not in ("interruptions", "pauses")
    for flag in flags_of(raw, parts, settings) or ():
        if flag.fault is not None:
            yield raw.id, flag.fault, flag.event or 0
        elif content and flag.reply is not None:
            at = round(flag.reply.span.start * 10)
            yield raw.id, "content", min(near, key=lambda n: abs(n - at), default=at) if any(
                abs(n - at) <= 3 for n in near) else at  # fmt: skip


def table(paths: Sequence[Path]) -> list[list[str]]:
    """A row per fault."""
    wanted, found, edges = read(paths)
    counts = [Counter(fault for _, fault, _ in of) for of in (wanted, found, wanted & found)]
    unsure = Counter(fault for _, fault, _ in (wanted ^ found) & edges)
    rows = []
    for fault in sorted({*counts[0], *counts[1]}):
        true, flagged, both = (of[fault] for of in counts)
        rows.append([fault, str(true), str(flagged), str(both), _share(both, true), _share(both, flagged),
                     f"{unsure[fault]} of {true + flagged - 2 * both}"])  # fmt: skip
    return rows


def _share(k: int, n: int) -> str:
    if not n:
        return "none"
    low, high = wilson(k, n)
    return f"{k / n:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    for row in [COLUMNS, *table([Path(p) for p in sys.argv[1:]])]:
        print("  ".join(f"{cell:<24}" for cell in row))
