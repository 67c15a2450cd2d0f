"""Bootstrap, sign flips, shares and shifts: the quick ways against the plain ones, and planning against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq, minimize_scalar

from analysis.estimates import Undefined
from analysis.multiplicity import Harm, benjamini_hochberg, holm, noninferior, tost
from analysis.paired import clustered_error, compare, takes, verdict
from analysis.power import (
    RatingPlan,
    detectable,
    detectable_effect,
    detectable_share,
    expected_shift,
    mcnemar_power,
    power,
)
from analysis.resample import _flip_tail, _flipped, bca, bootstrap, group, sign_flip, standard_error
from analysis.shares import Z, mcnemar, newcombe, tango
from analysis.shift import hodges_lehmann


def names(n: int) -> list[str]:
    return [f"c{i}" for i in range(n)]


def test_bca_equals_scipys_up_to_the_widening() -> None:
    values = np.random.default_rng(0).exponential(1.0, 3_000)
    ours = bca(group(values, names(3_000)), 0)
    other = stats.bootstrap((values,), np.mean, n_resamples=9_999, method="BCa", batch=500, rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((other.low, other.high), abs=0.03 * (other.high - other.low))


@pytest.mark.parametrize("kind", ["normal", "exponential", "few levels", "one giant"])
def test_every_way_of_resampling_gives_the_same_distribution(kind: str) -> None:
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(size=1_000), "exponential": rng.exponential(size=1_000),
        "few levels": rng.choice([-1.0, 0.0, 1.0], 1_000), "one giant": np.append(rng.normal(size=999), 400.0),
    }[kind]  # fmt: skip
    made = np.quantile(bootstrap(group(values, names(1_000)), 0), [0.025, 0.25, 0.5, 0.75, 0.975])
    plain = np.quantile(values[rng.integers(0, 1_000, (4_000, 1_000))].mean(axis=1), [0.025, 0.25, 0.5, 0.75, 0.975])
    assert made == pytest.approx(plain, abs=0.08 * (plain[-1] - plain[0]))


def test_clusters_of_unequal_size_are_resampled_as_a_ratio() -> None:
    rng = np.random.default_rng(0)
    clusters = [f"c{i}" for i in range(80) for _ in range(1 + i % 5)]
    values = rng.normal(size=len(clusters)) + np.array([int(c[1:]) for c in clusters]) / 40
    grouped = group(values, clusters)
    assert bootstrap(grouped, 0).std() == pytest.approx(standard_error(grouped), rel=0.08)


def test_sign_flips_by_characteristic_function_equal_random_ones() -> None:
    sums = np.random.default_rng(0).exponential(size=800)
    for observed in (10.0, 60.0, 90.0):
        plain = np.mean(np.abs(_flipped(sums, np.random.default_rng(1))) >= observed)
        assert _flip_tail(sums, observed) == pytest.approx(plain, abs=0.01)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
@settings(max_examples=40, deadline=None)
def test_sign_flips_of_few_clusters_are_all_made(differences: list[int]) -> None:
    values = np.array(differences, dtype=np.float64)
    flips = np.array(np.meshgrid(*[[-1, 1]] * len(values))).reshape(len(values), -1).T
    exact = np.mean(np.abs(flips @ values) >= abs(values.sum()) - 1e-9)
    assert sign_flip(values, names(len(values)), 0) == pytest.approx(exact)


def test_tango_inverts_the_score_test_of_the_restricted_maximum() -> None:
    """Its likelihood is maximised here by search, not by Tango's formula."""
    gained, lost, n = 9, 3, 40

    def score(difference: float) -> float:
        def loss(down: float) -> float:
            up = down + difference
            return -(gained * np.log(up) + lost * np.log(down) + (n - gained - lost) * np.log(1 - up - down))

        edge = (max(0.0, -difference) + 1e-9, (1 - difference) / 2 - 1e-9)
        down = minimize_scalar(loss, bounds=edge, method="bounded", options={"xatol": 1e-12}).x
        return float((gained - lost - n * difference) / np.sqrt(n * (2 * down + difference - difference**2)))

    low = brentq(lambda d: score(d) - Z, -0.5, gained / n - lost / n)
    high = brentq(lambda d: score(d) + Z, gained / n - lost / n, 0.9)
    made = tango(gained, lost, n)
    assert (made.low, made.high) == pytest.approx((low, high), abs=1e-5)


