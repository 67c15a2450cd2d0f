"""Whatever small or odd data comes in, every estimator gives figures or a reason: never NaN, never a crash."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.agreement import Judgements, icc, kappa, krippendorff
from analysis.blinding import Guesses, blinding
from analysis.estimates import Estimate, Undefined
from analysis.multiplicity import benjamini_hochberg, holm, noninferior, tost
from analysis.ordinal import Ratings
from analysis.paired import clustered_error, compare, mean_estimate, n_to_decide, takes, verdict
from analysis.preference import Strengths, Votes, prefer, strengths
from analysis.ratings import analyse_ratings, by_rater
from analysis.resample import group, sign_flip, standard_error
from analysis.sensitivity import arm_difference, situations, variants
from analysis.sequential import monitor_mean, monitor_signs
from analysis.shift import hodges_lehmann
from analysis.sweep import SweepRow, sweep

pytestmark = pytest.mark.filterwarnings("error")
NUMBER = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e-9, 1e9]),
    st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 6)),
)
NAME = st.sampled_from("abc")


def rows(*columns: st.SearchStrategy, most: int = 10) -> st.SearchStrategy[list[tuple]]:
    """None to `most` rows of a table; often many alike."""
    return st.lists(st.tuples(*columns), max_size=most)


def columns(table: list[tuple], n: int) -> list[list]:
    return [list(column) for column in zip(*table, strict=True)] if table else [[] for _ in range(n)]


def sound(made: object) -> None:
    """Every number in it is finite, every interval holds its figure, every missing interval has a reason, every p is
    one."""
    if isinstance(made, Undefined):
        assert made.why
    elif isinstance(made, Estimate):
        assert np.isfinite(made.value)
        assert (made.low is None) == (made.high is None) == (made.why is not None)
        if made.low is not None and made.high is not None:
            slack = 1e-9 * max(1.0, abs(made.value))
            assert made.low - slack <= made.value <= made.high + slack
            assert np.isfinite([made.low, made.high]).all()
    elif isinstance(made, float):
        assert np.isfinite(made)
    elif isinstance(made, msgspec.Struct):
        for name, value in msgspec.structs.asdict(made).items():
            assert (name != "p" and not name.startswith("p_")) or value is None or 0 <= value <= 1
            sound(value)
    elif isinstance(made, tuple | list):
        for value in made:
            sound(value)
    else:
        assert made is None or isinstance(made, int | str), made


@settings(deadline=None, max_examples=25)
@given(rows(NUMBER, NUMBER, NAME))
@example([(1.0, 1.0, "a")] * 6)
@example([(0.0, 1e9, "a"), (0.0, 1e9, "b")])
@example([(0.1, 0.2, "a"), (0.1, 0.1 + 0.1, "b"), (0.3, 0.4, "c")])
def test_a_figure_on_the_same_items(table: list[tuple]) -> None:
    a, b, clusters = columns(table, 3)
    a, b = np.array(a), np.array(b)
    made = compare(a, b, clusters, False)
    sound(made)
    if made is not None:
        assert verdict(made, True, 0.1) in ("better", "worse", "equivalent", "undecided")
        sound(n_to_decide(made, 0.1))
        error = made.standard_error
        sound([tost(made.difference.value, error, len(set(clusters)) - 1, 0.1),
               noninferior(made.difference.value, error, len(set(clusters)) - 1, 0.1, True)])  # fmt: skip
        sound([clustered_error(b - a, clusters), clustered_error(b - a, clusters, clusters[::-1]), takes(a, clusters)])
    sound([mean_estimate(a, clusters, False, 0), hodges_lehmann(b - a), sign_flip(b - a, clusters, 0)])
    if len(set(clusters)) > 1:
        sound(standard_error(group(a, clusters)))


@settings(deadline=None, max_examples=25)
@given(rows(st.booleans(), st.booleans(), NAME, NAME))
@example([(True, True, "a", "b")] * 5)
@example([(False, True, "a", "b")] * 5)
def test_a_share_on_the_same_items(table: list[tuple]) -> None:
    a, b, clusters, _ = columns(table, 4)
    a, b = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
    for names in (clusters, [str(i) for i in range(len(a))]):
        sound([compare(a, b, names, True), mean_estimate(a, names, True, 0)])
    swept = [SweepRow(c, t, str(i), float(v)) for i, (v, _, c, t) in enumerate(table) for t in (1, 2)]  # type: ignore[arg-type]
    sound(sweep([SweepRow("s", r.threshold, r.item, r.value) for r in swept], "share", "seconds"))


ANSWER = st.integers(0, 2)


@settings(deadline=None, max_examples=12)
@given(rows(ANSWER, st.integers(0, 1), NAME, st.sampled_from("xy"), st.sampled_from([30.0, 90.0]), most=14))
@example([(i % 2, i % 2, "abc"[i // 2 % 3], "x", 30.0) for i in range(12)])  # the arms separate the answers
@example([(i % 3, i // 6, "abc"[i % 3], "x", 30.0) for i in range(12)])  # each rater one answer
@example([(1, i % 2, "abc"[i % 3], "x", 30.0) for i in range(12)])
@example([(i % 3, i % 2, "a", "xy"[i % 2], 30.0) for i in range(12)])  # one rater; the scenario is the arm
@example([(i % 3, i % 2, "abc"[i // 4 % 3], "xy"[i % 2], [30.0, 90.0][i % 2]) for i in range(14)])
def test_ratings(table: list[tuple]) -> None:
    answers, arms, raters, scenarios, durations = columns(table, 5)
    given_ = Ratings(np.array(answers, dtype=np.int64), np.array(arms, dtype=np.int64), raters, scenarios, durations)
    made = analyse_ratings(given_, 0.25)
    sound(made)
    sound([variants(given_, by_rater(given_), made), situations(given_)])
    sound(arm_difference(given_.answers.astype(np.float64), given_.arms, raters))


@settings(deadline=None, max_examples=25)
@given(rows(NAME, NAME, st.integers(-1, 1), NAME).map(lambda t: [r for r in t if r[0] != r[1]]))
@example([("a", "b", 1, "a")] * 4)
@example([("a", "b", 0, "a"), ("b", "a", 0, "b")])
@example([("a", "b", 1, "a"), ("b", "a", 1, "b")])  # the order decides all
@example([("a", "b", 1, "a"), ("a", "b", -1, "b"), ("c", "a", 0, "c")])
def test_preferences(table: list[tuple]) -> None:
    first, second, results, raters = columns(table, 4)
    votes = Votes(first, second, np.array(results, dtype=np.int64), raters)
    sound(prefer(votes, "a", "b", 0.05))
    ranked = strengths(votes)
    sound(ranked)
    if isinstance(ranked, Strengths):
        sound(list(ranked.between(ranked.arms[0], ranked.arms[-1])))


@settings(deadline=None, max_examples=25)
@given(rows(NAME, NAME, NUMBER, ANSWER, ANSWER))
@example([("a", "b", 1.0, 1, 1)] * 4)
@example([("a", "b", 0.1 + 0.2, 1, 1), ("a", "c", 0.3, 1, 2), ("b", "a", 5.0, 0, 0), ("b", "b", 5.0, 0, 0)])
def test_agreement(table: list[tuple]) -> None:
    units, raters, values, a, b = columns(table, 5)
    judged = Judgements(units, raters, np.array(values, dtype=np.float64))
    sound([krippendorff(judged, "nominal"), krippendorff(judged, "ordinal"), krippendorff(judged, "interval")])
    sound(icc(judged))
    whole = [(u, r) for u in "abc" for r in "xyz"][: len(values)]
    sound(icc(Judgements([u for u, _ in whole], [r for _, r in whole], judged.values[: len(whole)])))
    sound([kappa(a, b, "none"), kappa(a, b, "linear", units), kappa(a, b, "quadratic")])


@settings(deadline=None, max_examples=25)
@given(rows(st.sampled_from(["a", "b", "unknown"]), st.sampled_from("ab"), NAME))
@example([("unknown", "a", "x")] * 3)
@example([("a", "a", "x"), ("a", "b", "y"), ("a", "b", "z")])
def test_blinding(table: list[tuple]) -> None:
    sound(blinding(Guesses(*columns(table, 3))))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-1, 1), max_size=12), st.lists(st.floats(0, 1), max_size=12))
@example([1] * 12, [1.0] * 12)
@example([0, 0], [0.0])
def test_running_studies(signs: list[int], values: list[float]) -> None:
    sound([monitor_signs(signs, 0.05), monitor_mean(np.array(values), 0, 1, 0.5, 0.05)])


@given(st.lists(st.floats(0, 1), max_size=8))
@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_families(adjust: Callable[[list[float]], list[float]], ps: list[float]) -> None:
    made = adjust(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, made, strict=True))
