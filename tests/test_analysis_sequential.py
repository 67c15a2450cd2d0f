"""Looking at a running study: false alarms at any time, coverage at all times, known closed forms, and the ends."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from analysis.sequential import (
    mean_e_values,
    mean_sequence,
    monitor_mean,
    monitor_signs,
    share_sequence,
    sign_e_values,
)


def test_the_e_value_is_the_mixture_it_says() -> None:
    signs = [1, 1, -1, 1, 0, 1]
    mixture, _ = quad(lambda p: p**4 * (1 - p) * beta.pdf(p, 0.5, 0.5), 0, 1)
    assert np.exp(sign_e_values(signs)[-1]) == pytest.approx(mixture * 2**5, rel=1e-6)


def test_the_expected_e_value_under_no_difference_is_one() -> None:
    """Over all sequences of ten equally likely signs, and over ten values of a fair three-valued payoff."""
    signs = 1 - 2 * ((np.arange(2**10)[:, None] >> np.arange(10)) & 1)
    assert np.mean([np.exp(sign_e_values(row)[-1]) for row in signs]) == pytest.approx(1)
    payoffs = np.array(np.meshgrid(*[[0.0, 0.4, 1.0]] * 6)).reshape(6, -1).T
    chance = np.prod(np.where(payoffs == 0.4, 0.5, np.where(payoffs == 0, 0.3, 0.2)), axis=1)
    made = np.array([np.exp(mean_e_values(row, 0, 1, 0.4)[-1]) for row in payoffs])
    assert made @ chance == pytest.approx(1)


def test_false_alarms_at_any_look_stay_under_five_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    ever = sum(sign_e_values(rng.choice([-1, 1], 300)).max() > np.log(20) for _ in range(400))
    means = sum(mean_e_values(rng.beta(0.5, 0.5, 200), 0, 1, 0.5).max() > np.log(20) for _ in range(300))
    assert ever / 400 <= 0.05
    assert means / 300 <= 0.05


def test_the_sequence_holds_what_the_e_value_does_not_reject() -> None:
    low, high = share_sequence(40, 50)
    for share in (low, high):
        mixture = beta.pdf(0.3, 40.5, 10.5) / beta.pdf(0.3, 0.5, 0.5) * 1  # the ratio is free of p up to p^40 (1-p)^10
        log_e = np.log(0.3**40 * 0.7**10 / mixture) - 40 * np.log(share) - 10 * np.log(1 - share)
        assert log_e == pytest.approx(np.log(20), abs=1e-6)


def test_the_mean_sequence_narrows_and_holds_the_mean() -> None:
    values = np.random.default_rng(1).beta(4, 2, 400) * 8 - 4
    widths = [np.diff(mean_sequence(values[:n], -4, 4))[0] for n in (10, 50, 400)]
    assert widths[0] > widths[1] > widths[2]
    low, high = mean_sequence(values, -4, 4)
    assert low < 8 * 4 / 6 - 4 < high


def test_a_strong_preference_stops_early_with_a_verdict() -> None:
    made = monitor_signs([1] * 12, margin=0.02)
    assert made is not None
    assert (made.verdict, made.stop) == ("better", True)
    assert made.p < 0.01
    few = monitor_signs([1, -1, 1], margin=0.02)
    assert few is not None
    assert (few.verdict, few.stop) == ("undecided", False)


def test_no_difference_within_a_wide_margin_becomes_equivalent() -> None:
    made = monitor_mean(np.tile([-0.5, 0.5], 400), -4, 4, null=0.0, margin=1.0)
    assert made is not None
    assert made.verdict == "equivalent"


def test_nothing_constants_and_ties_are_no_crash() -> None:
    assert monitor_signs([], 0.1) is None
    assert monitor_signs([0, 0], 0.1) is None
    assert monitor_mean(np.array([]), -4, 4, 0.0, 0.1) is None
    same = monitor_mean(np.full(30, 4.0), -4, 4, null=0.0, margin=0.1)
    assert same is not None
    assert same.verdict == "better"
    assert 0 < same.low < same.high <= 4
