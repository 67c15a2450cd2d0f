"""Takeover rules and their sweeps, the two read-outs, replay length, and the dynamics of whole talks."""

from pathlib import Path

import msgspec
import pytest

from builders import talk
from eval.metrics import METRICS
from eval.metrics.base import Heard, Reading
from eval.metrics.timing import FIGURES, timing_metrics
from eval.metrics.timing.dynamics import dynamics
from eval.metrics.timing.settings import (
    DEFAULT,
    SECONDS_ONLY,
    SECONDS_OR_WORDS,
    STRICT,
    TakeoverRule,
    is_acknowledgement,
    takeover,
)
from eval.metrics.timing.sweep import (
    TAKEOVER_RULES,
    over_takeover_seconds,
    over_takeover_words,
    over_yield_window,
    sweep,
    swept,
)
from eval.score import scores_by
from protocols.records import Activity, Conversation, Listening, Transcript, Word
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from protocols.timeline import Span, track


def read(heard: Heard, name: str) -> Reading:
    (reading,) = METRICS[f"timing.{name}"].read(heard)
    return reading


# --- takeover --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words", "strict", "seconds_or_words", "seconds_only"),
    [
        (1.0, "mm", True, True, True),
        (0.9, "mm-hmm", False, False, False),
        (0.9, "Paris", True, False, False),
        (0.9, "yeah yeah yeah yeah", True, True, False),
        (0.9, "", True, False, False),
        (0.9, None, True, False, False),
        (0.3, "Uh-huh.", False, False, False),
        (0.3, "okay I see", False, False, False),
        (0.3, "I", True, False, False),
    ],
)
def test_takeover_rules(
    seconds: float, words: str | None, strict: bool, seconds_or_words: bool, seconds_only: bool
) -> None:
    said = None if words is None else words.split()
    got = tuple(takeover(seconds, said, rule) for rule in (STRICT, SECONDS_OR_WORDS, SECONDS_ONLY))
    assert got == (strict, seconds_or_words, seconds_only)


@pytest.mark.parametrize("text", ["Mm-hmm", "mhm", "Uh-huh.", "huh", "Yeah, yeah!", "Oh, right.", "Of course", "Ah"])
def test_acknowledgements_are_known(text: str) -> None:
    assert is_acknowledgement(text.split())


@pytest.mark.parametrize("text", ["", "yes", "no", "Paris", "I", "see", "oh no", "okay Paris", "42"])
def test_everything_else_is_none(text: str) -> None:
    assert not is_acknowledgement(text.split())


def test_rankings_flip_with_the_takeover_rule_and_the_sweep_shows_it() -> None:
    short = talk("agent: Paris[4.5-4.9] | user: [1-4] | turn: [1-4]")
    wordy = talk("agent: yes[4.5-4.6] it[4.6-4.7] is[4.7-4.8] Paris[4.8-5.2] | user: [1-4] | turn: [1-4]")
    curves = [[r[0].outcome for r in sweep(h, FIGURES["timing.answered"], TAKEOVER_RULES)] for h in (short, wordy)]
    assert curves == [["answered", "backchannelled", "backchannelled"], ["answered", "answered", "backchannelled"]]


def test_thresholds_sweep_without_hearing_again() -> None:
    pause = talk("agent: so[2.1-2.7] it[5-6] | user: [1-4] | turn: [1-4] | pause: [2-3]")
    held = sweep(pause, FIGURES["timing.pause_held"], over_takeover_seconds([0.25, 0.5, 0.75]))
    assert [r[0].outcome for r in held] == ["took", "took", "backchannelled"]
    words = talk("agent: a[4.1-4.2] b[4.2-4.3] c[4.3-4.4] | user: [1-4] | turn: [1-4]")
    said = sweep(words, FIGURES["timing.answered"], over_takeover_words([1, 2, 3]))
    assert [r[0].outcome for r in said] == ["answered", "answered", "backchannelled"]
    slow = talk("agent: and[3-7.5] | user: [1-2] [6-9] | interruption: [6-9]")
    yields = sweep(slow, FIGURES["timing.yielded"], over_yield_window([1.0, 1.5, 2.0]))
    assert [r[0].value for r in yields] == [0.0, 1.0, 1.0]


