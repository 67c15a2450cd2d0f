"""Published rules, quirk by quirk: each known fault is reproduced with its switch on and gone with it off."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from builders import talk
from eval.metrics import METRICS
from eval.metrics.base import Heard, Reading
from eval.metrics.compat import compat_metrics, eva, fdb, sid, tau, vap
from eval.metrics.compat.fdb15 import intervals
from eval.metrics.compat.fdb_backchannel import divergence, frequency, histogram, read_segments, root_divergence
from eval.metrics.compat.metrics_fdb import jsd_metric
from eval.metrics.compat.quirks import MEANT, PUBLISHED, Quirks
from protocols.records import Word
from protocols.timeline import Span, track


def words(*spans: tuple[float, float]) -> list[Word]:
    return [Word("yeah", a, b) for a, b in spans]


def read(heard: Heard, name: str, quirks: Quirks = PUBLISHED) -> Reading:
    m = next(m for m in compat_metrics(quirks) if m.info.name == f"compat.{name}")
    return m.read(heard)[0]


# --- Full-Duplex-Bench v1 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], False),
        ([(5.0, 5.9)], False),
        ([(5.0, 6.0)], True),
        ([(5.0, 5.2), (5.2, 5.4), (5.4, 5.6)], False),
        ([(5.0, 5.2), (5.2, 5.4), (5.4, 5.6), (5.6, 5.8)], True),
    ],
)
@pytest.mark.parametrize("quirks", [PUBLISHED, MEANT])
def test_takeover_is_a_second_or_more_than_three_words(
    spans: list[tuple[float, float]], expected: bool, quirks: Quirks
) -> None:
    assert fdb.takeover(words(*spans), quirks) == expected


def test_quirk_whole_file_span_two_yeahs_five_seconds_apart_are_a_takeover() -> None:
    said = words((2, 2.3), (7, 7.3))
    assert fdb.takeover(said)
    assert not fdb.takeover(said, PUBLISHED._replace(whole_file_span=False))


def test_quirk_greeting_counts() -> None:
    said = words((0.1, 0.5), (0.5, 1.4))
    assert fdb.takeover(said, user_start=2.0)
    assert not fdb.takeover(said, PUBLISHED._replace(greeting_counts=False), user_start=2.0)


def test_quirk_early_is_zero_an_agent_that_spoke_over_the_user_gets_the_best_latency() -> None:
    said = words((1.0, 1.8), (1.8, 2.6))
    assert fdb.turn_latency(said, 5.0) == 0.0
    assert fdb.turn_latency(said, 5.0, PUBLISHED._replace(early_is_zero=False)) == -4.0
    heard = talk("agent: so[1-1.8] it[1.8-2.6] | user: [0.5-5] | turn: [0.5-5]")
    assert (read(heard, "fdb.turn_tor").value, read(heard, "fdb.turn_latency").value) == (1.0, 0.0)
    assert METRICS["timing.latency"].read(heard)[0].outcome == "early"


def test_quirk_talking_through_succeeds_an_agent_that_never_stops_takes_over_in_no_time() -> None:
    said = words(*((i / 2, i / 2 + 0.48) for i in range(40)))
    took, late = fdb.interruption(said, Span(6.0, 9.0))
    assert took
    assert late == 0.0
    assert fdb.interruption(said, Span(6.0, 9.0), PUBLISHED._replace(talking_through_succeeds=False)) == (False, None)
    heard = talk("agent: and[3-15] | user: [6-9] | interruption: [6-9]", duration=16.0)
    assert read(heard, "fdb.interruption_tor").value == 1.0
    assert METRICS["timing.yielded"].read(heard)[0].outcome == "talked_through"


def test_quirk_last_segment_decides() -> None:
    takeover, backchannel = Span(2, 4), Span(8, 8.4)
    for order, published in (((takeover, backchannel), False), ((Span(2, 2.4), Span(8, 10)), True)):
        assert read_segments(order, []).takeover == published
        assert read_segments(order, [], PUBLISHED._replace(last_segment_decides=False)).takeover


def test_quirk_takeovers_are_backchannels_and_raise_the_frequency() -> None:
    both = (Span(2, 4), Span(8, 8.4))
    assert frequency(read_segments(both, []), 20.0) == 2 / 20
    assert frequency(read_segments(both, [], PUBLISHED._replace(takeovers_are_backchannels=False)), 20.0) == 1 / 20


def test_quirk_silence_is_one() -> None:
    nothing = read_segments((), [])
    assert not nothing.takeover
    assert divergence(nothing, 20.0, [1.0] * 100) == 1.0
    assert divergence(nothing, 20.0, [1.0] * 100, PUBLISHED._replace(silence_is_one=False)) is None


@pytest.mark.parametrize(
    ("segments", "n_words", "expected"),
    [
        ([Span(1, 4.01)], 0, True),
        ([Span(1, 4.0)], 0, True),  # a second or longer
        ([Span(1, 1.9)], 2, False),
        ([Span(1, 1.9)], 3, True),
        ([Span(1, 1.9)], 4, True),
        ([Span(1, 5), Span(7, 7.2)], 0, True),  # reading stops at the long one
    ],
)
def test_backchannel_segments(segments: list[Span], n_words: int, expected: bool) -> None:
    said = words(*((1 + i / 10, 1.1 + i / 10) for i in range(n_words)))
    assert read_segments(segments, said).takeover == expected


def test_a_published_figure_can_be_named_and_so_can_a_repaired_one() -> None:
    names = {m.info.name: m.scorer for m in compat_metrics(PUBLISHED._replace(early_is_zero=False))}
    assert names["compat.fdb.turn_tor"] == "compat.fdb.turn_tor/1,no early_is_zero"
    assert METRICS["compat.fdb.turn_tor"].scorer == "compat.fdb.turn_tor/1"


distributions = st.lists(st.integers(0, 9), min_size=4, max_size=40).filter(any)


@settings(max_examples=50)
@given(distributions, distributions)
def test_the_divergence_is_scipys(a: list[int], b: list[int]) -> None:
    n = min(len(a), len(b))
    p, q = np.array(a[:n], float), np.array(b[:n], float)
    if p.sum() and q.sum():
        got = root_divergence(p / p.sum(), q / q.sum())
        assert got == pytest.approx(float(np.nan_to_num(jensenshannon(p, q))), abs=1e-7)
        assert got <= math.sqrt(math.log(2)) + 1e-9


def test_backchannels_where_people_give_them_are_closer_than_elsewhere() -> None:
    people = histogram([Span(4, 4.4), Span(8, 8.4)], 20.0)
    near, far = (read_segments([Span(a, a + 0.4)], []) for a in (4, 15))
    assert divergence(near, 20.0, list(people)) < divergence(far, 20.0, list(people))  # type: ignore[operator]


def test_the_divergence_needs_a_reference_of_its_sample() -> None:
    heard = talk("agent: yeah[4-4.4] | user: [1-9]")
    assert jsd_metric({}).read(heard)[0].outcome == "no_reference"
    people = list(histogram([Span(4, 4.4)], heard.duration))
    assert jsd_metric({"s": people}).read(heard)[0].value == pytest.approx(0.0, abs=1e-4)  # empty bins count 1e-10


# --- Full-Duplex-Bench v1.5, and the same scenes through several rules ------------------------------------------

SCENES = {  # user 0-4 and 8-11 s, as published: stops .8 s after being interrupted; talks through; comes in early
    "stops": ([(5.0, 8.8), (12.0, 14.0)], [0.8], [1.0, 1.0]),
    "talks_through": ([(5.0, 15.0)], [3.0], [1.0]),
    "barges_in": ([(3.0, 5.0)], [1.0], []),
}


@pytest.mark.parametrize("name", sorted(SCENES))
def test_v15_lists_of_the_published_scenes(name: str) -> None:
    agent, stops, responses = SCENES[name]
    found = intervals(track(agent), track([(0, 4), (8, 11)]))
    assert [s.duration for s in found.stops] == pytest.approx(stops)
    assert [s.duration for s in found.responses] == pytest.approx(responses)


def test_tau_voice_of_the_published_scenes() -> None:
    user = track([(0, 4), (8, 11)])
    found = {}
    for name, (agent, _, _) in SCENES.items():
        found[name] = tau.read_talk(tau.Ticks(tau.ticks_of(track(agent), 16.0), tau.ticks_of(user, 16.0)))
    assert found["stops"].yields == pytest.approx((0.8,))
    assert found["stops"].latencies == pytest.approx((1.0, 1.0))
    assert (found["talks_through"].yields, found["talks_through"].talked_through) == ((), 1)
    assert found["barges_in"].cut_ins == 1


# --- tau-Voice -------------------------------------------------------------------------------------------------


def test_rates_over_fewer_than_ten_events_are_hidden() -> None:
    one = tau.TalkEvents(latencies=(1.0,), yields=(0.5,), backchannel=(True,))
    assert set(tau.panel([one] * 9)) == {None}
    shown = tau.panel([one] * 10)
    assert (shown.response_latency, shown.response_rate, shown.yield_rate, shown.backchannel) == (1.0, 1.0, 1.0, 1.0)
    assert tau.panel([one], min_events=1).yield_latency == 0.5
    assert set(tau.panel([])) == {None}


@pytest.mark.parametrize(
    ("agent", "label", "right"),
    [
        ([(1, 9)], "backchannel", True),
        ([(1, 4.6)], "backchannel", False),
        ([(1, 4.8)], "backchannel", False),
        ([(1, 5.0)], "backchannel", True),  # it talked on for the whole second
        ([(1, 9)], "non_directed", True),
        ([(6.0, 9)], "non_directed", False),
        ([(8, 9)], "non_directed", True),
        ([], "tic", True),
    ],
)
def test_what_is_not_addressed_should_neither_stop_nor_start_the_agent(
    agent: list[tuple[float, float]], label: tau.Label, right: bool
) -> None:
    user = tau.ticks_of(track([(4, 5)]), 12.0)
    ticks = tau.Ticks(tau.ticks_of(track(agent), 12.0), user, {20: label})
    assert getattr(tau.read_talk(ticks), label) == (right,)


def test_a_stop_after_a_second_and_a_half_is_kept_speech_to_tau_voice_and_a_false_stop_to_us() -> None:
    """Its window is 1 s for what is no interruption and 2 s for interruptions; ours is one for both."""
    heard = talk("agent: and[3-7.5] | user: [6-6.6] | backchannel: [6-6.6]", duration=12.0)
    assert read(heard, "tau.keeps_backchannel").value == 1.0
    assert METRICS["timing.kept_floor"].read(heard)[0].outcome == "stopped"


# --- EVA, VAP, SID ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency", "score"),
    [(-1, 0), (-0.5, 0), (-0.2, 0.3), (0, 0.5), (0.5, 1), (2, 1), (2.75, 0.5), (3.5, 0), (9, 0)],
)
def test_the_eva_curve(latency: float, score: float) -> None:
    assert eva.latency_score(latency) == pytest.approx(score)


def test_breaking_in_has_at_most_half_and_yielding_late_less() -> None:
    user = (Span(0, 4),)
    broke = eva.Turn(user, (Span(3.5, 4.0), Span(4.5, 6)), agent_interrupted=True)
    assert eva.turn_score(broke) == pytest.approx(0.375)
    assert eva.turn_score(eva.Turn(user, (Span(5, 6),), user_interrupted=True, before=(Span(-3, 1),))) == 0.5
    assert eva.turn_score(eva.Turn(user, ())) is None
    assert eva.count_score(3) == eva.overlap_score(2.0) == eva.yield_score(2.5) == 0


def test_an_unanswered_turn_scores_nothing() -> None:
    assert read(talk("agent: | user: [1-4] | turn: [1-4]"), "eva.turn_score")[:2] == (0.0, "unanswered")
    assert read(talk("agent: it[4.6-6] | user: [1-4] | turn: [1-4]"), "eva.turn_score")[:2] == (1.0, "latency")


def test_shifts_and_holds_need_a_second_of_one_side_before_and_after() -> None:
    user, agent = track([(0, 2), (2.5, 4)]), track([(4.5, 6)])
    found = vap.projection(agent, user, 10.0)
    assert (found.holds, found.shifts) == ((Span(2, 2.5),), (Span(4, 4.5),))
    crowded = vap.projection(track([(4.5, 6), (3.5, 3.75)]), user, 10.0)
    assert crowded.shifts == ()
    brief = vap.projection(track([(4.125, 6)]), user, 10.0)
    assert (brief.shifts, brief.holds) == ((), (Span(2, 2.5),))  # 0.125 s is no silence
    assert vap.backchannels(track([(3, 3.5), (8, 9)]), 10.0) == (Span(3, 3.5), Span(8, 9))
    assert vap.backchannels(track([(3, 3.5), (4, 9)]), 10.0) == ()


def test_sid_prices_both_errors_in_seconds() -> None:
    clips = [
        sid.Clip(8, 3, 3.5),
        sid.Clip(8, 3, 2.75),
        sid.Clip(8, 3, None),
        sid.Clip(6, None, 2),
        sid.Clip(6, None, None),
    ]
    assert [sid.penalty(c) for c in clips] == [0.5, 0.25, 5, 6, 0]
    found = sid.summary(clips)
    assert found == (0.5, 0.375, pytest.approx(11.75 / 5))
    assert sid.summary([]) == (None, None, None)


# --- as metrics ------------------------------------------------------------------------------------------------

RICH = (
    "agent: hi[1-1.5] it[6.5-9] so[9.75-12.5] well[14-15.5] | user: [2-4] [5-6] [8-8.25] [11-13] [16-16.5]"
    " | turn: [2-6] | pause: [4-5] | backchannel: [8-8.25] | interruption: [11-13] | side_talk: [16-16.5]"
)


@pytest.mark.parametrize("name", sorted(n for n in METRICS if n.startswith("compat.")))
def test_every_published_rule_reads_a_rich_talk(name: str) -> None:
    heard = talk(RICH, duration=20.0)
    readings = METRICS[name].read(heard)
    assert [r.event for r in readings] == METRICS[name].applies(heard.sample)
    assert any(r.value is not None for r in readings)


def test_the_answer_in_a_talks_tail_is_no_takeover_of_a_pause() -> None:
    """Published files end with the user's audio; our talks go on."""
    heard = talk("agent: it[4.5-5.5] is[5.5-6] | user: [1-4] | turn: [1-4] | pause: [2-3]", length=4.1)
    assert read(heard, "fdb.pause_tor").value == 0.0
    assert read(heard, "fdb.backchannel_freq").value == 0.0
    assert read(heard, "fdb.turn_tor").value == 1.0


def test_a_silent_agent_is_rewarded_by_published_rules_and_not_by_ours() -> None:
    """Why both stand side by side."""
    silent = talk("agent: | user: [1-2] [3-4] | turn: [1-4] | pause: [2-3]")
    assert read(silent, "fdb.pause_tor").value == 0.0  # lower is better there
    assert METRICS["timing.pause_held"].read(silent)[0].value == 0.0  # higher is better here
