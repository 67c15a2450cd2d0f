"""Timing under mutations (each must show), under changes that must not show, and under input nobody should give."""

import math
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import talk
from eval.metrics import METRICS
from eval.metrics.base import Heard, Reading
from eval.metrics.timing.dynamics import dynamics
from eval.score import scores_of
from protocols.duplex import FRAME, SAMPLE_RATE
from protocols.records import Activity, Conversation, Event, Listening, Recording, Sample, Transcript, Word
from protocols.timeline import Span, Track, complement, shift, track

# Scenes in which a frame decides, so that a mutation of one frame changes an outcome and not only a time.
TURN = "user: [1-4] | turn: [1-4]"
CUT = "user: [6-8] | interruption: [6-8]"
SCENES = {
    "answered": [f"agent: it[4-5] | {TURN}", f"agent: it[6.95-8] | {TURN}"],
    "latency": [f"agent: it[4.4-5.5] | {TURN}"],
    "cut_in": [f"agent: it[3.49-5] | {TURN}", f"agent: it[4.4-5.5] | {TURN}"],
    "pause_held": [f"agent: it[{at}] | user: [1-2] [3-4] | pause: [2-3]" for at in ("2.78-3.6", "5-6")],
    "pause_take": ["agent: it[2.25-2.75] | user: [1-2] [3-4] | pause: [2-3]"],
    "yielded": [f"agent: it[3-7.95] | {CUT}", f"agent: it[3-9] | {CUT}"],
    "stop_latency": [f"agent: it[3-6.5] | {CUT}"],
    "interruption_answered": [f"agent: it[3-6.5] so[10.95-12] | {CUT}"],
    "interruption_latency": [f"agent: it[3-6.5] so[9-10.5] | {CUT}"],
    "kept_floor": [f"agent: it[3-{end}] | user: [6-6.5] | backchannel: [6-6.5]" for end in (7.95, 9)],
    "floor_choice": [f"agent: it[3-{end}] | user: [6-6.5] | side_talk: [6-6.5]" for end in (7.95, 9)],
    "stayed_quiet": [f"agent: it[2-3] so[{at}-10] | user: [6-6.5] | side_talk: [6-6.5]" for at in (8.45, 9)],
    "cost": [f"agent: it[3-6.5] | {CUT}"],
    "unprompted": [f"agent: hi[0.25-1.5] | {TURN}"],
    "transfer_offset": ["agent: it[4.4-5.5] | user: [1-4]"],
    "overlap": ["agent: it[3.4-5.5] | user: [1-4]"],
}


def results(heard: Heard, name: str) -> list[tuple[str, float | None]]:
    return [(r.outcome, r.value) for r in METRICS[f"timing.{name}"].read(heard)]


def with_tracks(heard: Heard, agent: Track, user: Track) -> Heard:
    activity = (Activity("agent", "test-vad", agent), Activity("user", "test-vad", user))
    return heard._replace(listening=msgspec.structs.replace(heard.listening, activity=activity))


def swapped(heard: Heard) -> Heard:
    return with_tracks(heard, heard.spans("user"), heard.spans("agent"))


def one_frame_late(heard: Heard) -> Heard:
    return with_tracks(heard, shift(heard.spans("agent"), FRAME), heard.spans("user"))


def inverted(heard: Heard) -> Heard:
    return with_tracks(heard, complement(heard.spans("agent"), Span(0, heard.duration)), heard.spans("user"))


def events_moved(heard: Heard, by: float = 1.5) -> Heard:
    events = tuple(msgspec.structs.replace(e, start=e.start + by, end=e.end + by) for e in heard.talk.events)
    return heard._replace(talk=msgspec.structs.replace(heard.talk, events=events))


BLIND = {(swapped, "overlap"), (events_moved, "transfer_offset"), (events_moved, "overlap")}  # and rightly so


@pytest.mark.parametrize("name", sorted(SCENES))
@pytest.mark.parametrize("mutate", [swapped, one_frame_late, inverted, events_moved])
def test_every_figure_notices_every_mutation(name: str, mutate: Callable[[Heard], Heard]) -> None:
    scenes = [talk(script, duration=16.0) for script in SCENES[name]]
    changed = any(results(mutate(heard), name) != results(heard, name) for heard in scenes)
    assert changed == ((mutate, name) not in BLIND)


# --- what must not show ----------------------------------------------------------------------------------------

RICH = (
    "agent: hi[1-1.5] yeah[3.25-3.5] it[6.5-9] so[9.75-12.5] well[15-18] | user: [2-4] [5-6] [8-8.25] [11-13] [16-16.5]"
    " | turn: [2-6] | pause: [4-5] | backchannel: [8-8.25] | interruption: [11-13] | side_talk: [16-16.5]"
)
MOVABLE = sorted(n for n in METRICS if n.startswith("timing.") and n != "timing.unprompted")


def moved(heard: Heard, by: float) -> Heard:
    activity = tuple(Activity(a.channel, a.source, shift(a.spans, by)) for a in heard.listening.activity)
    said = tuple(
        Transcript(t.channel, t.source, tuple(Word(w.text, w.start + by, w.end + by) for w in t.words))
        for t in heard.listening.transcripts
    )
    model = (Transcript("agent", "model", said[0].words),)
    shifted = events_moved(heard, by)
    return shifted._replace(
        talk=msgspec.structs.replace(shifted.talk, transcripts=model),
        listening=msgspec.structs.replace(heard.listening, activity=activity, transcripts=said),
    )


