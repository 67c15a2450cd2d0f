"""Takes of one item show a system's own noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.takes import within_items
from protocols.records import Score


def scores(values: list[list[float | None]]) -> list[Score]:
    """One score per take, takes of an item in one list."""
    return [
        Score(f"s{i}", take, "m", "m/1", value, "x", None if value is not None else "broken", cluster=f"s{i}")
        for i, takes in enumerate(values)
        for take, value in enumerate(takes)
    ]


def test_equal_takes_have_no_variance_and_single_ones_tell_nothing() -> None:
    assert within_items(scores([[1.0], [0.0]]), "m") is None
    found = within_items(scores([[1.0, 1.0], [0.0, 0.0, 0.0], [1.0]]), "m")
    assert found is not None
    assert (found.items, found.takes, found.variance, found.agreeing) == (2, 5, 0.0, 1.0)
    rounded = within_items(scores([[0.1, 0.1, 0.1]]), "m")  # their mean is not 0.1
    assert rounded is not None
    assert rounded.variance == 0


def test_a_take_without_value_does_not_count() -> None:
    found = within_items(scores([[1.0, 0.0, None], [1.0, None]]), "m")
    assert found is not None
    assert (found.items, found.takes, found.variance, found.agreeing) == (1, 2, 0.5, 0.0)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=1, max_size=6))
def test_with_as_many_takes_each_it_is_the_mean_variance(values: list[list[float]]) -> None:
    found = within_items(scores([list(v) for v in values]), "m")
    assert found is not None
    assert found.variance == pytest.approx(float(np.mean([np.var(v, ddof=1) for v in values])), abs=1e-9)
