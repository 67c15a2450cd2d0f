import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.timeline import (
    Span,
    at,
    clip,
    complement,
    first_from,
    intersect,
    is_track,
    shift,
    subtract,
    total,
    track,
    union,
    utterances,
)

times = st.integers(0, 200).map(lambda n: n / 8)  # exact in binary, so that algebra can be tested with ==
spans = st.tuples(times, times)
tracks = st.lists(spans, max_size=12).map(track)
WINDOW = Span(0.0, 25.0)


@given(st.lists(spans, max_size=12))
def test_a_track_is_sorted_disjoint_and_covers_what_was_given(given_spans: list[tuple[float, float]]) -> None:
    made = track(given_spans)
    assert is_track(made)
    for step in range(200):
        moment = step / 8 + 1 / 16
        assert (at(made, moment) is not None) == any(s <= moment < e for s, e in given_spans)


@given(tracks, tracks)
def test_sides_can_be_swapped(a: tuple[Span, ...], b: tuple[Span, ...]) -> None:
    assert intersect(a, b) == intersect(b, a)
    assert union(a, b) == union(b, a)


@given(tracks, tracks)
def test_lengths_add_up(a: tuple[Span, ...], b: tuple[Span, ...]) -> None:
    assert total(union(a, b)) == total(a) + total(b) - total(intersect(a, b))
    assert total(subtract(a, b)) == total(a) - total(intersect(a, b))
    assert total(complement(a, WINDOW)) == WINDOW.duration - total(clip(a, WINDOW))


@given(tracks)
def test_what_a_track_and_its_silence_share_is_nothing(a: tuple[Span, ...]) -> None:
    assert intersect(a, complement(a, WINDOW)) == ()
    assert union(a, complement(a, WINDOW)) == ((WINDOW,) if WINDOW.duration else ())


@given(tracks, tracks, st.integers(-80, 80).map(lambda n: n / 8))
def test_everything_moves_with_the_clock(a: tuple[Span, ...], b: tuple[Span, ...], by: float) -> None:
    assert shift(intersect(a, b), by) == intersect(shift(a, by), shift(b, by))
    assert shift(utterances(a), by) == utterances(shift(a, by))
    assert total(shift(a, by)) == total(a)


@given(tracks, st.sampled_from([0.125, 0.25, 1.0]))
def test_utterances_are_parted_by_silence_and_lose_no_speech(a: tuple[Span, ...], silence: float) -> None:
    made = utterances(a, silence)
    assert subtract(a, made) == ()
    assert all(later.start - earlier.end >= silence for earlier, later in itertools.pairwise(made))
    assert {u.start for u in made} <= {s.start for s in a}


@given(tracks, times)
def test_the_first_span_from_a_time_is_the_earliest_that_starts_there_or_later(
    a: tuple[Span, ...], time: float
) -> None:
    assert first_from(a, time) == next((s for s in a if s.start >= time), None)


def test_a_silence_of_exactly_the_limit_parts_two_utterances() -> None:
    assert len(utterances([(0.0, 1.0), (1.2, 2.0)], silence=0.2)) == 2 - (1.2 - 1.0 < 0.2)
    assert len(utterances([(0.0, 1.0), (1.25, 2.0)], silence=0.25)) == 2
    assert len(utterances([(0.0, 1.0), (1.125, 2.0)], silence=0.25)) == 1


def test_spans_are_half_open() -> None:
    a = track([(1.0, 2.0)])
    assert at(a, 1.0) == Span(1.0, 2.0)
    assert at(a, 2.0) is None
    assert intersect(a, track([(2.0, 3.0)])) == ()


@pytest.mark.parametrize("empty", [[], [(1.0, 1.0)], [(2.0, 1.0)]])
def test_nothing_in_nothing_out(empty: list[tuple[float, float]]) -> None:
    assert track(empty) == ()
    assert complement((), Span(0.0, 1.0)) == (Span(0.0, 1.0),)
