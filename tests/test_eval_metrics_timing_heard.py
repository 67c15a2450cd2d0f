"""Scripted systems through the whole chain: driven frame by frame, heard by the detector, judged by the metrics.

What is planted in sound is read back with its class, and its times within the detector's error.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from builders import SPOKEN, spoken
from eval.activity import SileroActivity
from eval.listen import hear
from eval.metrics import METRICS
from eval.runner import DriveOptions, drive
from eval.score import scores_of
from model.systems.scripted import Line, ScriptedSystem
from protocols.duplex import Audio
from protocols.records import Conversation, Cue, Event, EventKind, Sample, Score
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

LEAD_IN = 0.96
AGENT_FROM = 1.5  # seconds into the talk, where the agent's long answer starts
ONSET = 5.5  # where the user's channel speaks into it
TOLERANCE = 0.06
QUESTION, SPEECH = spoken("q01.flac")
REPLY, REPLY_SPEECH = spoken("q01.reply.flac")


def long_answer() -> Audio:
    """About 8 s of speech without a breath of half a second."""
    parts = []
    for i in range(1, 6):
        audio, speech = spoken(f"q{i:02d}.reply.flac")
        parts.append(audio[round(speech.start * 24_000) : round(speech.end * 24_000)])
    return np.concatenate(parts)


class Scene(NamedTuple):
    sample: Sample
    script: list[Line]


def asked(name: str, *delays: float) -> Scene:
    """A question, and replies whose first sound lies `delays` after its last one."""
    turn = Event("turn", SPEECH.start, SPEECH.end, "given")
    lines = [Line(LEAD_IN + SPEECH.end + d - REPLY_SPEECH.start, REPLY, "It is the Thames") for d in delays]
    cue = Cue("q01.flac", 0.0)
    return Scene(Sample(name, "turns", (cue,), len(QUESTION) / 24_000, (turn,)), lines)


def spoken_into(name: str, kind: EventKind, stops_after: float | None, again: float | None = None) -> Scene:
    """The user's channel speaks while the agent gives a long answer; `again`: the agent goes on after that long."""
    at = ONSET - LEAD_IN - SPEECH.start
    event = Event(kind, at + SPEECH.start, at + SPEECH.end, "given")
    answer = long_answer()
    lines = [Line(AGENT_FROM, answer, "and so on and so on and so on", stops_after)]
    if again is not None:
        lines.append(Line(ONSET + again, answer, "and so on and so on"))
    return Scene(Sample(name, "floor", (Cue("q01.flac", at),), at + len(QUESTION) / 24_000, (event,)), lines)


SCENES = [
    *(asked(f"delay {d}", d) for d in (-0.5, 0.0, 0.4, 1.0, 2.9)),
    asked("cut in", -2.0),
    asked("silent"),
    spoken_into("yields", "interruption", 0.4),
    spoken_into("yields late", "interruption", 1.8),
    spoken_into("talks through", "interruption", None),
    spoken_into("false stop", "side_talk", 0.4),
    spoken_into("stops and goes on", "background", 0.4, again=1.3),
    spoken_into("goes on", "backchannel", None),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Score]:
    folder: Path = tmp_path_factory.mktemp("run") / "run"
    protocol = Protocol("planted", "", 1, 0, LEAD_IN, 6.0, "none", "simulated")
    run = Run.create(folder, RunInfo("x", "1", protocol, "running", "", len(SCENES)))
    system = ScriptedSystem("x", {s.sample.id: s.script for s in SCENES})
    drive(system, [s.sample for s in SCENES], SPOKEN, run, DriveOptions(lead_in=LEAD_IN, tail=6.0))
    samples = {s.sample.id: s.sample for s in SCENES}
    detector = SileroActivity()
    scores: dict[tuple[str, str], Score] = {}
    for talk in run.read(Conversation):
        assert talk.recording is not None
        listening = hear(talk, run.read_audio(talk.recording), talk.recording.sample_rate, detector, None)
        for score in scores_of(samples[talk.sample], talk, listening, list(METRICS.values())):
            scores[talk.sample, score.metric] = score
    return scores


@pytest.mark.parametrize("delay", [-0.5, 0.0, 0.4, 1.0, 2.9])
def test_delays_in_sound_are_read_back(found: dict[tuple[str, str], Score], delay: float) -> None:
    score = found[f"delay {delay}", "timing.latency"]
    assert score.value == pytest.approx(delay, abs=TOLERANCE)
    if abs(delay) > TOLERANCE:
        assert score.outcome == ("early" if delay < 0 else "answered")


@pytest.mark.parametrize(
    ("sample", "metric", "outcome", "seconds"),
    [
        ("cut in", "latency", "early", -2.0),
        ("cut in", "cut_in", "cut_in", None),
        ("delay 0.4", "cut_in", "waited", None),
        ("silent", "latency", "silent", None),
        ("yields", "yielded", "yielded", None),
        ("yields", "stop_latency", "yielded", 0.4),
        ("yields late", "stop_latency", "yielded", 1.8),
        ("talks through", "yielded", "talked_through", None),
        ("false stop", "kept_floor", "stopped", None),
        ("stops and goes on", "kept_floor", "resumed", None),
        ("goes on", "kept_floor", "continued", None),
    ],
)
def test_behaviour_in_sound_is_read_back(
    found: dict[tuple[str, str], Score], sample: str, metric: str, outcome: str, seconds: float | None
) -> None:
    score = found[sample, f"timing.{metric}"]
    assert score.outcome == outcome
    if seconds is not None:
        assert score.value == pytest.approx(seconds, abs=0.1)  # a line is cut in a word, where its end is faint
