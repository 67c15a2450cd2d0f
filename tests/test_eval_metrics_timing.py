"""Planted behaviour is read back without error: every class of every event, from exact spans."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import talk
from eval.metrics import METRICS
from eval.metrics.base import Heard, Reading
from eval.metrics.timing.floor import selectivity

STEP = 1 / 64  # planted times are exact binary fractions, so that what is read back is exact as well


def read(heard: Heard, name: str) -> Reading:
    (reading,) = METRICS[f"timing.{name}"].read(heard)
    assert (reading.value is None) == (reading.reason is not None)
    return reading


def outcome(heard: Heard, name: str) -> str:
    return read(heard, name).outcome


def scene(agent: str, events: str, duration: float = 16.0) -> Heard:
    return talk(f"agent: {agent} | user: [1-4] | {events}", duration=duration)


# --- turns -----------------------------------------------------------------------------------------------------


@given(st.integers(-32, 192).map(lambda n: n * STEP))
def test_any_delay_is_read_back_with_its_sign(delay: float) -> None:
    heard = scene(f"it[{4 + delay}-{5.5 + delay}]", "turn: [1-4]")
    for name, better in (("latency", delay), ("answered", float(delay >= 0))):
        reading = read(heard, name)
        assert (reading.outcome, reading.value) == ("answered" if delay >= 0 else "early", better)


@pytest.mark.parametrize(
    ("agent", "duration", "expected"),
    [
        ("", 16.0, "silent"),
        ("hi[0.1-0.8]", 16.0, "silent"),  # a greeting answers nothing
        ("it[7.1-9]", 16.0, "silent"),
        ("", 6.0, "censored"),
        ("mm-hmm[4.5-4.9]", 16.0, "backchannelled"),
        ("I[4.5-4.6] see[4.6-4.9]", 16.0, "backchannelled"),
        ("mm-hmm[4.2-4.5] Paris[5.5-6]", 16.0, "answered"),
        ("Paris[4.5-4.9]", 16.0, "answered"),  # short, but an answer
        ("[4.5-4.9]", 16.0, "answered"),  # nobody knows its words, so it is not excused
        ("and[0.2-9]", 16.0, "talked_over"),
        ("well[2-2.5]", 16.0, "early"),
    ],
)
def test_every_outcome_of_a_turn(agent: str, duration: float, expected: str) -> None:
    heard = scene(agent, "turn: [1-4]", duration)
    assert outcome(heard, "latency") == outcome(heard, "answered") == expected


def test_latency_skips_the_backchannel_before_the_answer() -> None:
    assert read(scene("mm-hmm[4.25-4.5] Paris[5.5-6]", "turn: [1-4]"), "latency").value == 1.5


@pytest.mark.parametrize(
    ("agent", "expected", "value"),
    [
        ("so[2-2.5] it[4.5-6]", "cut_in", 1.0),
        ("it[3.6-5]", "waited", 0.0),  # within the last half second it is an early answer
        ("yeah[2-2.3] it[4.5-6]", "waited", 0.0),
        ("it[4.5-6]", "waited", 0.0),
        ("", "no_agent_speech", None),
    ],
)
def test_cut_ins(agent: str, expected: str, value: float | None) -> None:
    reading = read(scene(agent, "turn: [1-4]"), "cut_in")
    assert (reading.outcome, reading.value) == (expected, value)


# --- pauses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "expected", "value", "take"),
    [
        ("it[5-6]", "held", 1.0, None),
        ("yeah[2.25-2.75] it[5-6]", "backchannelled", 1.0, None),
        ("so[2.25-2.75]", "took", 0.0, 0.25),
        ("so[1.5-2.75]", "took", 0.0, -0.5),
        ("so[2.875-6]", "held", 1.0, None),
        ("", "no_agent_speech", 0.0, None),
    ],
)
def test_every_outcome_of_a_pause(agent: str, expected: str, value: float, take: float | None) -> None:
    heard = scene(agent, "turn: [1-4] | pause: [2-3]")
    assert (read(heard, "pause_held").outcome, read(heard, "pause_held").value) == (expected, value)
    assert read(heard, "pause_take").value == take


def test_a_pause_that_could_not_be_taken_is_not_held() -> None:
    assert outcome(scene("it[5-6]", "pause: [2-2.1]"), "pause_held") == "not_exercised"
    assert outcome(scene("it[0.5-0.9]", "pause: [15.5-17]"), "pause_held") == "censored"


# --- the floor -------------------------------------------------------------------------------------------------

LISTENERS = ("backchannel", "background", "side_talk")


@given(st.integers(13, 192).map(lambda n: n * STEP))
def test_any_stop_after_an_interruption_is_read_back(after: float) -> None:
    heard = scene(f"and[3-{6 + after}] it[11-12.5]", "interruption: [6-10]")
    reading, latency = read(heard, "yielded"), read(heard, "stop_latency")
    if after <= 2:
        assert (reading.outcome, reading.value, latency.value) == ("yielded", 1.0, after)
        assert (outcome(heard, "interruption_answered"), read(heard, "interruption_latency").value) == ("answered", 1.0)
    else:
        assert (reading.outcome, reading.value, latency.value) == ("talked_through", 0.0, None)
        assert read(heard, "interruption_answered").value == 0


@given(st.sampled_from(LISTENERS), st.integers(13, 192).map(lambda n: n * STEP))
def test_the_same_stop_is_wrong_for_what_is_no_interruption(kind: str, after: float) -> None:
    reading = read(scene(f"and[3-{6 + after}]", f"{kind}: [6-6.5]"), "kept_floor")
    assert (reading.outcome, reading.value) == (("stopped", 0.0) if after <= 2 else ("continued", 1.0))


@pytest.mark.parametrize("kind", LISTENERS)
def test_a_false_stop_is_seen_even_if_the_agent_goes_on(kind: str) -> None:
    assert outcome(scene("and[3-6.4] so[7.2-12]", f"{kind}: [6-6.5]"), "kept_floor") == "resumed"
    assert outcome(scene("and[3-6.4] so[6.8-12]", f"{kind}: [6-6.5]"), "kept_floor") == "continued"  # a breath


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("and[3-6.5] it[11-12]", "answered"),
        ("and[3-6.5] it[9.75-11]", "early"),
        ("and[3-6.5] mm-hmm[10.5-11]", "backchannelled"),
        ("and[3-6.5]", "silent"),
        ("and[3-6.5] so[8-9]", "resumed"),
        ("and[3-12]", "talked_through"),
        ("and[3-5]", "not_exercised"),
        ("yeah[5.8-6.4]", "not_exercised"),  # a backchannel holds no floor to yield
        ("", "not_exercised"),
    ],
)
def test_what_follows_an_interruption(agent: str, expected: str) -> None:
    assert outcome(scene(agent, "interruption: [6-10]"), "interruption_answered") == expected


def test_an_agent_that_was_not_speaking_has_neither_yielded_nor_kept_the_floor() -> None:
    for kind, name in (("interruption", "yielded"), *((k, "kept_floor") for k in LISTENERS)):
        reading = read(scene("it[1-3]", f"{kind}: [6-7]"), name)
        assert (reading.outcome, reading.value) == ("not_exercised", None)


def test_a_recording_that_ends_in_speech_says_nothing_about_yielding() -> None:
    assert outcome(scene("and[3-7]", "interruption: [6-6.8]", duration=7.0), "yielded") == "censored"


def test_yielding_and_selectivity_are_complements_for_agents_that_do_not_listen() -> None:
    stops, never = "and[3-7]", "and[3-15]"
    for agent, yielded, kept in ((stops, 1.0, 0.0), (never, 0.0, 1.0)):
        outcomes = [outcome(scene(agent, f"{k}: [6-6.5]"), "floor_choice") for k in ("interruption", *LISTENERS)]
        both = selectivity(outcomes)
        assert (both.yielded, both.kept, both.balanced) == (yielded, kept, 0.5)
        assert (both.n_interruptions, both.n_others) == (1, 3)


def test_selectivity_without_interruptions_is_unknown_and_not_perfect() -> None:
    both = selectivity(["backchannel_continued", "not_exercised", "censored"])
    assert (both.yielded, both.kept, both.balanced) == (None, 1.0, None)


# --- quiet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "events", "expected"),
    [
        ("it[4.5-6]", "turn: [1-4] | side_talk: [9-10]", "stayed_quiet"),
        ("it[4.5-6] what[10.5-12]", "turn: [1-4] | side_talk: [9-10]", "spoke"),
        ("it[4.5-6] mm[10.5-11]", "turn: [1-4] | background: [9-10]", "stayed_quiet"),
        ("it[4.5-9.5]", "turn: [1-4] | background: [9-10]", "not_exercised"),
        ("it[6-7]", "turn: [1-4] | background: [5-6.5]", "not_exercised"),  # the answer was still due
        ("hi[0.1-0.9] it[13.5-14]", "side_talk: [9-10] | turn: [10.5-13]", "stayed_quiet"),  # answers the turn
        ("", "side_talk: [9-10]", "no_agent_speech"),
    ],
)
def test_speech_to_others_while_the_agent_is_silent(agent: str, events: str, expected: str) -> None:
    assert outcome(scene(agent, events), "stayed_quiet") == expected


@pytest.mark.parametrize(
    ("agent", "events", "expected", "seconds"),
    [
        ("hi[0.25-0.75] it[5-6]", "turn: [1-4]", "spoke", 0.5),
        ("it[5-6]", "turn: [1-4]", "quiet", 0.0),
        ("hello[2-3.5]", "", "spoke", 1.5),  # a silence stimulus
        ("", "", "quiet", 0.0),
    ],
)
def test_speech_before_the_user_has_spoken(agent: str, events: str, expected: str, seconds: float) -> None:
    reading = read(scene(agent, events), "unprompted")
    assert (reading.outcome, reading.value) == (expected, seconds)


# --- one figure in seconds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "events", "cost"),
    [
        ("it[4.5-6]", "turn: [1-4]", 0.5),
        ("it[3.75-6]", "turn: [1-4]", 0.25),
        ("it[2-2.5]", "turn: [1-4]", 3.0),
        ("", "turn: [1-4]", 12.0),
        ("it[5-6]", "pause: [2-3]", 0.0),
        ("it[2-3]", "pause: [2-3]", 16.0),
        ("", "pause: [2-3]", None),
        ("and[3-7]", "interruption: [6-9]", 1.0),
        ("and[3-15]", "interruption: [6-9]", 10.0),
        ("and[3-15]", "backchannel: [6-6.5]", 0.0),
        ("and[3-7]", "backchannel: [6-6.5]", 16.0),
        ("and[3-7] so[7.75-15]", "backchannel: [6-6.5]", 0.75),
        ("it[1-3]", "backchannel: [6-6.5]", None),
        ("it[1-3]", "side_talk: [6-6.5]", 0.0),
        ("it[1-3] so[7-8]", "side_talk: [6-6.5]", 16.0),
    ],
)
def test_what_an_event_costs(agent: str, events: str, cost: float | None) -> None:
    assert read(scene(agent, events), "cost").value == cost


# --- what did not happen ---------------------------------------------------------------------------------------

EVERY_KIND = ("turn", "pause", "interruption", *LISTENERS)
ALL = scene("and[3-7]", " | ".join(f"{kind}: [6-7]" for kind in EVERY_KIND))
EVENT_METRICS = [n for n, m in METRICS.items() if n.startswith("timing.") and m.applies(ALL.sample) != [None]]


@pytest.mark.parametrize("name", EVENT_METRICS)
def test_an_event_that_never_happened_stays_in_the_denominator_without_a_value(name: str) -> None:
    missed = tuple(msgspec.structs.replace(e, missed="the agent never spoke") for e in ALL.talk.events)
    heard = ALL._replace(talk=msgspec.structs.replace(ALL.talk, events=missed))
    readings = METRICS[name].read(heard)
    assert [r.event for r in readings] == METRICS[name].applies(heard.sample)
    assert {(r.outcome, r.value, r.reason) for r in readings} == {("not_exercised", None, "the agent never spoke")}


def test_a_turn_that_never_happened_cuts_no_other_turns_window_short() -> None:
    heard = talk("agent: Paris[5.5-7] | user: [1-4] | turn: [1-4] [5-6]", duration=16.0)
    first, second = heard.talk.events
    gone = msgspec.structs.replace(second, missed="its cue was never played")
    alone = heard._replace(talk=msgspec.structs.replace(heard.talk, events=(first, gone)))
    found = {name: METRICS[f"timing.{name}"].read(alone) for name in ("latency", "answered", "cut_in", "cost")}
    assert [(r.outcome, r.value) for r in found["latency"]] == [("answered", 1.5), ("not_exercised", None)]
    assert [r.value for r in found["answered"]] == [1.0, None]
    assert [r.outcome for r in found["cut_in"]] == ["waited", "not_exercised"]
    assert [r.value for r in found["cost"]] == [1.5, None]
    assert METRICS["timing.latency"].read(heard)[0].outcome == "silent"  # were it played, it would be its answer


@pytest.mark.parametrize("name", EVENT_METRICS)
def test_an_event_outside_the_recording_is_an_outcome_of_its_own(name: str) -> None:
    heard = scene("and[3-7]", " | ".join(f"{kind}: [20-21]" for kind in EVERY_KIND))
    assert {r.outcome for r in METRICS[name].read(heard)} == {"outside"}