def test_paired_shares_equal_the_published_example() -> None:
    """Airway hyper-responsiveness of 21 children (Fagerland, Lydersen and Laake 2014)."""
    score, wilsons = tango(1, 7, 21), newcombe(1, 1, 7, 12)
    assert (score.low, score.high) == pytest.approx((-0.517, -0.026), abs=6e-4)
    assert (wilsons.low, wilsons.high) == pytest.approx((-0.507, -0.026), abs=6e-4)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (20, 0), (0, 20), (5, 5)])
def test_intervals_of_shares_never_have_no_width(gained: int, lost: int) -> None:
    for made in (tango(gained, lost, 20), newcombe(0, gained, lost, 20 - gained - lost)):
        assert -1 <= made.low < made.high <= 1
        assert made.low <= (gained - lost) / 20 <= made.high


def test_mid_p_is_smaller_than_exact_p() -> None:
    assert mcnemar(3, 9, mid=True) == pytest.approx(mcnemar(3, 9) - stats.binom.pmf(3, 12, 0.5))


@pytest.mark.parametrize("n", [7, 30, 200])
def test_hodges_lehmann_equals_the_median_of_all_pairs(n: int) -> None:
    x = np.random.default_rng(n).normal(0.3, 1, n)
    pairs = ((x[:, None] + x) / 2)[np.triu_indices(n)]
    made = hodges_lehmann(x)
    assert made is not None
    assert made.value == pytest.approx(float(np.median(pairs)), abs=1e-9)
    inside = stats.wilcoxon(x - made.low - 1e-9, method="exact" if n < 60 else "approx").pvalue
    outside = stats.wilcoxon(x - made.low + 1e-9, method="exact" if n < 60 else "approx").pvalue
    assert outside <= 0.051
    assert inside >= 0.049


def test_hodges_lehmann_ends_where_differences_are_neighbouring_floats() -> None:
    """As with latencies that differ by rounding alone."""
    made = hodges_lehmann(np.tile([-0.4, np.nextafter(-0.4, 0), -0.4 + 3e-16], 4))
    assert made is not None
    assert made.value == pytest.approx(-0.4)


def test_hodges_lehmann_withstands_outliers_and_says_why_it_has_no_interval() -> None:
    x = np.append(np.linspace(-1, 1, 41), 1e6)
    made = hodges_lehmann(x)
    assert made is not None
    assert abs(made.value) < 0.1
    few, flat = hodges_lehmann(np.array([1.0, 2.0])), hodges_lehmann(np.ones(9))
    assert few is not None
    assert flat is not None
    assert few.why is not None
    assert flat.why is not None
    assert hodges_lehmann(np.array([])) is None


def test_standard_errors_of_one_and_two_ways_of_clustering() -> None:
    rng = np.random.default_rng(0)
    voice, seed = rng.integers(0, 12, 400), rng.integers(0, 15, 400)
    values = rng.normal(size=12)[voice] + rng.normal(size=15)[seed] + rng.normal(size=400)
    v, s = [f"v{i}" for i in voice], [f"s{i}" for i in seed]
    alone = clustered_error(values, names(400))
    assert alone == pytest.approx(float(stats.sem(values)))
    both, by_voice, by_seed = clustered_error(values, v, s), clustered_error(values, v), clustered_error(values, s)
    assert both is not None
    assert by_voice is not None
    assert by_seed is not None
    assert both > max(by_voice, by_seed)
    assert clustered_error(values, ["one"] * 400) is None


