"""Pair building: planted faults found again, on exact tokens and in sound, and how fast talks become pairs.

Tokens: synthetic talks with exact times, content judged by their truth. Sound: scripted agents with the recordings of
the spoken set, driven by the runner and heard by the detector, timing judged by program.
"""

import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from eval.activity import SileroActivity
from eval.hear_all import Instruments, listen
from eval.pairs.build import Workshop, build
from eval.pairs.chosen import Parts
from eval.pairs.making import pairs_of
from eval.pairs.runs import RunTalks
from eval.pairs.settings import PairSettings
from eval.pairs.synthetic import LAYOUT, SyntheticTalks, SyntheticTruth
from eval.pairs.talks import RawTalk
from eval.runner import DriveOptions, drive
from eval.tasks.questions import Question, read_questions
from model.systems.scripted import Line, ScriptedSystem
from protocols.audio import read_channel
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.records import Cue, Event, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

SPOKEN = Path(__file__).parent.parent / "protocols" / "library" / "spoken"
TRUTH = SyntheticTruth()
PARTS = Parts(LAYOUT, TRUTH, ("factuality",), TRUTH, TRUTH, TRUTH)
SETTINGS = PairSettings()
LEAD_IN = 0.96
COLUMNS = ["fault", "where", "planted", "found", "recall", "precision"]
SPEED = ["talks", "pairs", "processor seconds", "154,301 pairs, minutes of one core", "peak memory, MB"]
Found = set[tuple[str, str | None, float]]  # talk, fault, about when


def table(talks: int = 1500, each: int = 6) -> list[list[str]]:
    """A row per fault, on tokens and in sound."""
    return [*_rows("tokens", *in_tokens(talks)), *_rows("sound", *in_sound(each))]


def _rows(where: str, wanted: Found, found: Found) -> Iterator[list[str]]:
    counts = [Counter(fault for _, fault, _ in of) for of in (wanted, found, wanted & found)]
    for fault in sorted({*counts[0], *counts[1]}, key=str):
        planted, flagged, right = (of[fault] for of in counts)
        shares = [f"{right / n:.3f}" if n else "none" for n in (planted, flagged)]
        yield [fault or "content", where, str(planted), str(flagged), *shares]


def in_tokens(talks: int) -> tuple[Found, Found]:
    """What was planted in synthetic talks, and what is flagged in them."""
    source = SyntheticTalks(talks, seed=991)
    wanted: Found = set()
    found: Found = set()
    for number in range(talks):
        raw, planted = source.talk(number)
        wanted |= {(raw.id, p.fault, round(p.start, 2)) for p in planted}
        events = raw.heard.talk.events
        for f in pairs_of(raw, PARTS, SETTINGS).flags:
            at = f.reply.span.start if f.event is None and f.reply is not None else events[f.event or 0].start
            found.add((raw.id, f.fault, round(at, 2)))
    return wanted, found


class Scene(NamedTuple):
    """A talk in sound and the one fault in it, if any."""

    sample: Sample
    script: tuple[Line, ...]
    fault: str | None


def in_sound(each: int) -> tuple[Found, Found]:
    """The same of scripted talks that were driven and heard; every talk has one fault or none."""
    with tempfile.TemporaryDirectory() as folder:
        made = list(scenes(each))
        system = ScriptedSystem("planted", {s.sample.id: s.script for s in made})
        protocol = Protocol("planted", "", 1, 0, LEAD_IN, 6.0, "none", "simulated")
        run = Run.create(Path(folder) / "run", RunInfo("planted", "1", protocol, "running", "", len(made)))
        with run.writing() as writing:
            writing.append(*(s.sample for s in made))
        drive(system, [s.sample for s in made], SPOKEN, run, DriveOptions(lead_in=LEAD_IN, tail=6.0))
        listen(run, Instruments(SileroActivity(), None))
        source = RunTalks(run.path, SETTINGS)
        found: Found = set()
        for raw in map(source.read, source.names()):
            assert isinstance(raw, RawTalk), raw
            flags = pairs_of(raw, Parts(LAYOUT), SETTINGS).flags
            found |= {(raw.heard.sample.id, f.fault, 0.0) for f in flags}
    return {(s.sample.id, s.fault, 0.0) for s in made if s.fault is not None}, found