def test_a_whole_run_is_swept_without_sound_and_broken_talks_stay_in_the_denominator(tmp_path: Path) -> None:
    heard = talk("agent: and[3-7.5] | user: [1-2] [6-9] | interruption: [6-9]")
    failed = Conversation("s", 1, "test", 0, None, "the system raised")
    run = Run.create(
        tmp_path / "run", RunInfo("x", "1", Protocol("q", "", 1, 0, 0.96, 4.0, "none", "simulated"), "done", "", 2)
    )
    with run.writing() as writing:
        writing.append(heard.sample)
        writing.append(heard.talk, failed)
        writing.append(heard.listening)
    metrics = swept(FIGURES["timing.yielded"], over_yield_window([1.0, 2.0]))
    found = [(s.scorer, s.take, s.value) for s in scores_by(run, metrics)]
    short, default = "timing.yielded/1,react_within=1", "timing.yielded/1"
    assert found == [(short, 0, 0.0), (default, 0, 1.0), (short, 1, None), (default, 1, None)]


def test_what_figures_share_is_made_once_per_talk() -> None:
    heard = talk(TALK)
    asked: list[Heard] = []

    def make(it: Heard) -> int:
        asked.append(it)
        return 7

    assert (heard.once(make), heard.once(make), heard._replace(duration=1.0).once(make)) == (7, 7, 7)
    assert [h.duration for h in asked] == [heard.duration, 1.0]


def test_turned_thresholds_are_part_of_the_scorers_name() -> None:
    turned = timing_metrics(DEFAULT._replace(react_within=1.0, takeover=TakeoverRule("mine", 0.5)))
    by_name = {m.info.name: m.scorer for m in turned}
    assert by_name["timing.yielded"] == "timing.yielded/1,takeover=mine,react_within=1"
    assert METRICS["timing.yielded"].scorer == "timing.yielded/1"
    assert {m.info.name for m in turned} == {name for name in METRICS if name.startswith("timing.")}


# --- the two read-outs -----------------------------------------------------------------------------------------


def heard_as(heard: Heard, words: tuple[Word, ...] | None) -> Heard:
    """The same talk with other words from the transcriber; None: it did not listen."""
    transcripts = () if words is None else (Transcript("agent", "test-asr", words),)
    return heard._replace(listening=msgspec.structs.replace(heard.listening, transcripts=transcripts))


TALK = "agent: so[2.25-2.75] Paris[4.5-5.5] | user: [1-2] [3-4] | turn: [1-4] | pause: [2-3]"


def test_both_read_outs_agree_on_clean_speech() -> None:
    heard = talk(TALK)
    for name in ("latency", "pause_held", "pause_take", "cut_in", "cost"):
        sound, words = (METRICS[f"timing.{name}{suffix}"].read(heard) for suffix in ("", ".words"))
        assert [r[:2] for r in sound] == [r[:2] for r in words]
    assert read(heard, "readout_time")[:2] == (0.0, "agree")
    assert read(heard, "readout_outcome")[:2] == (0.0, "agree")


def test_words_invented_in_silence_show_as_disagreement_and_not_as_takeover_by_sound() -> None:
    silent = talk("agent: [9-9.5] | user: [1-4] | turn: [1-4] | pause: [2-3]")
    invented = heard_as(silent, (Word("thank", 2.25, 2.5), Word("you", 2.5, 2.75), Word("bye", 9.0, 9.5)))
    assert read(invented, "pause_held").outcome == "held"
    assert read(invented, "pause_held.words").outcome == "took"
    time = read(invented, "readout_time")
    assert (time.value, time.outcome) == (0.5, "words_without_sound")
    assert read(invented, "readout_outcome").outcome == "differ"
    assert [(e.label, e.start, e.end) for e in time.evidence] == [("words only", 2.25, 2.75)]


def test_humming_shows_as_sound_without_words() -> None:
    assert read(heard_as(talk(TALK), ()), "readout_time")[:2] == (1.0, "sound_without_words")


