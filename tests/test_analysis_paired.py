"""Statistics against independent implementations, known cases, and their degenerate ends."""

import numpy as np
import pytest
from scipy import stats

from analysis.paired import (
    Comparison,
    Estimate,
    bootstrap_means,
    compare,
    mcnemar,
    mean_estimate,
    n_to_decide,
    sign_flip,
    verdict,
    wilson,
)
from analysis.tables import pair, pair_over_takes
from protocols.records import Score


def names(n: int) -> list[str]:
    return [f"c{i}" for i in range(n)]


def test_wilson_equals_the_textbook_formula() -> None:
    for k, n in ((0, 10), (3, 10), (10, 10), (50, 200)):
        z, p = stats.norm.ppf(0.975), k / n
        middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        assert wilson(k, n) == pytest.approx(((middle - half) / scale, (middle + half) / scale), abs=1e-12)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 64), (1, 8, 2 * 10 / 512)])
def test_mcnemar_is_exact(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_the_sign_flip_agrees_with_all_arrangements() -> None:
    differences = np.array([0.3, -0.1, 0.5, 0.2, 0.4, -0.2, 0.6, 0.1])
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert sign_flip(differences, names(8), 0) == pytest.approx(exact, abs=0.01)


def test_the_bootstrap_agrees_with_scipys() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 60)
    low, high = np.quantile(bootstrap_means(values, names(60), 0), [0.025, 0.975])
    other = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.03)


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0, 1, 20), 10) + rng.normal(0, 0.1, 200)
    alone = mean_estimate(values, names(200), False, 0)
    grouped = mean_estimate(values, [f"c{i // 10}" for i in range(200)], False, 0)
    assert alone is not None
    assert grouped is not None
    assert (grouped.high - grouped.low) > 2 * (alone.high - alone.low)  # type: ignore[operator]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(80):
        a, b = rng.normal(0, 1, 40), rng.normal(0.5, 1, 40)
        made = compare(a, b, names(40), binary=False, seed=i)
        assert made is not None
        hits += made.difference.low <= 0.5 <= made.difference.high  # type: ignore[operator]
    assert 0.87 <= hits / 80 < 1


def test_no_difference_is_rarely_called_one() -> None:
    rng = np.random.default_rng(1)
    called = 0
    for i in range(200):
        made = compare(*(rng.random((2, 50)) < 0.6).astype(float), names(50), binary=True, seed=i)
        assert made is not None
        called += verdict(made, True, 0.01) in ("better", "worse")
    assert called / 200 <= 0.05


def test_nothing_and_a_single_cluster_have_no_interval_and_say_why() -> None:
    assert mean_estimate(np.array([]), [], False, 0) is None
    assert compare(np.array([]), np.array([]), [], True) is None
    one = compare(np.array([0.0, 1.0]), np.array([1.0, 1.0]), ["c", "c"], binary=True)
    assert one is not None
    assert one.difference.low is None
    assert one.difference.why == "a single cluster has no interval"
    assert verdict(one, True, 0.05) == "undecided"


def comparison(low: float, high: float, p: float) -> Comparison:
    e = Estimate((low + high) / 2, low, high, 100, 100)
    return Comparison(e, e, e, p, "test", 1, 1)


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [
        (0.1, 0.3, 0.01, "better"),
        (-0.3, -0.1, 0.01, "worse"),
        (-0.02, 0.02, 0.9, "equivalent"),
        (0.01, 0.03, 0.2, "equivalent"),
        (0.01, 0.03, 0.001, "equivalent"),
        (-0.1, 0.3, 0.3, "undecided"),
        (0.01, 0.3, 0.06, "undecided"),
    ],
)
def test_verdicts(low: float, high: float, p: float, said: str) -> None:
    assert verdict(comparison(low, high, p), True, 0.05) == said
    opposite = {"better": "worse", "worse": "better"}
    assert verdict(comparison(low, high, p), False, 0.05) == opposite.get(said, said)


def test_more_items_decide_what_is_undecided() -> None:
    assert n_to_decide(comparison(-0.1, 0.3, 0.3), 0.05) == 400
    assert n_to_decide(comparison(-0.1, 0.1, 1.0), 0.05) == 400


def score(sample: str, value: float | None, event: int | None = None) -> Score:
    return Score(sample, 0, "m", "m/1", value, "x", None if value is not None else "broken", event)


def test_pairing_counts_what_it_cannot_match() -> None:
    a = [score("1", 0.0), score("2", 1.0), score("3", None), score("4", 1.0), score("5", 1.0, event=1)]
    b = [score("2", 0.0), score("1", 1.0), score("3", 1.0), score("6", 1.0), score("5", 1.0, event=2)]
    made = pair(a, b, "m")
    assert [item.sample for item in made.items] == ["1", "2"]
    assert made.a.tolist() == [0.0, 1.0]
    assert made.b.tolist() == [1.0, 0.0]
    assert (made.only_a, made.only_b, made.unscored) == (2, 2, 1)


def test_runs_of_different_numbers_of_takes_are_compared_on_all_of_them() -> None:
    def takes(sample: str, *values: float | None) -> list[Score]:
        return [
            Score(sample, i, "m", "m/1", value, "x", None if value is not None else "broken")
            for i, value in enumerate(values)
        ]

    a = takes("1", 0.0, 1.0, 1.0, 0.0) + takes("2", None, 1.0) + takes("3", None)
    b = takes("1", 1.0) + takes("2", 0.0) + takes("3", 1.0) + takes("4", 1.0)
    made = pair_over_takes(a, b, "m")
    assert [(item.sample, item.take) for item in made.items] == [("1", None), ("2", None)]
    assert made.a.tolist() == [0.5, 1.0]
    assert made.b.tolist() == [1.0, 0.0]
    assert (made.only_a, made.only_b, made.unscored) == (0, 1, 1)


def test_a_later_score_replaces_an_earlier_one() -> None:
    made = pair([score("1", 0.0), score("1", 1.0)], [score("1", 1.0)], "m")
    assert made.a.tolist() == [1.0]


def test_swapping_the_runs_swaps_the_sign() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 30), rng.normal(0.5, 1, 30)
    forth, back = compare(a, b, names(30), False), compare(b, a, names(30), False)
    assert forth is not None
    assert back is not None
    assert forth.difference.value == pytest.approx(-back.difference.value)
    assert forth.difference.low == pytest.approx(-back.difference.high, abs=0.03)  # type: ignore[operator]
    assert forth.p == pytest.approx(back.p)


def test_the_same_difference_everywhere_is_decided_by_the_test_and_the_margin() -> None:
    a = np.arange(20.0)
    later, few = compare(a, a + 0.5, names(20), False), compare(a[:3], a[:3] + 0.5, names(3), False)
    assert later is not None
    assert few is not None
    assert later.difference.low is None
    assert verdict(later, higher_is_better=False, margin=0.1) == "worse"
    assert verdict(later, higher_is_better=True, margin=0.1) == "better"
    assert (
        verdict(later, higher_is_better=True, margin=0.6) == "undecided"
    )  # without an interval, not equivalent either
    assert verdict(few, higher_is_better=True, margin=0.1) == "undecided"