@pytest.mark.parametrize("name", MOVABLE)
def test_nothing_depends_on_where_the_clock_starts(name: str) -> None:
    heard = talk(RICH, duration=40.0)
    for by in (-0.5, 0.0625, 3.0):
        before, after = METRICS[name].read(heard), METRICS[name].read(moved(heard, by))
        assert [r.outcome for r in before] == [r.outcome for r in after]
        if name != "timing.cost":  # an unanswered event costs the time left, which a shift changes
            assert [r.value for r in before] == pytest.approx([r.value for r in after])


tracks = st.lists(st.tuples(st.integers(0, 640), st.integers(1, 64)), max_size=12).map(
    lambda pairs: track((a / 32, (a + n) / 32) for a, n in pairs)
)


@given(tracks, tracks)
def test_swapping_the_channels_swaps_the_sides_and_nothing_else(a: Track, b: Track) -> None:
    one, other = dynamics(a, b), dynamics(b, a)
    assert (one.agent, one.user, one.pauses, one.gaps, one.overlaps) == (
        other.user, other.agent, other.pauses, other.gaps, other.overlaps,
    )  # fmt: skip


@given(tracks, tracks)
def test_silences_and_speech_fill_the_talk_exactly(a: Track, b: Track) -> None:
    found = dynamics(a, b)
    every = track([*found.agent, *found.user, *found.pauses, *found.gaps])
    assert len(every) <= 1


@given(st.integers(1, 24))
def test_cutting_speech_by_less_than_a_breath_changes_no_outcome(n: int) -> None:
    heard = talk(RICH, duration=40.0)
    cut = track((s.start + i * s.duration / n, s.start + (i + 1) * s.duration / n - 1e-3)
                for s in heard.spans("agent") for i in range(n))  # fmt: skip
    cut = tuple(
        Span(s.start, s.end + (1e-3 if any(s.end + 1e-3 == o.end for o in heard.spans("agent")) else 0)) for s in cut
    )
    other = with_tracks(heard, cut, heard.spans("user"))
    for m in METRICS.values():
        if m.info.name.startswith("timing.") and m.applies(heard.sample) != [None]:
            assert [r.outcome for r in m.read(heard)] == [r.outcome for r in m.read(other)], m.info.name


# --- what nobody should give -----------------------------------------------------------------------------------

KINDS = st.sampled_from(["turn", "pause", "interruption", "backchannel", "background", "side_talk"])
time = st.one_of(st.integers(-64, 400).map(lambda n: n / 16), st.floats(-5, 30))
pieces = st.builds(lambda a, n: (a, a + n), time, st.one_of(st.just(0.0), st.floats(0, 8)))
events = st.lists(
    st.builds(lambda kind, p, missed: Event(kind, *p, "made", missed=missed), KINDS, pieces,
              st.sampled_from([None, None, None, "", "its cue was never played"])),
    max_size=8,
).map(tuple)  # fmt: skip
words = st.lists(st.builds(lambda p, t: Word(t, *p), pieces, st.sampled_from(["yeah", "Paris", "", "so"])), max_size=8)


@settings(max_examples=60)
@given(
    st.lists(pieces, max_size=8), st.lists(pieces, max_size=8), events, words, st.sampled_from([0, 1, 24_000, 288_000])
)
def test_any_spans_events_and_words_give_defined_outcomes(
    agent: list[tuple[float, float]], user: list[tuple[float, float]], made: tuple[Event, ...], said: list[Word], n: int
) -> None:
    sample = Sample("s", "t", (), n / SAMPLE_RATE, made, answers=("Paris",))
    recording = Recording("a", SAMPLE_RATE, n, "0")
    conversation = Conversation(
        "s", 0, "x", 0, recording, events=made, transcripts=(Transcript("agent", "model", tuple(said)),)
    )
    activity = (Activity("agent", "x", track(agent)), Activity("user", "x", track(user)))
    listening = Listening("s", 0, activity, (Transcript("agent", "asr", tuple(said)),))
    scores = list(scores_of(sample, conversation, listening, list(METRICS.values())))
    assert all(s.value is None or math.isfinite(s.value) for s in scores)
    assert all(s.outcome and (s.value is None) == (s.reason is not None) for s in scores)
    counted: dict[str, list[int | None]] = {}
    for s in scores:
        counted.setdefault(s.metric, []).append(s.event)
    for m in METRICS.values():
        if not m.info.name.startswith("qa."):
            assert sorted(map(str, counted.get(m.info.name, []))) == sorted(map(str, m.applies(sample))), m.info.name


def test_thousands_of_spans_are_read_in_order_of_their_number() -> None:
    spans = [(i * 0.7, i * 0.7 + 0.3) for i in range(5000)]
    heard = talk("agent: | user: | turn: [1-4] | interruption: [1000-1002] | pause: [2-2.5]", duration=3600.0)
    user = track((a + 0.3, b + 0.37) for a, b in spans if int(a) % 3 == 0)  # leaves silences and overlaps
    heard = with_tracks(heard, track(spans), user)
    for m in METRICS.values():
        readings: list[Reading] = m.read(heard)
        assert all(r.value is None or math.isfinite(r.value) for r in readings)
        assert all(len(r.evidence) <= 5000 for r in readings)


def test_a_zero_length_recording_has_outcomes_and_no_values() -> None:
    heard = talk("agent: | user: | turn: [1-4]", duration=0.0)
    for m in METRICS.values():
        if m.info.name.startswith("timing."):
            assert all(r.value in (None, 0.0) for r in m.read(heard)), m.info.name
