"""Scripted agents do what is written, yield when they should, and recorded ones are played back as they were."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builders import tone
from model.systems.behaviour import Behaviour, Clip, plan
from model.systems.recorded import RecordedSystem
from model.systems.scripted import Line, ScriptedSystem
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Session, TalkEnded
from protocols.errors import InputError
from protocols.records import Event, Sample


def play(session: Session, user: np.ndarray) -> np.ndarray:
    """The agent's channel for a user's channel, both [n]."""
    said = [np.zeros(FRAME_SIZE, np.float32)]
    frames = np.pad(user, (0, -len(user) % FRAME_SIZE)).reshape(-1, FRAME_SIZE)
    with contextlib.suppress(TalkEnded):
        for frame in frames:
            said.append(session.step(frame).audio)
    return np.concatenate(said)[: len(user)]


def edges(audio: np.ndarray) -> tuple[float, float]:
    loud = np.flatnonzero(np.abs(audio) > 0.01)
    return loud[0] / SAMPLE_RATE, (loud[-1] + 1) / SAMPLE_RATE


def user_from(start: float, seconds: float = 1.0, whole: float = 6.0) -> np.ndarray:
    audio = np.zeros(round(whole * SAMPLE_RATE), np.float32)
    audio[round(start * SAMPLE_RATE) : round(start * SAMPLE_RATE) + round(seconds * SAMPLE_RATE)] = tone(seconds)
    return audio


@pytest.mark.parametrize("stops_after", [0.2, 0.4, 1.0])
def test_a_scripted_agent_yields_when_it_is_written_so(stops_after: float) -> None:
    line = Line(1.0, tone(3.0), stops_after=stops_after)
    said = play(ScriptedSystem("x", {"s": [line]}).open(0, "s"), user_from(2.0))
    start, end = edges(said)
    assert start == pytest.approx(1.0, abs=0.002)
    assert end == pytest.approx(2.0 + stops_after, abs=0.005)


def test_a_scripted_agent_talks_through_when_it_is_written_so() -> None:
    said = play(ScriptedSystem("x", {"s": [Line(1.0, tone(3.0))]}).open(0, "s"), user_from(2.0))
    assert edges(said)[1] == pytest.approx(4.0, abs=0.002)


def test_a_user_who_spoke_before_the_line_does_not_stop_it() -> None:
    said = play(ScriptedSystem("x", {"s": [Line(3.0, tone(1.0), stops_after=0.2)]}).open(0, "s"), user_from(1.0))
    assert edges(said) == pytest.approx((3.0, 4.0), abs=0.002)


def test_a_script_before_the_first_frame_is_refused() -> None:
    with pytest.raises(InputError, match="cannot speak before"):
        ScriptedSystem("x", {"s": [Line(0.01, tone(1.0))]}).open(0, "s")


@pytest.mark.parametrize("at", [0.1, 0.3333, 1.23457])
def test_every_word_of_a_line_is_written(at: float) -> None:
    session = ScriptedSystem("x", {"s": [Line(at, tone(1.0), "one two three")]}).open(0, "s")
    steps = [session.step(np.zeros(FRAME_SIZE, np.float32)) for _ in range(40)]
    assert [piece.text for step in steps for piece in step.text] == [" one", " two", " three"]


def test_a_sample_without_a_script_is_refused() -> None:
    with pytest.raises(InputError, match="no script"):
        ScriptedSystem("x", {}).open(0, "s")


def stimuli(n: int) -> list[Sample]:
    events = (Event("turn", 0.1, 3.0, "made"), Event("pause", 1.0, 2.0, "made"))
    return [Sample(f"s{i:03d}", "t", (), 3.0, events, f"question {i}", (f"answer {i}",)) for i in range(n)]


def clips(samples: list[Sample]) -> dict[str, Clip]:
    return {s.id: Clip(tone(0.5), s.answers[0], 0.0) for s in samples}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 1.0])
def test_faults_are_planted_at_exactly_their_rate(rate: float) -> None:
    samples = stimuli(50)
    made = plan(samples, Behaviour(cut_in_rate=rate, wrong_rate=rate, silent_rate=rate), clips(samples), 0, 1.0)
    assert len(made.cuts_in) == len(made.wrong) == len(made.silent) == round(50 * rate)
    for sample in samples:
        lines = made.scripts[sample.id]
        assert len(lines) == (sample.id in made.cuts_in) + (sample.id not in made.silent)
        assert all((line.text == sample.answers[0]) == (sample.id not in made.wrong) for line in lines)


def test_a_plan_depends_on_its_seed_alone() -> None:
    samples = stimuli(50)
    b = Behaviour(cut_in_rate=0.3)
    first = plan(samples, b, clips(samples), 0, 1.0).cuts_in
    assert first == plan(samples[::-1], b, clips(samples), 0, 1.0).cuts_in
    assert first != plan(samples, b, clips(samples), 1, 1.0).cuts_in


def test_speech_starts_at_the_planned_time_not_the_clip() -> None:
    samples = stimuli(1)
    reply = {samples[0].id: Clip(np.pad(tone(0.5), (2400, 0)), "hi", onset=0.1)}
    (line,) = plan(samples, Behaviour(latency=0.6), reply, 0, 0.96).scripts["s000"]
    assert line.at + 0.1 == pytest.approx(0.96 + 3.0 + 0.6)


# --- recorded --------------------------------------------------------------------------------------------------


def test_a_recording_is_played_back_as_it_was(tmp_path: Path) -> None:
    agent, user = user_from(3.0), user_from(1.0)
    soundfile.write(tmp_path / "s.wav", np.stack([agent, user], axis=1), SAMPLE_RATE, subtype="FLOAT")
    lead = np.zeros(FRAME_SIZE * 3, np.float32)
    said = play(RecordedSystem(tmp_path, 0.24).open(0, "s"), np.concatenate([lead, user]))
    np.testing.assert_array_equal(said[len(lead) :][: len(agent)], agent)


def test_two_mono_files_and_other_rates_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "s.agent.flac", tone(1.0, rate=16_000), 16_000)
    said = play(RecordedSystem(tmp_path, 0.08).open(0, "s"), np.zeros(SAMPLE_RATE * 3, np.float32))
    assert edges(said) == pytest.approx((0.08, 1.08), abs=0.01)
    assert len(said) < 3 * SAMPLE_RATE  # the talk ends with its recording


def test_a_recording_of_another_question_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.uniform(0, 0.3, 60), FRAME_SIZE).astype(np.float32)
    other = np.repeat(rng.uniform(0, 0.3, 60), FRAME_SIZE).astype(np.float32)
    soundfile.write(tmp_path / "s.wav", np.stack([other, other], axis=1), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(InputError, match="not what this sample plays"):
        play(RecordedSystem(tmp_path, 0.08).open(0, "s"), np.pad(envelope, (FRAME_SIZE, 0)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "no recording of sample"),
        (lambda folder: soundfile.write(folder / "s.wav", tone(1.0), SAMPLE_RATE), "left agent, right user"),
        (lambda folder: (folder / "s.wav").write_bytes(b"noise"), "not a sound file"),
    ],
)
def test_bad_recordings_say_what_was_expected(tmp_path: Path, make: object, says: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=says):
        RecordedSystem(tmp_path, 0.08).open(0, "s")


def test_a_missing_folder_and_a_missing_lead_in_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        RecordedSystem(tmp_path / "x", 0.08)
    with pytest.raises(InputError, match="lead-in"):
        RecordedSystem(tmp_path, 0.0)
