"""Several takes of one sample as pairs: a take before one with more faults, both the system's own.

The takes differ by chance alone, so what is preferred is something the system already does, which is what a preference
can teach. A take is better than another if everything wrong with it is wrong with the other too, and not the other way
round; a late answer is neither better nor worse than a wrong one. So a pair is about the faults that make the
difference, and a preference for timing needs no take in which everything is right. Faults are those of any build:
timing by program, content by a critic. A take that could not be judged is in no pair.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from eval.pairs.choices import Preferred
from eval.pairs.chosen import Parts
from eval.pairs.content import content_flags, judged
from eval.pairs.faults import Flag, timing_flags
from eval.pairs.marks import mark_flags
from eval.pairs.settings import PairSettings
from eval.pairs.source import Source
from eval.pairs.talks import RawTalk, replies_of, scene_of


class Take(NamedTuple):
    """A talk and what is wrong with it."""

    id: str
    sample: str
    flags: tuple[Flag, ...]

    @property
    def faults(self) -> frozenset[tuple[str | None, str]]:
        """The kinds of what is wrong."""
        return frozenset((flag.fault, flag.axis) for flag in self.flags)


def judged_takes(source: Source, parts: Parts, settings: PairSettings) -> Iterator[Take]:
    """Every talk of a source that can be judged."""
    for name in source.names():
        raw = source.read(name)
        flags = flags_of(raw, parts, settings) if isinstance(raw, RawTalk) else None
        if isinstance(raw, RawTalk) and flags is not None:
            yield Take(raw.id, raw.heard.sample.id, flags)


def flags_of(raw: RawTalk, parts: Parts, settings: PairSettings) -> tuple[Flag, ...] | None:
    """All that is wrong with a talk; None where the critic gave no judgement."""
    scene = scene_of(raw, settings)
    replies = replies_of(raw, scene)
    flags = timing_flags(scene, replies, settings, parts.unfinished) + mark_flags(raw, replies)
    if parts.critic is not None:
        verdicts, failed = judged(raw, replies, parts.critic, parts.axes)
        if failed:
            return None
        flags += content_flags(verdicts, replies, parts.critic.source, settings)
    return tuple(flags)


def preferences(takes: Sequence[Take], by: str, most: int) -> list[Preferred]:
    """At most `most` choices per sample, one for each worse take; the takes better than it are used in turn."""
    samples: dict[str, list[Take]] = {}
    for take in takes:
        samples.setdefault(take.sample, []).append(take)
    found = []
    for group in samples.values():
        made = 0
        for worse in group:
            better = [take for take in group if take.faults < worse.faults]
            if better and made < most:
                found.append(_preferred(better[made % len(better)], worse, by))
                made += 1
    return found


def _preferred(better: Take, worse: Take, by: str) -> Preferred:
    differ = tuple(f for f in worse.flags if (f.fault, f.axis) not in better.faults)
    return Preferred(better.id, worse.id, by, flags=differ)