def test_without_a_transcriber_the_words_have_no_value() -> None:
    deaf = heard_as(talk(TALK), None)
    for m in METRICS.values():
        if m.needs_words and m.info.name.startswith("timing."):
            readings = m.read(deaf)
            assert [r.event for r in readings] == m.applies(deaf.sample), m.info.name
            assert {(r.value, r.outcome) for r in readings} <= {(None, "not_heard")}, m.info.name


# --- replay length ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "n", "expected"),
    [
        ("it[4.5-4.7] is[4.7-5] Paris[5-5.5]", 3.0, "replied"),
        ("it[4.5-4.7] is[6.2-6.5] Paris[8.2-8.5]", 2.0, "replied"),  # 1.5 s is no end, 1.7 s is
        ("hi[0.1-0.5] it[4.5-5]", 1.0, "replied"),
        ("", 0.0, "silent"),
        ("it[4.5-11]", None, "censored"),
    ],
)
@pytest.mark.parametrize("name", ["replay_length", "replay_length.words"])
def test_replay_length_counts_words_until_the_agent_falls_silent(
    name: str, agent: str, n: float | None, expected: str
) -> None:
    reading = read(talk(f"agent: {agent} | user: [1-4] | turn: [1-4]", duration=12.0), name)
    assert (reading.value, reading.outcome) == (n, expected)


def test_replay_length_has_no_better_direction() -> None:
    assert METRICS["timing.replay_length"].info.better == "none"


# --- dynamics --------------------------------------------------------------------------------------------------


def test_units_are_merged_before_they_are_counted() -> None:
    """A widely copied script gives 1 s for these spans, because it drops what has a near neighbour."""
    found = dynamics((Span(0, 2), Span(2.1, 4), Span(6, 7)), ())
    assert found.agent == (Span(0, 4), Span(6, 7))


def test_silences_between_one_side_are_pauses_and_between_two_are_gaps() -> None:
    found = dynamics(track([(3, 4), (5, 6)]), track([(0, 1), (1.5, 2), (8, 9)]))
    assert found.pauses == (Span(1, 1.5), Span(4, 5))
    assert found.gaps == (Span(2, 3), Span(6, 8))
    assert [(t.to, t.offset) for t in found.transfers] == [("agent", 1.0), ("user", 2.0)]


def test_an_overlap_is_a_negative_transfer_and_a_unit_inside_another_is_none() -> None:
    found = dynamics(track([(3.5, 6)]), track([(0, 4), (5, 5.25)]))
    assert found.overlaps == (Span(3.5, 4), Span(5, 5.25))
    assert [(t.to, t.offset) for t in found.transfers] == [("agent", -0.5)]


FLOW = "agent: yeah[2-2.4] it[4.5-5] is[5.5-6] | user: [1-4]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ipu_rate", 3 * 6),
        ("ipu_time", 1.4 * 6),
        ("user_ipu_rate", 6.0),
        ("pause_rate", 6.0),
        ("pause_time", 3.0),
        ("gap_rate", 6.0),
        ("gap_time", 3.0),
        ("overlap_ipu_rate", 6.0),
        ("overlap_ipu_time", 2.4),
        ("overlap", 2.4),
        ("talk_share_agent", 0.14),
        ("talk_share_user", 0.3),
        ("transfer_offset", 0.5),
        ("transfer_overlap", 0.0),
        ("backchannel_rate", 6.0),
    ],
)
def test_dynamics_of_a_talk_per_minute(name: str, value: float) -> None:
    assert read(talk(FLOW, duration=10.0), name).value == pytest.approx(value)


@pytest.mark.parametrize("script", ["agent: | user: [1-4]", "agent: a[1-4] | user:"])
def test_a_talk_with_a_side_that_never_speaks_has_no_dynamics(script: str) -> None:
    for name in ("ipu_rate", "gap_time", "talk_share_user", "transfer_offset", "backchannel_rate"):
        assert read(talk(script), name).value is None


def test_touching_activity_of_a_listening_is_one_unit() -> None:
    listening = Listening("s", 0, (Activity("agent", "x", (Span(0, 1), Span(1.05, 2))), Activity("user", "x", ())))
    assert dynamics(listening.activity[0].spans, ()).agent == (Span(0, 2),)