def scenes(each: int) -> Iterator[Scene]:
    """`each` talks with every fault, and as many with none of each kind that could be taken for one."""
    rng = np.random.default_rng(4)
    questions = read_questions(SPOKEN, SileroActivity()).questions
    questions = [q for q in questions if q.role is None]
    for kind, plant in PLANTS.items():
        for n in range(each):
            asked, over = (questions[int(i)] for i in rng.choice(len(questions), 2, replace=False))
            lines, more = plant(asked, over, float(rng.uniform(-0.2, 0.2)))
            turn = Event("turn", asked.speech.start, asked.speech.end, "given", asked.text)
            cues = [Cue(asked.file.name, 0.0), *(cue for cue, _ in more)]
            events = [turn, *(msgspec.structs.replace(e, cue=i) for i, (_, e) in enumerate(more, 1))]
            length = max([asked.duration, *(e.end for e in events)])
            sample = Sample(f"{kind}/{n}", "planted", tuple(cues), length, tuple(events), asked.text)
            script = tuple(line._replace(at=line.at + LEAD_IN) for line in lines)
            yield Scene(sample, script, kind if kind in FAULTS else None)


Planted = tuple[list[Line], list[tuple[Cue, Event]]]


def _voice(asked: Question, times: int = 1) -> Audio:
    """The recorded reply, said so often with short breaths between, from its first sound."""
    reply = read_channel(asked.file.with_suffix("").with_suffix(".reply.flac"))[round(0.04 * SAMPLE_RATE) :]
    breath = np.zeros(round(0.1 * SAMPLE_RATE), np.float32)
    return np.concatenate([part for _ in range(times) for part in (reply, breath)])


def _after(seconds: float) -> Callable[[Question, Question, float], Planted]:
    return lambda asked, over, by: ([Line(asked.speech.end + seconds + by, _voice(asked), "That is it.")], [])


def _through(asked: Question, over: Question, by: float) -> Planted:
    return [Line(asked.speech.start - 0.7 + by, _voice(asked, 5), "So it goes on.")], []


def _interrupted(stops: float | None) -> Callable[[Question, Question, float], Planted]:
    def plant(asked: Question, over: Question, by: float) -> Planted:
        begins = asked.speech.end + 0.5
        at = begins + 1.2 + by
        event = Event("interruption", at + over.speech.start, at + over.speech.end, "given", over.text)
        lines = [
            Line(begins, _voice(asked, 5), "That is a long story.", stops),
            Line(event.end + 0.6, _voice(over), "Yes."),
        ]
        return lines, [(Cue(over.file.name, at, 0.0, over.speech.end), event)]

    return plant


def _acknowledged(stops: float | None) -> Callable[[Question, Question, float], Planted]:
    def plant(asked: Question, over: Question, by: float) -> Planted:
        begins, start = asked.speech.end + 0.5, over.speech.start
        at = begins + 1.2 + by
        event = Event("backchannel", at, at + 0.4, "given", "mhm")
        lines = [Line(begins, _voice(asked, 4), "That is a long story.", stops)]
        if stops is not None:
            lines.append(Line(at + 2.2, _voice(asked, 2), "And so it went on."))
        return lines, [(Cue(over.file.name, at, start, start + 0.4), event)]

    return plant


PLANTS: dict[str, Callable[[Question, Question, float], Planted]] = {
    "good": _after(0.5),
    "late": _after(2.4),
    "silent": lambda asked, over, by: ([], []),
    "cuts_in": _after(-1.2),
    "talks_over": _through,
    "does_not_yield": _interrupted(None),
    "yields": _interrupted(0.4),
    "stops_for_backchannel": _acknowledged(0.2),
    "keeps": _acknowledged(None),
}
FAULTS = ("late", "silent", "cuts_in", "talks_over", "does_not_yield", "stops_for_backchannel")


def speed(talks: int = 3000) -> list[list[str]]:
    """Synthetic talks to a dataset, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        parts = build(lambda: Workshop(SyntheticTalks(talks), PARTS, SETTINGS), Path(folder) / "d")
        seconds = time.process_time() - begun
    pairs = sum(part.pairs for part in parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return [[f"{talks:,}", f"{pairs:,}", f"{seconds:.1f}", f"{154_301 / pairs * seconds / 60:.1f}", str(peak)]]


if __name__ == "__main__":
    for row in [COLUMNS, *table(), SPEED, *speed()]:
        print("  ".join(f"{cell:<22}" for cell in row))
