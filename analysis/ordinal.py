"""How much higher do raters rate arm B? A cumulative-link mixed model of ordinal ratings, and what it predicts.

Arms are coded -1/2 and +1/2 and every other factor by contrasts that sum to zero, so that the arm's effect is that of
an average situation even where arm x duration is in the model. By default raters differ in level and in how they take
the difference; a model without the latter calls too much significant where they do. Its test is Student's t with
Satterthwaite's degrees of freedom. What cannot be estimated comes back as `Undefined`; what was left out of the model
is in `notes`. The likelihood is in `analysis.clmm`, what the fit predicts in `analysis.predicted`.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
from scipy.stats import f as fisher
from scipy.stats import t as student

from analysis.clmm import Design, Fit, Parameters, fit, unpack
from analysis.estimates import LEVEL, Estimate, Floats, Ints, Test, Undefined, codes
from analysis.predicted import Prediction, Situations, predict

MOST_LEVELS = 12  # scenarios or durations that enter as a factor
L = TypeVar("L", str, float)
RUNAWAY = 12.0  # logits; a coefficient or an error beyond means that there is no finite estimate


class Ratings(NamedTuple):
    """[n] ratings, higher is better; a rater may rate any number of talks of one arm or both."""

    answers: Ints
    arms: Ints  # 0 for A, 1 for B
    raters: Sequence[str]
    scenarios: Sequence[str] = ()  # empty: unknown
    durations: Sequence[float] = ()  # s, as planned; empty: unknown


class AtDuration(msgspec.Struct, frozen=True):
    duration: float  # s
    effect: Estimate  # log odds


class OrdinalFit(msgspec.Struct, frozen=True):
    """What the model says. Effects are log odds that a rating under B is above a given category."""

    effect: Estimate
    odds_ratio: Estimate
    p: float
    standard_error: float
    predicted: Prediction
    rater_sd: float  # logits
    slope_sd: float | None  # of the arm's effect between raters; None if not in the model
    latent_icc: float  # share of latent variance that is the rater's level
    interaction: Test | None  # arm x duration
    by_duration: tuple[AtDuration, ...]
    log_likelihood: float
    notes: tuple[str, ...]


class _Model(NamedTuple):
    design: Design
    situations: Situations
    contrasts: dict[float, Floats]  # duration -> its interaction contrast; empty without interaction
    df: int
    notes: tuple[str, ...]


def fit_ratings(ratings: Ratings, slope: bool = True) -> OrdinalFit | Undefined:
    """Fit arm, scenario, duration and arm x duration with raters' levels and, with `slope`, raters' own effects."""
    reason = _impossible(ratings)
    if reason:
        return Undefined(reason)
    model = _model(ratings, slope)
    fitted = fit(model.design)
    at = unpack(fitted.theta, model.design)
    reason = _runaway(fitted, at, model.design.cuts)
    if reason or fitted.covariance is None:
        return Undefined(reason or "the likelihood is flat at its maximum: too few ratings for this model")
    return _result(ratings, model, fitted, fitted.covariance, at)


def _impossible(ratings: Ratings) -> str | None:
    answers, arms = ratings.answers, ratings.arms
    if len(answers) == 0:
        return "no ratings"
    if len(set(arms.tolist())) < 2:
        return f"only arm {'AB'[int(arms[0])]} has ratings"
    raters = len(set(ratings.raters))
    if raters < 2:
        return "one rater: how raters differ cannot be estimated"
    if raters == len(answers):
        return "one rating per rater: how raters differ cannot be told from chance"
    if answers.min() == answers.max():
        return "every rating is the same"
    a, b = answers[arms == 0], answers[arms == 1]
    if a.max() <= b.min() or b.max() <= a.min():
        return "the arms' ratings do not overlap: the odds ratio has no finite estimate"
    return None


def _runaway(fitted: Fit, at: Parameters, cuts: int) -> str | None:
    if not fitted.converged:
        return "the likelihood did not settle"
    variances = np.zeros(1) if fitted.covariance is None else fitted.covariance.diagonal()[cuts : cuts + len(at.beta)]
    if np.abs(at.beta).max() > RUNAWAY or variances.max() > RUNAWAY**2:
        return "a scenario, duration or arm separates the ratings: the odds ratio has no finite estimate"
    if np.abs(at.factor).max() > RUNAWAY:
        return "raters hardly vary within themselves: how they differ has no finite estimate"
    return None


def _model(ratings: Ratings, slope: bool) -> _Model:
    raters = codes(ratings.raters)
    order = np.argsort(raters, kind="stable")
    arm = ratings.arms[order] - 0.5
    notes: list[str] = []
    levels, y = np.unique(ratings.answers[order], return_inverse=True)
    scenarios, _ = _factor(ratings.scenarios, order, "scenario", notes)
    durations, named = _factor(ratings.durations, order, "duration", notes)
    covariates = np.hstack([scenarios, durations])
    x = np.column_stack([arm, covariates, arm[:, None] * durations])
    keep = _independent(x)
    if not keep.all():
        notes.append("some scenarios or durations cannot be told apart from others and were left out")
    given = np.column_stack([np.bincount(raters[ratings.arms == arm], minlength=raters.max() + 1) for arm in (0, 1)])
    both = int(np.count_nonzero(given.min(axis=1) > 0))
    again = int(np.count_nonzero((given.min(axis=1) > 0) & (given.max(axis=1) > 1)))
    if slope and both < 2:
        notes.append("no two raters rated both arms: raters' own effects are not in the model")
    elif slope and again < 2:
        notes.append("no two raters rated an arm twice: raters' own effects cannot be told from chance and are not in "
                     "the model")  # fmt: skip
    z = np.column_stack([np.ones(len(y)), arm])[:, : 2 if slope and again >= 2 else 1]
    design = Design(y, x[:, keep], z, np.flatnonzero(np.diff(raters[order], prepend=-1)))
    rows, counts = np.unique(np.hstack([covariates, durations]), axis=0, return_counts=True)
    situations = Situations(
        rows[:, : covariates.shape[1]], rows[:, covariates.shape[1] :], counts / len(y), keep, levels
    )
    complete = bool(keep[len(keep) - durations.shape[1] :].all())
    df = both - 1 if both >= 2 else int(raters.max()) - 1
    return _Model(design, situations, dict(named) if complete else {}, max(df, 1), tuple(notes))


def _factor(values: Sequence[L], order: Ints, name: str, notes: list[str]) -> tuple[Floats, list[tuple[L, Floats]]]:
    """[n, levels - 1] contrasts that sum to zero, and each level's row."""
    levels = sorted(set(values))
    if len(levels) > MOST_LEVELS:
        notes.append(f"{len(levels)} {name}s are too many for a factor: {name} is not in the model")
    if not 1 < len(levels) <= MOST_LEVELS:
        return np.zeros((len(order), 0)), []
    place = {level: i for i, level in enumerate(levels)}
    table = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
    rows = table[[place[values[i]] for i in order]]
    return rows, list(zip(levels, table, strict=True))


