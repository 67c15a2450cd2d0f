"""Writes scripts with known faults: how late a scripted agent answers, how often it cuts in, errs or stays silent.

Rates are planted exactly, not drawn: of a task's n samples, round(rate * n) get the fault, chosen by the seed. So
what a benchmark should read back is known to the sample.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from model.systems.scripted import Line, Script
from protocols.duplex import Audio
from protocols.records import Sample


class Clip(NamedTuple):
    """Something that can be said: sound at 24 kHz, its words, and where in the sound speech begins."""

    audio: Audio  # [n]
    text: str
    onset: float = 0.0


class Behaviour(NamedTuple):
    """How a scripted agent behaves, in seconds and shares of the samples."""

    latency: float = 0.6  # from the user's last sound to the agent's first one
    cut_in_rate: float = 0.0  # of the samples with a pause: takes the turn inside the pause
    cut_in_after: float = 0.3  # seconds into the pause
    wrong_rate: float = 0.0  # answers with somebody else's answer
    silent_rate: float = 0.0  # never answers
    stops_after: float | None = 0.4  # yields to the user after this much of their speech; None: talks on


GOOD = Behaviour()
LATE = Behaviour(latency=1.0, cut_in_rate=0.3, wrong_rate=0.25)
BEHAVIOURS: Mapping[str, Behaviour] = {"good": GOOD, "late": LATE}


class Plan(NamedTuple):
    """Scripts by sample, and which samples got which fault."""

    scripts: dict[str, Script]
    cuts_in: frozenset[str]
    wrong: frozenset[str]
    silent: frozenset[str]


def plan(
    samples: Collection[Sample], behaviour: Behaviour, replies: Mapping[str, Clip], seed: int, user_offset: float
) -> Plan:
    """Script every sample. `replies` maps a sample's id to what a right answer sounds like; `user_offset` is where
    the sample's clock starts on the session's clock."""
    cuts_in: set[str] = set()
    wrong: set[str] = set()
    silent: set[str] = set()
    for task in sorted({s.task for s in samples}):
        rng = np.random.default_rng(seed)
        group = [s for s in samples if s.task == task]
        cuts_in |= _choose((s.id for s in group if _pauses(s)), behaviour.cut_in_rate, rng)
        wrong |= _choose((s.id for s in group), behaviour.wrong_rate, rng)
        silent |= _choose((s.id for s in group), behaviour.silent_rate, rng)
    scripts: dict[str, Script] = {}
    for sample in samples:
        reply = _other_reply(sample, samples, replies) if sample.id in wrong else replies[sample.id]
        starts = [pause + behaviour.cut_in_after for pause in _pauses(sample)] if sample.id in cuts_in else []
        if sample.id not in silent:
            starts += [event.end + behaviour.latency for event in sample.events if event.kind == "turn"]
        scripts[sample.id] = [
            Line(start + user_offset - reply.onset, reply.audio, reply.text, behaviour.stops_after) for start in starts
        ]
    return Plan(scripts, frozenset(cuts_in), frozenset(wrong), frozenset(silent))


def _pauses(sample: Sample) -> list[float]:
    return [event.start for event in sample.events if event.kind == "pause"]


def _choose(ids: Iterable[str], rate: float, rng: np.random.Generator) -> set[str]:
    pool = sorted(ids)
    return set(rng.permutation(pool)[: round(rate * len(pool))].tolist())


def _other_reply(sample: Sample, samples: Collection[Sample], replies: Mapping[str, Clip]) -> Clip:
    """The reply to the next question (in order of id) whose answer this sample would not accept."""
    ordered = sorted(samples, key=lambda s: s.id)
    at = ordered.index(sample)
    for other in ordered[at + 1 :] + ordered[:at]:
        if not set(other.answers) & set(sample.answers) and other.text != sample.text:
            return replies[other.id]
    return replies[sample.id]
