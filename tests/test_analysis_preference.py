"""Preferences: known votes, an independent maximiser, and degenerate ends."""

import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.estimates import Undefined
from analysis.preference import Strengths, Votes, prefer, strengths


def votes(seed: int, raters: int, each: int, effect: float = 0.0, order: float = 0.0) -> Votes:
    """Votes on a and b with an effect of the arm (b) and of being heard first, in logits; close calls are ties."""
    rng = np.random.default_rng(seed)
    n = raters * each
    b_first = rng.random(n) < 0.5
    latent = np.where(b_first, effect, -effect) + order + rng.logistic(size=n)
    results = np.where(np.abs(latent) < 0.4, 0, np.sign(latent)).astype(np.int64)
    names = [("b", "a") if first else ("a", "b") for first in b_first]
    return Votes([x[0] for x in names], [x[1] for x in names], results, [f"r{i % raters}" for i in range(n)])


def test_a_planted_preference_and_order_effect_are_found() -> None:
    made = prefer(votes(0, 60, 8, effect=1.0, order=0.6), "a", "b", margin=0.05)
    assert made is not None
    assert made.verdict == "better"
    assert made.p_order < 0.01
    assert made.first_heard.low > 0.5  # type: ignore[operator]
    assert made.balanced is not None
    assert made.balanced.value == pytest.approx(made.half_ties.value, abs=0.03)
    assert made.wins + made.ties + made.losses == 480


def test_the_other_arm_sees_the_mirror() -> None:
    data = votes(1, 30, 4, effect=0.5)
    forth, back = prefer(data, "a", "b", 0.05), prefer(data, "b", "a", 0.05)
    assert forth is not None
    assert back is not None
    assert forth.half_ties.value == pytest.approx(1 - back.half_ties.value)
    assert forth.p == pytest.approx(back.p)


def test_undecided_says_how_many_raters_would_decide() -> None:
    made = prefer(votes(2, 12, 3, effect=0.1), "a", "b", margin=0.02)
    assert made is not None
    assert made.verdict == "undecided"
    assert made.raters_to_decide is not None
    assert made.raters_to_decide > 12


def test_strengths_equal_a_direct_maximiser_with_ties_and_order() -> None:
    rng = np.random.default_rng(0)
    arms, strong = ["a", "b", "c"], {"a": 0.0, "b": 0.5, "c": -0.7}
    pairs = [tuple(rng.choice(arms, 2, replace=False)) for _ in range(300)]
    latent = np.array([strong[f] - strong[s] for f, s in pairs]) + 0.3 + rng.logistic(size=300)
    results = np.where(np.abs(latent) < 0.5, 0, np.sign(latent)).astype(np.int64)
    made = strengths(Votes([p[0] for p in pairs], [p[1] for p in pairs], results, [f"r{i % 30}" for i in range(300)]))

    def loss(theta: np.ndarray) -> float:
        power = dict(zip(arms, [theta[0], theta[1], -theta[0] - theta[1]], strict=True))
        total = 0.0
        for (f, s), result in zip(pairs, results, strict=True):
            up, down = np.exp(power[f] + theta[2]), np.exp(power[s])
            tie = np.exp(theta[3]) * np.sqrt(up * down)
            total -= np.log({1: up, -1: down, 0: tie}[int(result)] / (up + down + tie))
        return total

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-6}).x
    assert isinstance(made, Strengths)
    assert made.order is not None
    assert made.tie is not None
    assert [s.value for s in made.strengths[:2]] == pytest.approx(best[:2].tolist(), abs=1e-4)
    assert made.order.value == pytest.approx(best[2], abs=1e-4)
    assert made.tie == pytest.approx(np.exp(best[3]) / (2 + np.exp(best[3])), abs=1e-4)
    difference, p = made.between("c", "b")
    assert difference.value == pytest.approx(made.strengths[1].value - made.strengths[2].value)
    assert p < 0.01


@pytest.mark.parametrize(
    ("first", "second", "results", "raters", "why"),
    [
        ([], [], [], [], "no votes"),
        (["a", "a"], ["b", "b"], [1, -1], ["x", "x"], "one rater"),
        (["a", "b"], ["b", "a"], [0, 0], ["x", "y"], "every vote is a tie"),
        (["a", "b", "a"], ["b", "a", "b"], [1, -1, 1], ["x", "y", "z"], "won or lost every vote"),
        (["a", "b", "c", "d"] * 2, ["b", "a", "d", "c"] * 2, [1] * 8, ["x", "y"] * 4, "never met"),
        (["a", "b"] * 4, ["b", "a"] * 4, [1] * 8, ["x", "y"] * 4, "decides every vote"),
    ],
)
def test_what_cannot_be_ranked_says_why(
    first: list[str], second: list[str], results: list[int], raters: list[str], why: str
) -> None:
    made = strengths(Votes(first, second, np.array(results, dtype=np.int64), raters))
    assert isinstance(made, Undefined)
    assert why in made.why


def test_ties_alone_and_one_rater_have_no_interval_and_say_why() -> None:
    ties = prefer(Votes(["a", "b"], ["b", "a"], np.array([0, 0]), ["x", "y"]), "a", "b", 0.05)
    assert ties is not None
    assert ties.decisive is None
    assert ties.half_ties.why is not None
    assert (ties.verdict, ties.p) == ("undecided", 1.0)
    one = prefer(Votes(["a", "b"], ["b", "a"], np.array([1, 1]), ["x", "x"]), "a", "b", 0.05)
    assert one is not None
    assert one.half_ties.low is None
    assert prefer(Votes([], [], np.array([], dtype=np.int64), []), "a", "b", 0.05) is None