def _independent(x: Floats) -> np.ndarray:
    """Which columns add to the rank of a constant and the columns before them."""
    distinct = np.unique(x, axis=0)
    kept = [np.ones(len(distinct))]
    keep = []
    for column in distinct.T:
        keep.append(np.linalg.matrix_rank(np.column_stack([*kept, column])) > len(kept))
        if keep[-1]:
            kept.append(column)
    return np.array(keep)


def _result(ratings: Ratings, model: _Model, fitted: Fit, covariance: Floats, at: Parameters) -> OrdinalFit:
    n, k, first = len(ratings.answers), len(model.design.starts), model.design.cuts
    df = _degrees(model, float(np.sqrt(covariance[first, first])), at)
    quantile = float(student.ppf((1 + LEVEL) / 2, df))

    def effect(weights: Floats) -> tuple[Estimate, float]:
        block = covariance[first : first + len(weights), first : first + len(weights)]
        value, error = float(weights @ at.beta), float(np.sqrt(weights @ block @ weights))
        return Estimate(value, value - quantile * error, value + quantile * error, n, k), error

    p_beta = model.design.x.shape[1]
    main, error = effect(np.eye(p_beta)[0])
    low, high = main.value - quantile * error, main.value + quantile * error
    ratio = Estimate(float(np.exp(main.value)), float(np.exp(low)), float(np.exp(high)), n, k)
    by_duration = []
    for duration, row in model.contrasts.items():
        weights = np.zeros(p_beta)
        weights[0], weights[p_beta - len(row) :] = 1.0, row
        by_duration.append(AtDuration(duration, effect(weights)[0]))
    spread = at.factor @ at.factor.T
    level = float(spread[0, 0])
    return OrdinalFit(
        effect=main,
        odds_ratio=ratio,
        p=float(2 * student.sf(abs(main.value) / error, df)),
        standard_error=error,
        predicted=predict(fitted.theta, covariance, model.design, model.situations, quantile),
        rater_sd=float(np.sqrt(level)),
        slope_sd=float(np.sqrt(spread[1, 1])) if len(spread) > 1 else None,
        latent_icc=level / (level + np.pi**2 / 3),
        interaction=_interaction(model, at, covariance),
        by_duration=tuple(by_duration),
        log_likelihood=fitted.log_likelihood,
        notes=model.notes,
    )


def _degrees(model: _Model, error: float, at: Parameters) -> float:
    """Satterthwaite: the part of the effect's variance that is raters' own effects has `model.df` degrees of freedom,
    the rest one per rating."""
    if model.design.z.shape[1] < 2:
        return model.df
    own = min(float(np.square(at.factor[1]).sum()) / (model.df + 1), error**2)
    return float(error**4 / (own**2 / model.df + (error**2 - own) ** 2 / _rest(model)))


def _rest(model: _Model) -> int:
    """Degrees of freedom within raters: one per rating, less one per rater and per effect."""
    left: int = len(model.design.y) - len(model.design.starts) - model.design.x.shape[1]
    return max(left, 1)


def _interaction(model: _Model, at: Parameters, covariance: Floats) -> Test | None:
    """Wald's test that the arm's effect is the same at every duration; durations vary within raters."""
    d = len(model.contrasts) - 1
    if d < 1:
        return None
    end = model.design.cuts + model.design.x.shape[1]
    beta, block = at.beta[-d:], covariance[end - d : end, end - d : end]
    rest = _rest(model)
    return Test(float(fisher.sf(beta @ np.linalg.solve(block, beta) / d, d, rest)), f"Wald's F, {d} and {rest} df")
