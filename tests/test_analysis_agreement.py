"""Agreement and blinding: published tables, degenerate ends."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from analysis.agreement import Icc, Judgements, Weights, icc, kappa, krippendorff
from analysis.blinding import Blinding, Guess, Guesses, blinding
from analysis.estimates import Estimate, Undefined
from analysis.shares import tango, wilson

# Shrout and Fleiss 1979, table 2: six targets, four judges.
TABLE = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def judged(table: list[list[float]]) -> Judgements:
    cells = [(f"u{u}", f"r{r}", x) for u, row in enumerate(table) for r, x in enumerate(row)]
    units, raters, values = zip(*cells, strict=True)
    return Judgements(units, raters, np.array(values, dtype=np.float64))


def test_icc_equals_the_published_table() -> None:
    """Shrout and Fleiss 1979: 0.29 and 0.71, of the mean 0.62; intervals as R's psych prints them."""
    made = icc(judged(TABLE))
    assert isinstance(made, Icc)
    assert made.consistent is not None
    assert made.absolute.value == pytest.approx(0.29, abs=0.005)
    assert made.consistent.value == pytest.approx(0.71, abs=0.006)
    assert made.mean_rating == pytest.approx(0.62, abs=0.005)
    assert (made.absolute.low, made.absolute.high) == pytest.approx((0.02, 0.76), abs=0.006)
    assert (made.consistent.low, made.consistent.high) == pytest.approx((0.34, 0.95), abs=0.006)


def test_without_a_complete_table_icc_is_one_way() -> None:
    made = icc(judged(TABLE)._replace(raters=[str(i) for i in range(24)]))
    assert isinstance(made, Icc)
    assert made.consistent is None
    assert made.absolute.value == pytest.approx(0.17, abs=0.005)
    assert (made.absolute.low, made.absolute.high) == pytest.approx((-0.13, 0.72), abs=0.006)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ([[1, 2]], "fewer than two units"),
        ([[1], [2]], "no unit has two"),
        ([[3, 3], [3, 3]], "every rating is the same"),
    ],
)
def test_agreement_that_is_not_defined_says_why(table: list[list[float]], why: str) -> None:
    made = icc(judged(table))
    assert isinstance(made, Undefined)
    assert why in made.why


def test_perfect_agreement_is_one_without_an_interval() -> None:
    same = judged([[1, 1], [2, 2], [5, 5]])
    made, alpha = icc(same), krippendorff(same, "ordinal")
    assert isinstance(made, Icc)
    assert isinstance(alpha, Estimate)
    assert (made.absolute.value, alpha.value) == (1.0, 1.0)
    assert made.absolute.why is not None


def test_alpha_without_pairs_or_variation_says_why() -> None:
    assert isinstance(krippendorff(judged([[1], [2]]), "nominal"), Undefined)
    assert isinstance(krippendorff(judged([[1, 1], [1, 1]]), "nominal"), Undefined)
    one = krippendorff(judged([[1, 2]]), "nominal")
    assert isinstance(one, Estimate)
    assert one.low is None


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_equals_scikit_learns(weights: Weights) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 5, 80)
    b = np.clip(a + rng.integers(-1, 2, 80), 0, 4)
    made = kappa(a.tolist(), b.tolist(), weights)
    assert isinstance(made, Estimate)
    other = cohen_kappa_score(a, b, weights=None if weights == "none" else weights)
    assert made.value == pytest.approx(other, abs=1e-12)


def test_kappa_of_clustered_items_is_less_sure() -> None:
    rng = np.random.default_rng(0)
    a = np.repeat(rng.integers(0, 2, 30), 8)
    b = np.where(np.repeat(rng.random(30) < 0.7, 8), a, 1 - a)
    units = [f"t{i // 8}" for i in range(240)]
    alone, grouped = kappa(a.tolist(), b.tolist()), kappa(a.tolist(), b.tolist(), units=units)
    assert isinstance(alone, Estimate)
    assert isinstance(grouped, Estimate)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)  # type: ignore[operator]


def test_kappa_of_one_answer_says_why() -> None:
    assert isinstance(kappa(["yes", "yes"], ["yes", "yes"]), Undefined)
    assert isinstance(kappa([], []), Undefined)


def guesses(table: list[list[int]]) -> Guesses:
    """Counts of [guess a, guess b, unknown] by [arm a, arm b]."""
    said: list[Guess] = []
    arms = []
    kinds: list[Guess] = ["a", "b", "unknown"]
    for guess, row in zip(kinds, table, strict=True):
        for arm, n in zip(("a", "b"), row, strict=True):
            said += [guess] * n
            arms += [arm] * n
    return Guesses(said, arms, [str(i) for i in range(len(said))])  # type: ignore[arg-type]


def test_blinding_equals_the_published_example() -> None:
    """The example of R's BI 1.2: James 0.896 (0.875 to 0.918), Bang 0.115 (0.080 to 0.150) and 0.022."""
    made = blinding(guesses([[48, 22], [4, 30], [330, 319]]))
    assert isinstance(made, Blinding)
    assert isinstance(made.james, Estimate)
    assert made.bang_a is not None
    assert made.bang_b is not None
    assert made.james.value == pytest.approx(0.896, abs=5e-4)
    assert (made.james.low, made.james.high) == pytest.approx((0.875, 0.918), abs=0.004)
    assert (made.bang_a.value, made.bang_b.value) == pytest.approx((0.115, 0.022), abs=5e-4)
    assert (made.bang_a.low, made.bang_a.high) == pytest.approx((0.080, 0.150), abs=0.004)


@pytest.mark.parametrize(
    ("table", "james"),
    [([[30, 0], [0, 30], [0, 0]], 0.0), ([[15, 15], [15, 15], [0, 0]], 0.5), ([[0, 0], [0, 0], [9, 9]], 1.0)],
)
def test_blinding_at_its_ends(table: list[list[int]], james: float) -> None:
    made = blinding(guesses(table))
    assert isinstance(made, Blinding)
    assert isinstance(made.james, Estimate)
    assert made.james.value == pytest.approx(james)


def test_one_guess_per_rater_is_a_difference_of_paired_shares() -> None:
    made = blinding(guesses([[9, 0], [3, 8], [8, 0]]))
    assert isinstance(made, Blinding)
    assert made.bang_a is not None
    assert made.bang_b is not None
    expected = tango(9, 3, 20)
    assert (made.bang_a.value, made.bang_a.low, made.bang_a.high) == (0.3, expected.low, expected.high)
    assert (made.bang_b.value, made.bang_b.high) == (1, 1)
    assert made.bang_b.low == pytest.approx(2 * wilson(8, 8)[0] - 1)  # eight raters who are right are not certainty


def test_several_guesses_of_a_rater_are_one_cluster() -> None:
    one = guesses([[9, 0], [3, 0], [8, 0]])
    made, thrice = blinding(one), blinding(Guesses(list(one.guesses) * 3, list(one.arms) * 3, list(one.raters) * 3))
    assert isinstance(made, Blinding)
    assert isinstance(thrice, Blinding)
    assert made.bang_a is not None
    assert thrice.bang_a is not None
    assert thrice.bang_a.n_clusters == made.bang_a.n == 20
    assert thrice.bang_a.low == pytest.approx(made.bang_a.low, abs=0.1)


def test_guesses_about_one_arm_alone_say_so() -> None:
    made = blinding(guesses([[5, 0], [0, 0], [3, 0]]))
    assert isinstance(made, Blinding)
    assert isinstance(made.james, Undefined)
    assert made.bang_b is None
    assert isinstance(blinding(Guesses([], [], [])), Undefined)