def test_takes_split_variance_into_items_and_chance() -> None:
    rng = np.random.default_rng(0)
    made = takes(np.repeat(rng.normal(0, 2, 400), 4) + rng.normal(0, 1, 1_600), [f"i{i // 4}" for i in range(1_600)])
    assert made is not None
    assert made.between == pytest.approx(4, rel=0.2)
    assert made.within == pytest.approx(1, rel=0.1)
    assert made.consistency == pytest.approx(0.8, abs=0.05)
    assert takes(np.array([1.0, 2.0]), ["a", "b"]) is None
    same = takes(np.ones(4), ["a", "a", "b", "b"])
    assert same is not None
    assert same.consistency is None


def test_figures_that_never_differ_have_no_interval_and_are_undecided() -> None:
    made = compare(np.ones(30), np.ones(30), names(30), binary=False)
    assert made is not None
    assert made.difference.why is not None
    assert (made.p, made.detectable) == (1.0, None)
    assert verdict(made, True, 0.1) == "undecided"


def test_shares_that_never_differ_are_equivalent_once_there_are_enough() -> None:
    few, many = (compare(np.ones(n), np.ones(n), names(n), binary=True) for n in (20, 2_000))
    assert few is not None
    assert many is not None
    assert verdict(few, True, 0.05) == "undecided"
    assert verdict(many, True, 0.05) == "equivalent"


@pytest.mark.parametrize(
    ("n", "changed", "points"), [(300, 0.10, 5.1), (450, 0.15, 5.1), (1_000, 0.25, 4.4), (14_763, 0.10, 0.7)]
)
def test_detectable_shares_equal_the_table_of_the_usual_sets(n: int, changed: float, points: float) -> None:
    assert 100 * detectable_share(n, changed) == pytest.approx(points, abs=0.06)


def test_power_of_mcnemar_equals_simulation() -> None:
    rng = np.random.default_rng(0)
    tables = rng.multinomial(120, [0.16, 0.06, 0.78], 3_000)
    plain = np.mean([mcnemar(int(g), int(n)) < 0.05 for g, n, _ in tables])
    assert mcnemar_power(120, 0.16, 0.06) == pytest.approx(plain, abs=0.03)
    assert mcnemar_power(50, 0.0, 0.0) == 0.0


def test_power_grows_with_raters_and_talks_and_is_five_percent_without_effect() -> None:
    assert power(RatingPlan(40, 3, 0.0), 0).power.value == pytest.approx(0.05, abs=0.02)
    small, more, longer = (power(RatingPlan(r, t, 0.5), 0).power.value for r, t in ((20, 2), (60, 2), (20, 8)))
    assert small < more
    assert small < longer


def test_the_detectable_effect_is_found_in_four_of_five_studies() -> None:
    plan = RatingPlan(30, 4, 0.0)
    effect = detectable_effect(plan, seed=0, studies=1_000)
    assert effect is not None
    assert power(plan._replace(effect=effect), seed=1).power.value == pytest.approx(0.8, abs=0.03)
    assert expected_shift(plan._replace(effect=effect)) > 0.2
    assert detectable_effect(RatingPlan(2, 1, 0.0), studies=200) is None
    assert detectable(0.0, 10) is None
    assert detectable(None, 10) is None


def test_no_harm_needs_more_than_no_significance() -> None:
    assert noninferior(0.0, 0.05, 50, 0.2, True) == Harm("none", pytest.approx(0.0001, abs=2e-4))  # type: ignore[arg-type]
    vague = noninferior(0.0, 0.5, 50, 0.2, True)
    assert isinstance(vague, Harm)
    assert vague.said == "undecided"
    for error, df, margin in ((None, 10, 0.1), (0.0, 10, 0.1), (0.1, 0, 0.1), (0.1, 10, 0.0)):
        assert isinstance(tost(0.0, error, df, margin), Undefined)


def test_adjusted_p_of_none_and_one() -> None:
    assert (holm([]), benjamini_hochberg([])) == ([], [])
    assert holm([0.03]) == benjamini_hochberg([0.03]) == [pytest.approx(0.03)]
