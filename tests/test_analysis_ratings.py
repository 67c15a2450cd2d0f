"""The mixed model of ratings against brute force, known cases and its degenerate ends; beside it the raters' means."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from analysis.clmm import Design, fit, unpack
from analysis.estimates import Estimate, Undefined
from analysis.ordinal import OrdinalFit, Ratings, fit_ratings
from analysis.power import RatingPlan, simulate
from analysis.ratings import ZScored, analyse_ratings, by_rater, z_scored


def study(plan: RatingPlan, seed: int = 0) -> Ratings:
    answers = simulate(plan, 1, np.random.default_rng(seed))[0].astype(np.int64)
    raters = [f"r{i}" for i in range(plan.raters) for _ in range(2 * plan.talks)]
    talks = [i for _ in range(plan.raters) for i in range(plan.talks) for _ in range(2)]
    return Ratings(
        answers.ravel(), np.tile([0, 1], plan.raters * plan.talks), raters, [f"s{i % 3}" for i in talks],
        [(30.0, 90.0)[i % 2] for i in talks],
    )  # fmt: skip


def few(answers: list[int], arms: list[int], raters: list[str]) -> Ratings:
    return Ratings(np.array(answers), np.array(arms), raters)


def test_the_likelihood_equals_a_sum_over_a_fine_grid() -> None:
    made = study(RatingPlan(12, 3, 0.5, rater_sd=1.5))
    design = Design(
        made.answers, (made.arms - 0.5)[:, None], np.ones((len(made.answers), 1)), np.arange(12) * 6
    )  # fmt: skip
    found = fit(design)
    at = unpack(found.theta, design)
    grid = np.linspace(-9, 9, 4001)
    ends = np.concatenate([[-np.inf], at.cuts, [np.inf]])
    eta = (design.x @ at.beta)[:, None] + at.factor[0, 0] * grid
    shares = expit(ends[design.y + 1][:, None] - eta) - expit(ends[design.y][:, None] - eta)
    per_rater = np.prod(shares.reshape(12, 6, -1), axis=1) @ norm.pdf(grid) * (grid[1] - grid[0])
    assert found.log_likelihood == pytest.approx(float(np.log(per_rater).sum()), abs=1e-3)


def test_a_planted_effect_is_found_with_what_it_means() -> None:
    made = fit_ratings(study(RatingPlan(120, 6, 0.8, rater_sd=1.0, slope_sd=0.4), seed=3))
    assert isinstance(made, OrdinalFit)
    assert made.effect.low < 0.8 < made.effect.high  # type: ignore[operator]
    assert made.rater_sd == pytest.approx(1.0, abs=0.3)
    assert made.p < 0.001
    assert made.odds_ratio.value == pytest.approx(np.exp(made.effect.value))
    shares = made.predicted.categories
    assert sum(c.a for c in shares) == pytest.approx(1)
    assert sum(c.shift.value for c in shares) == pytest.approx(0, abs=1e-9)
    points = sum(c.rating * c.shift.value for c in shares)
    assert made.predicted.mean_shift.value == pytest.approx(points)
    raters = by_rater(study(RatingPlan(120, 6, 0.8, rater_sd=1.0, slope_sd=0.4), seed=3))
    assert points == pytest.approx(float((raters.b - raters.a).mean()), abs=0.05)
    assert made.predicted.superiority.value == pytest.approx(float(raters.superiority.mean()), abs=0.03)


def test_swapping_the_arms_swaps_the_sign() -> None:
    made = study(RatingPlan(20, 4, 0.5))
    forth, back = fit_ratings(made), fit_ratings(made._replace(arms=1 - made.arms))
    assert isinstance(forth, OrdinalFit)
    assert isinstance(back, OrdinalFit)
    assert forth.effect.value == pytest.approx(-back.effect.value, abs=2e-3)
    assert forth.p == pytest.approx(back.p, abs=2e-3)


def test_an_effect_that_grows_with_duration_shows_as_an_interaction() -> None:
    plan = RatingPlan(80, 6, 0.0, durations=(-0.8, 0.8))
    made = fit_ratings(study(plan, seed=1))
    assert isinstance(made, OrdinalFit)
    assert made.interaction is not None
    assert made.interaction.p < 0.01
    short, long = made.by_duration
    assert (short.duration, long.duration) == (30.0, 90.0)
    assert short.effect.value < 0 < long.effect.value


@pytest.mark.parametrize(
    ("ratings", "why"),
    [
        (few([], [], []), "no ratings"),
        (few([1, 2], [0, 0], ["x", "y"]), "only arm A has ratings"),
        (few([1, 2, 3, 1], [0, 1, 0, 1], ["x"] * 4), "one rater"),
        (few([3, 3, 3, 3], [0, 1, 0, 1], ["x", "x", "y", "y"]), "every rating is the same"),
        (few([1, 3, 2, 4], [0, 1, 0, 1], ["x", "x", "y", "y"]), "do not overlap"),
    ],
)
def test_what_cannot_be_estimated_says_why(ratings: Ratings, why: str) -> None:
    made = analyse_ratings(ratings, margin=0.2)
    assert isinstance(made.model, Undefined)
    assert why in made.model.why
    assert made.verdict == "undecided" or made.by_rater is not None


@pytest.mark.filterwarnings("error")
def test_small_and_odd_studies_give_figures_or_reasons_but_never_nan() -> None:
    rng = np.random.default_rng(0)
    for i in range(30):
        n = int(rng.integers(2, 20))
        top = int(rng.integers(1, 8))
        made = analyse_ratings(
            Ratings(
                rng.choice([0, top, 2 * top], n, p=[0.7, 0.2, 0.1]),
                rng.integers(0, 2, n),
                [f"r{j}" for j in rng.integers(0, 3, n)],
                [f"s{j}" for j in rng.integers(0, 2, n)],
                [float(j) for j in rng.integers(1, 3, n)],
            ),
            margin=0.2,
            seed=i,
        )
        _finite(made.model)
        if made.by_rater is not None:
            _finite(made.by_rater.difference)


def _finite(made: OrdinalFit | Undefined | Estimate) -> None:
    import msgspec

    def walk(value: object) -> None:
        if isinstance(value, float):
            assert np.isfinite(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(part)

    walk(msgspec.to_builtins(made, builtin_types=()))


def test_raters_of_one_arm_only_are_counted_and_left_out_of_the_means() -> None:
    made = by_rater(few([1, 2, 3, 4, 5], [0, 1, 0, 1, 1], ["x", "x", "y", "y", "z"]))
    assert made.names == ("x", "y")
    assert made.one_arm_only == 1
    assert (made.b - made.a).tolist() == [1.0, 1.0]


def test_z_per_annotator_removes_level_and_scale() -> None:
    """A rater who uses 0 and 4 and one who uses 2 and 3 say the same."""
    made = z_scored(few([0, 4, 2, 3], [0, 1, 0, 1], ["x", "x", "y", "y"]))
    assert isinstance(made, ZScored)
    assert made.difference == pytest.approx(2.0)
    assert isinstance(z_scored(few([1, 1], [0, 1], ["x", "x"])), Undefined)


def test_a_disagreement_of_the_two_ways_is_said() -> None:
    """One rater with many talks sways the model without raters' own effects, not the raters' means."""
    rng = np.random.default_rng(0)
    answers, arms, raters = [], [], []
    for r in range(12):
        for arm in (0, 1):
            for _ in range(60 if r == 0 else 2):
                answers.append(int(np.clip(round(2 + (arm * 1.2 if r == 0 else 0) + rng.normal()), 0, 4)))
                arms.append(arm)
                raters.append(f"r{r}")
    made = analyse_ratings(few(answers, arms, raters), margin=0.1, slope=False)
    assert made.disagreement is not None
    assert "different sides of 5 %" in made.disagreement
