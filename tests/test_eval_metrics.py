"""Each class of each metric, its degenerate cases, and mutations that must show."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import talk
from eval.metrics import METRICS, metric
from eval.metrics.base import Heard, Reading
from eval.metrics.qa import find_alias, fold
from eval.score import BROKEN, scores_of
from protocols.errors import InputError
from protocols.records import Activity, Conversation, Listening
from protocols.timeline import shift

read_latency, read_pause_held, read_overlap = (
    METRICS[f"timing.{name}"].read for name in ("latency", "pause_held", "overlap")
)


def only(readings: list[Reading]) -> Reading:
    assert len(readings) == 1
    return readings[0]


@pytest.mark.parametrize(
    ("script", "outcome", "value"),
    [
        ("agent: [4.4-5] | user: [1-4] | turn: [1-4]", "answered", 0.4),
        ("agent: [4-5] | user: [1-4] | turn: [1-4]", "answered", 0.0),
        ("agent: [3.5-5] | user: [1-4] | turn: [1-4]", "early", -0.5),
        ("agent: [2-2.5] | user: [1-4] | turn: [1-4]", "early", -2.0),
        ("agent: [2-2.5] [4.6-5] | user: [1-4] | turn: [1-4]", "answered", 0.6),
        ("agent: [0.1-0.8] | user: [1-4] | turn: [1-4]", "silent", None),
        ("agent: | user: [1-4] | turn: [1-4]", "silent", None),
        ("agent: [8-9] | user: [1-4] | turn: [1-4]", "silent", None),
        ("agent: | user: [1-8] | turn: [1-8]", "censored", None),
    ],
)
def test_response_latency(script: str, outcome: str, value: float | None) -> None:
    reading = only(read_latency(talk(script)))
    assert reading.outcome == outcome
    assert reading.value == (None if value is None else pytest.approx(value))
    assert (reading.reason is None) == (reading.value is not None)


def test_an_answer_belongs_to_the_turn_before_it_and_not_to_the_next() -> None:
    first, second = read_latency(talk("agent: [5-6] | user: [1-2] [3-4] | turn: [1-2] [3-4]"))
    assert first.outcome == "silent"
    assert (second.outcome, second.value) == ("answered", 1.0)


def test_latency_shows_the_spans_it_rests_on() -> None:
    reading = only(read_latency(talk("agent: [4.4-5] [5.1-6] | user: [1-4] | turn: [1-4]")))
    assert [(e.label, e.channel, e.start, e.end) for e in reading.evidence] == [
        ("turn", "user", 1.0, 4.0),
        ("answer", "agent", 4.4, 6.0),
    ]


@pytest.mark.parametrize(
    ("agent", "outcome", "value"),
    [
        ("[5-6]", "held", 1.0),
        ("[2.1-2.6]", "took", 0.0),
        ("[2.95-3.6]", "held", 1.0),
        ("[1.5-2.5]", "took", 0.0),
        ("[2.2-2.3]", "held", 1.0),
        ("", "no_agent_speech", 0.0),
    ],
)
def test_pause_held(agent: str, outcome: str, value: float) -> None:
    reading = only(read_pause_held(talk(f"agent: {agent} | user: [1-2] [3-4] | turn: [1-4] | pause: [2-3]")))
    assert (reading.outcome, reading.value) == (outcome, value)


@pytest.mark.parametrize(
    ("script", "outcome", "value"),
    [
        ("agent: [3-5] | user: [1-4]", "overlap", 6.0),
        ("agent: [5-6] | user: [1-4]", "none", 0.0),
        ("agent: | user: [1-4]", "no_agent_speech", None),
        ("agent: [1-4] | user:", "no_user_speech", None),
    ],
)
def test_overlap(script: str, outcome: str, value: float | None) -> None:
    reading = only(read_overlap(talk(script)))
    assert (reading.outcome, reading.value) == (outcome, value)


TALK = "agent: [2.2-2.7] [4.6-5.5] | user: [1-2] [3-4] | turn: [1-4] | pause: [2-3]"


@given(st.integers(-8, 24).map(lambda n: n / 8))
def test_timing_does_not_depend_on_where_the_clock_starts(by: float) -> None:
    heard = talk(TALK, duration=20.0)
    moved = _moved(heard, by)
    for read in (read_latency, read_pause_held, read_overlap):
        before, after = ([(r.outcome, r.value) for r in read(h)] for h in (heard, moved))
        assert [o for o, _ in before] == [o for o, _ in after]
        assert [v for _, v in before] == pytest.approx([v for _, v in after])


@pytest.mark.parametrize("metric_name", ["timing.latency", "timing.pause_held"])
def test_swapped_channels_and_moved_events_change_the_figure(metric_name: str) -> None:
    heard = talk(TALK)
    read = METRICS[metric_name].read
    right = [(r.outcome, r.value) for r in read(heard)]
    swapped = heard._replace(
        listening=msgspec.structs.replace(
            heard.listening,
            activity=tuple(
                Activity("user" if a.channel == "agent" else "agent", a.source, a.spans)
                for a in heard.listening.activity
            ),
        )
    )
    assert [(r.outcome, r.value) for r in read(swapped)] != right
    shifted_events = tuple(msgspec.structs.replace(e, start=e.start + 1, end=e.end + 1) for e in heard.talk.events)
    shifted = heard._replace(talk=msgspec.structs.replace(heard.talk, events=shifted_events))
    assert [(r.outcome, r.value) for r in read(shifted)] != right


def test_one_frame_off_is_one_frame_in_the_figure() -> None:
    late = talk(TALK.replace("4.6-5.5", "4.68-5.58"))
    difference = only(read_latency(late)).value - only(read_latency(talk(TALK))).value  # type: ignore[operator]
    assert difference == pytest.approx(0.08)


def _moved(heard: Heard, by: float) -> Heard:
    activity = tuple(Activity(a.channel, a.source, shift(a.spans, by)) for a in heard.listening.activity)
    events = tuple(msgspec.structs.replace(e, start=e.start + by, end=e.end + by) for e in heard.talk.events)
    return heard._replace(
        talk=msgspec.structs.replace(heard.talk, events=events),
        listening=msgspec.structs.replace(heard.listening, activity=activity),
    )


# --- spoken questions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "aliases", "right"),
    [
        ("It is Paris.", ["Paris"], True),
        ("It is paris, of course", ["PARIS"], True),
        ("I would say George Washington", ["George Washington"], True),
        ("Washington, George", ["George Washington"], False),
        ("It has eight legs", ["8"], True),
        ("It has 60 minutes", ["sixty"], True),
        ("The colour is upbeat", ["Pb"], False),
        ("The symbol is Pb", ["Pb"], True),
        ("Sao Paulo", ["São Paulo"], True),
        ("The answer is the Amazon", ["Amazon"], True),
        ("It is Amazon", ["The Amazon"], True),
        ("Parisian", ["Paris"], False),
        ("", ["Paris"], False),
        ("the", ["the"], False),
        ("I do not know", ["Paris", "know"], True),
    ],
)
def test_an_alias_is_found_by_whole_words(answer: str, aliases: list[str], right: bool) -> None:
    assert (find_alias(answer, aliases) is not None) == right


def test_folding_is_stable() -> None:
    for text in ("Twenty-one Pilots", "the 21st century", "Café au lait", "3.14"):
        assert fold(" ".join(fold(text))) == fold(text)


@pytest.mark.parametrize(
    ("agent", "outcome", "value"),
    [
        ("Paris[5-6]", "right", 1.0),
        ("Rome[5-6]", "wrong", 0.0),
        ("Paris[0.1-0.5]", "greeting_only", 0.0),
        ("Paris[0.1-0.5] Rome[5-6]", "wrong", 0.0),
        ("", "no_answer", 0.0),
    ],
)
@pytest.mark.parametrize("name", ["qa.text", "qa.speech"])
def test_answers_are_read_from_the_turn_on(name: str, agent: str, outcome: str, value: float) -> None:
    heard = talk(f"agent: {agent} | user: [1-4] | turn: [1-4]", answers=("Paris",))
    reading = only(METRICS[name].read(heard))
    assert (reading.outcome, reading.value) == (outcome, value)


def test_a_system_without_text_is_not_wrong_but_unscored() -> None:
    heard = talk("agent: [5-6] | user: [1-4] | turn: [1-4]", answers=("Paris",))
    mute = heard._replace(talk=msgspec.structs.replace(heard.talk, transcripts=()))
    reading = only(METRICS["qa.text"].read(mute))
    assert reading.value is None
    assert reading.reason


# --- failures stay in the denominator --------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("how", ["failed", "unheard", *BROKEN])
def test_a_broken_talk_is_counted_and_never_scored(name: str, how: str) -> None:
    heard = talk(TALK, answers=("Paris",))
    conversation: Conversation = heard.talk
    listening: Listening | None = heard.listening
    if how == "failed":
        conversation = Conversation("s", 0, "test", 0, None, "the system raised")
    elif how == "unheard":
        listening = None
    else:
        listening = msgspec.structs.replace(heard.listening, guards=(how,))
    scores = list(scores_of(heard.sample, conversation, listening, [METRICS[name]]))
    assert len(scores) == len(METRICS[name].read(heard))
    assert all(s.value is None and s.outcome == "broken" and s.reason for s in scores)


def test_a_silent_agent_is_never_rewarded() -> None:
    silent = talk("agent: | user: [1-2] [3-4] | turn: [1-4] | pause: [2-3]", answers=("Paris",))
    for m in METRICS.values():
        if m.info.name.startswith("compat."):
            continue  # published rules, rewards for silence included
        for reading in m.read(silent):
            if m.info.better == "higher":
                assert reading.value in (None, 0.0), m.info.name
            elif m.info.better == "lower":
                assert reading.value is None or reading.value > 0, m.info.name


def test_every_metric_has_a_full_card_and_unknown_ones_offer_the_nearest() -> None:
    for name, m in METRICS.items():
        assert m.info.name == name
        assert m.info.definition.endswith(".")
        assert m.info.degenerate.endswith(".")
        assert m.info.margin > 0
    with pytest.raises(InputError, match=r"timing\.latency"):
        metric("timing.latencyy")
