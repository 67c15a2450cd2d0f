"""Cues that wait for the agent: they are played when their rule says, to the sample, and events say when."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import tone
from eval.onset import OVER, SPOKEN, AgentSpeech
from eval.runner import DriveOptions, drive
from model.systems.scripted import Line, ScriptedSystem
from model.systems.simple import EchoSystem, SilenceSystem
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio, Step, SystemInfo, TalkEnded
from protocols.records import Conversation, Cue, Event, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

INFO = RunInfo("x", "1", Protocol("s", "0", 1, 0, 1.0, 1.0, "none", "simulated"), "running", "2026-01-01", 3)
FAST = DriveOptions(lead_in=0.5, tail=0.5)
HOP = 0.01


def cue(at: float = 0.0, after: float | None = None, **more: object) -> Cue:
    return Cue("a.wav", at, after_agent=after, **more)  # type: ignore[arg-type]


def sample(*cues: Cue, length: float = 6.0, name: str = "s") -> Sample:
    """A sample whose every live cue (0.5 s of tone) is an interruption."""
    events = [
        Event("interruption", c.at, c.at + 0.5, "made", cue=i) for i, c in enumerate(cues) if c.after_agent is not None
    ]
    return Sample(name, "t", cues, length, tuple(events))


def held(
    folder: Path, system: object, *samples: Sample, options: DriveOptions = FAST
) -> list[tuple[Conversation, np.ndarray]]:
    """Every talk with its sound, [2, n], in order of sample id."""
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / "a.wav", tone(0.5), SAMPLE_RATE, subtype="FLOAT")
    run = Run.create(folder / "run", INFO)
    drive(system, samples, folder, run, options)  # type: ignore[arg-type]
    talks = sorted(run.read(Conversation), key=lambda t: t.sample)
    return [(t, run.read_audio(t.recording)) for t in talks if t.recording]


def speaking(*lines: tuple[float, float], name: str = "s") -> ScriptedSystem:
    return ScriptedSystem("x", {name: [Line(start, tone(end - start)) for start, end in lines]})


def sounds(channel: np.ndarray) -> list[float]:
    """Where each tone of a channel begins, in seconds."""
    loud = np.flatnonzero(np.abs(channel) > 0.001)
    first = loud[np.diff(loud, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 50]
    return (first / SAMPLE_RATE).tolist()


@pytest.mark.parametrize(
    ("lines", "at", "after", "expected"),
    [
        ([(1.0, 4.0)], 0.0, 1.5, 2.5),  # so long after the agent began
        ([(1.0, 4.0)], 2.9, 1.5, 3.4),  # but never before `at`, which counts from the lead-in
        ([(0.6, 1.0), (2.0, 4.0)], 0.0, 1.0, 3.0),  # an utterance that is too short does not count
        ([(1.0, 2.0), (2.3, 4.0)], 0.0, 1.5, 2.5),  # a silence inside an utterance does not end it
        ([(1.0, 2.0), (2.45, 4.0)], 0.0, 1.2, 2.45),  # due in such a silence: it waits for the sound
        ([(1.0, 4.0)], 0.0, 0.0, None),  # at once: as soon as 50 ms make it speech
    ],
)
def test_a_cue_is_played_so_long_after_the_agent_began(
    tmp_path: Path, lines: list[tuple[float, float]], at: float, after: float, expected: float | None
) -> None:
    ((talk, audio),) = held(tmp_path, speaking(*lines), sample(cue(at, after)))
    (event,) = talk.events
    (heard,) = sounds(audio[1])
    assert event.missed is None
    assert heard == pytest.approx(event.start, abs=0.001)
    assert event.end - event.start == pytest.approx(0.5)
    if expected is None:
        assert 1.0 < event.start <= 1.0 + SPOKEN + 2 * FRAME_SIZE / SAMPLE_RATE
    else:
        assert event.start == pytest.approx(expected, abs=HOP)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.floats(0.2, 2.0), after=st.floats(0.2, 1.5), at=st.floats(0.0, 2.0), size=st.sampled_from([320, 480, 1920])
)
def test_the_rule_is_exact_wherever_frames_lie(
    tmp_path: Path, start: float, after: float, at: float, size: int
) -> None:
    from eval.channel import UserChannel
    from eval.tasks.user import LiveCue, UserSound

    onset = round(start * SAMPLE_RATE)
    agent = np.zeros(8 * SAMPLE_RATE, np.float32)
    agent[onset : onset + 4 * SAMPLE_RATE] = tone(4.0)
    live = LiveCue(0, np.ones(4_800, np.float32), round(at * SAMPLE_RATE), 7 * SAMPLE_RATE, round(after * SAMPLE_RATE))
    user = UserChannel(sample(cue(at, after), length=7.2), UserSound(np.zeros(7 * SAMPLE_RATE, np.float32), (live,)),
                       SystemInfo("x", "1", frame_size=size), 0.5, "none")  # fmt: skip
    frames = []
    for k in range(len(agent) // size):
        user.hear(agent[k * size : (k + 1) * size])
        frames.append(user.frame(k))
    played = np.flatnonzero(np.concatenate(frames))
    (event,) = user.events(8.0)
    assert played.size == 4_800
    assert played[0] / SAMPLE_RATE == pytest.approx(event.start)
    due = max(onset / SAMPLE_RATE + after, at + 0.5)
    assert due - HOP <= event.start <= due + HOP


def test_two_cues_come_in_order_and_never_over_each_other(tmp_path: Path) -> None:
    asked = sample(cue(0.0, 1.0), cue(0.0, 1.2))
    ((talk, audio),) = held(tmp_path, speaking((1.0, 5.0)), asked)
    first, second = talk.events
    assert first.start == pytest.approx(2.0, abs=HOP)
    assert second.start == pytest.approx(first.end)
    assert np.abs(audio[1]).max() < 0.21


def test_a_cue_over_a_fixed_sound_is_added_to_it(tmp_path: Path) -> None:
    asked = sample(cue(0.0), cue(0.0, 0.3, gain_db=-20.0))
    ((talk, audio),) = held(tmp_path, speaking((0.5, 2.0)), asked)
    (event,) = talk.events
    assert event.start == pytest.approx(0.8, abs=HOP)
    tail = audio[1][round(1.05 * SAMPLE_RATE) : round(1.25 * SAMPLE_RATE)]
    assert np.abs(tail).max() == pytest.approx(0.02, rel=0.05)  # only the live one sounds there, 20 dB down


@pytest.mark.parametrize("system", [SilenceSystem(), speaking((1.0, 1.4)), speaking((1.0, 1.01)), speaking((5.4, 6.9))])
def test_a_cue_whose_agent_never_speaks_long_enough_is_missed_and_the_talk_is_normal(
    tmp_path: Path, system: object
) -> None:
    ((talk, audio),) = held(tmp_path, system, sample(cue(0.0, 0.9)))
    (event,) = talk.events
    assert event.missed == "the agent never spoke for 0.9 s when it was waited for"
    assert event.start == event.end == pytest.approx(0.5 + 6.0 - 0.5)  # the last moment it could have begun
    assert not audio[1].any()
    assert talk.recording is not None
    assert talk.recording.duration == pytest.approx(7.04)


def test_an_agent_that_hangs_up_misses_the_rest(tmp_path: Path) -> None:
    ((talk, _),) = held(tmp_path, HangsUp(), sample(cue(0.0, 0.9)))
    (event,) = talk.events
    assert event.missed is not None
    assert event.start == event.end == pytest.approx(0.8)


class HangsUp(SilenceSystem):
    def open(self, seed: int, sample_id: str | None = None) -> "_HangsUp":  # type: ignore[override]
        return _HangsUp()


class _HangsUp:
    left = 10

    def step(self, frame: Audio) -> Step:
        self.left -= 1
        if self.left < 0:
            raise TalkEnded
        return Step(np.zeros_like(frame))

    def close(self) -> None: ...


def test_results_do_not_depend_on_the_talks_beside_them_or_on_the_clock(tmp_path: Path) -> None:
    asked = [sample(cue(0.1 * n, 0.3 + 0.05 * n), length=1.5, name=f"s{n}") for n in range(4)]
    scripts = {s.id: [Line(0.4 + 0.13 * n, tone(1.5))] for n, s in enumerate(asked)}
    made = []
    for n, (slots, clock) in enumerate([(1, "simulated"), (3, "simulated"), (64, "simulated"), (64, "real-time")]):
        system = ScriptedSystem("x", scripts)
        system.info = system.info._replace(slots=slots)
        talks = held(tmp_path / str(n), system, *asked, options=FAST._replace(clock=clock, jitter_limit=9.0))  # type: ignore[arg-type]
        made.append([(t.sample, t.events, t.recording.sha256) for t, _ in talks if t.recording])
    assert made[0] == made[1] == made[2] == made[3]
    assert len(made[0]) == 4
    assert all(event.missed is None for _, events, _ in made[0] for event in events)


def test_a_system_that_answers_its_own_echo_still_has_one_interruption(tmp_path: Path) -> None:
    """The cue is user speech: what the agent makes of it must not start it again."""
    asked = sample(cue(0.0), cue(0.0, 0.2))
    ((talk, audio),) = held(tmp_path, EchoSystem(), asked)
    assert [e.missed for e in talk.events] == [None]
    assert len(sounds(audio[1])) == 1  # the question, and the cue that runs on from it


def test_greeting_and_cues_share_one_idea_of_the_agents_speech(tmp_path: Path) -> None:
    options = FAST._replace(greeting="wait")
    ((talk, _),) = held(tmp_path, speaking((0.2, 1.0), (3.0, 6.0)), sample(cue(0.0, 0.5)), options=options)
    assert talk.user_offset == pytest.approx(2.0, abs=0.1)
    assert talk.events[0].start == pytest.approx(3.5, abs=HOP)


def test_speech_is_a_sound_long_enough_and_quiet_long_enough_ends_it() -> None:
    agent = AgentSpeech(SAMPLE_RATE)
    agent.hear(np.zeros(2400, np.float32))
    assert (agent.onset, agent.sounding_since, agent.quiet) == (None, None, 2400)
    agent.hear(tone(0.04))
    assert agent.onset is None  # a click so far
    agent.hear(tone(0.02))
    assert agent.onset == agent.sounding_since == 2400
    agent.hear(np.zeros(2400, np.float32))
    assert agent.onset == 2400
    assert agent.sounding_since is None
    agent.hear(tone(0.1))
    assert agent.onset == 2400
    assert agent.sounding_since == round(0.26 * SAMPLE_RATE)
    agent.hear(np.zeros(round(OVER * SAMPLE_RATE), np.float32))
    assert agent.onset is None


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=30))
def test_pieces_of_any_size_are_heard_alike(cuts: list[int]) -> None:
    audio = np.concatenate([np.zeros(3000, np.float32), tone(0.5), np.zeros(9000, np.float32), tone(0.3)])
    whole, pieces = AgentSpeech(SAMPLE_RATE), AgentSpeech(SAMPLE_RATE)
    whole.hear(audio)
    at = 0
    for cut in cuts:
        pieces.hear(audio[at : at + cut])
        at += cut
    pieces.hear(audio[at:])
    assert (whole.onset, whole.sounding_since, whole.quiet) == (pieces.onset, pieces.sounding_since, pieces.quiet)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    asked = [sample(cue(0.0, 0.3 + 0.1 * n), length=1.5, name=f"s{n}") for n in range(3)]
    system = ScriptedSystem("x", {s.id: [Line(0.7, tone(1.2))] for s in asked})
    whole = held(tmp_path / "whole", system, *asked)
    held(tmp_path / "stopped", system, asked[1])
    run = Run(tmp_path / "stopped" / "run")
    assert drive(system, asked, tmp_path / "stopped", run, FAST).resumed == 1
    assert sorted(run.read(Conversation), key=lambda t: t.sample) == [talk for talk, _ in whole]
