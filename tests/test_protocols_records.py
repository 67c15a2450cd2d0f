import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import from_json, tag, to_json
from protocols.errors import InputError
from protocols.records import (
    Activity,
    Conversation,
    Cue,
    Event,
    Evidence,
    Listening,
    Recording,
    Sample,
    Score,
    Transcript,
    Word,
)
from protocols.runs import Protocol
from protocols.timeline import track

names = st.text(max_size=12)
numbers = st.floats(0, 1e4, allow_nan=False)
ordered = st.tuples(numbers, numbers).map(sorted)
events = ordered.flatmap(
    lambda t: st.builds(Event, st.sampled_from(["turn", "pause"]), st.just(t[0]), st.just(t[1]), names)
)
words = ordered.flatmap(lambda t: st.builds(Word, names, st.just(t[0]), st.just(t[1])))
evidence = st.builds(Evidence, names, st.sampled_from(["agent", "user"]), numbers, numbers, names, names)
cues = st.builds(Cue, names, numbers, numbers, st.none() | numbers, numbers, st.none() | st.integers(0, 1))
tuples = lambda of: st.lists(of, max_size=3).map(tuple)  # noqa: E731
samples = st.builds(
    Sample, names, names, tuples(cues), numbers, tuples(events), names, tuples(names), st.none() | names, tuples(names),
    st.none() | tuples(names),
)  # fmt: skip
valued = st.tuples(numbers, st.none()) | st.tuples(st.none(), names)
scores = valued.flatmap(
    lambda v: st.builds(
        Score, names, st.integers(0, 9), names, names, st.just(v[0]), names, st.just(v[1]),
        st.none() | st.integers(0, 5), tuples(evidence), st.none() | names,
    )
)  # fmt: skip
tracks = st.lists(st.tuples(numbers, numbers), max_size=5).map(track)
listenings = st.builds(
    Listening,
    names,
    st.integers(0, 9),
    tuples(st.builds(Activity, st.sampled_from(["agent", "user"]), names, tracks)),
    tuples(st.builds(Transcript, st.sampled_from(["agent", "user"]), names, tuples(words))),
    tuples(st.sampled_from(["agent_silent", "clipped"])),
)


@given(samples | scores | listenings)
def test_a_record_survives_json(record: Sample | Score | Listening) -> None:
    line = to_json(record)
    assert b"\n" not in line
    assert from_json(line, type(record)) == record


def test_a_record_names_its_kind_and_schema() -> None:
    score = Score("s", 0, "m", "m/1", 1.0, "held")
    assert json.loads(to_json(score))["record"] == tag(Score) == "score/1"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"record": "score/2"}, "score/2"),
        ({"valeu": 1}, "valeu"),
        ({"value": "high"}, "value"),
        ({"value": None}, "a reason why"),
    ],
)
def test_other_schemas_unknown_keys_and_wrong_types_are_errors(change: dict[str, object], says: str) -> None:
    data = json.loads(to_json(Score("s", 0, "m", "m/1", 1.0, "held"))) | change
    with pytest.raises(InputError, match=says):
        from_json(json.dumps(data), Score)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_an_input_error(data: bytes) -> None:
    for kind in (Score, Sample, Conversation):
        with pytest.raises(InputError):
            from_json(data, kind)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_a_number_is_never_a_value(bad: float) -> None:
    with pytest.raises(ValueError, match="reason"):
        Score("s", 0, "m", "m/1", bad, "held")


def test_a_score_has_a_value_or_a_reason_and_not_both() -> None:
    with pytest.raises(ValueError, match="either"):
        Score("s", 0, "m", "m/1", None, "held")
    with pytest.raises(ValueError, match="either"):
        Score("s", 0, "m", "m/1", 1.0, "held", reason="none")


def test_a_conversation_has_a_recording_or_a_reason() -> None:
    with pytest.raises(ValueError, match="either"):
        Conversation("s", 0, "x", 0, None)
    with pytest.raises(ValueError, match="either"):
        Conversation("s", 0, "x", 0, Recording("a", 24_000, 1, ""), "broken")


def test_time_runs_forward() -> None:
    with pytest.raises(ValueError, match="before it starts"):
        Word("hi", 1.0, 0.5)
    with pytest.raises(ValueError, match="before it starts"):
        Event("turn", 1.0, 0.5, "made")


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Word("hi", 0.0, 1.0).text = "ho"  # type: ignore[misc]


def test_two_protocols_tell_where_they_differ() -> None:
    a = Protocol("quick", "00", 1, 0, 0.96, 4.0, "none", "simulated")
    b = Protocol("quick", "00", 1, 0, 3.0, 4.0, "none", "real-time")
    assert a.differences(a) == []
    assert a.differences(b) == ["lead in 0.96 against 3.0", "clock 'simulated' against 'real-time'"]


def test_protocols_that_decode_otherwise_say_in_what() -> None:
    a = Protocol("s", "0", 1, 0, 0.5, 1.0, "none", "simulated", decoding={"text_temperature": 0.7, "padding_bias": 0.0})
    b = msgspec.structs.replace(a, decoding={"text_temperature": 0.7, "padding_bias": -1.0, "greeting": True})
    assert a.differences(b) == [
        "decoding padding_bias 0.0 against -1.0", "decoding greeting not given against True"
    ]  # fmt: skip
