"""What a fitted cumulative-link mixed model predicts: how often each category is given under each arm, and how often
a rating under B beats one under A from the same rater in the same situation.

Predictions are averages over raters (quadrature) and over the situations that were rated; their intervals come from
the delta method with a numerical gradient. A category nobody used is not predicted.
"""

from typing import NamedTuple

import msgspec
import numpy as np
from scipy.special import expit

from analysis.clmm import Design, Parameters, unpack
from analysis.estimates import Estimate, Floats, Ints

GRID = 11  # quadrature nodes per dimension


class Situations(NamedTuple):
    """Distinct combinations of covariates with the share of ratings made in each."""

    covariates: Floats  # [situations, c]
    durations: Floats  # [situations, d] contrasts that also enter times the arm
    shares: Floats  # [situations]
    keep: np.ndarray  # [1 + c + d] columns that are in the model
    categories: Ints  # [K] ratings that occur

    def x(self, arm: float) -> Floats:
        """[situations, p] fixed effects under an arm of -1/2 or +1/2."""
        first = np.full((len(self.shares), 1), arm)
        return np.hstack([first, self.covariates, arm * self.durations])[:, self.keep]


class Category(msgspec.Struct, frozen=True):
    """How often a rating is given."""

    rating: int
    a: float
    b: float
    shift: Estimate  # b - a


class Prediction(msgspec.Struct, frozen=True):
    categories: tuple[Category, ...]
    mean_shift: Estimate  # in rating points
    superiority: Estimate  # P(B above A) + P(equal) / 2
    cliffs_delta: Estimate  # 2 superiority - 1


def predict(theta: Floats, covariance: Floats, design: Design, situations: Situations, quantile: float) -> Prediction:
    """Predictions with intervals of +- `quantile` standard errors (of the logit for the probability of superiority)."""
    n, raters = len(design.y), len(design.starts)
    values = _predictions(unpack(theta, design), situations)
    step = 1e-4 * np.eye(len(theta))
    gradient = np.array([
        (_predictions(unpack(theta + e, design), situations) - _predictions(unpack(theta - e, design), situations))
        / 2e-4 for e in step
    ])  # fmt: skip
    errors = np.sqrt(np.maximum(np.einsum("ti,ts,si->i", gradient, covariance, gradient), 0))

    def estimate(i: int) -> Estimate:
        half = quantile * float(errors[i])
        return Estimate(float(values[i]), float(values[i]) - half, float(values[i]) + half, n, raters)

    k = len(situations.categories)
    categories = tuple(
        Category(int(rating), float(values[i]), float(values[k + i]), estimate(2 * k + i))
        for i, rating in enumerate(situations.categories)
    )
    logit, half = float(values[-1]), quantile * float(errors[-1])
    value, low, high = (float(expit(x)) for x in (logit, logit - half, logit + half))
    return Prediction(
        categories,
        estimate(3 * k),
        Estimate(value, low, high, n, raters),
        Estimate(2 * value - 1, 2 * low - 1, 2 * high - 1, n, raters),
    )


def _predictions(at: Parameters, situations: Situations) -> Floats:
    """[3 K + 2] shares under A, shares under B, their differences, mean shift, logit of the superiority."""
    x, w = np.polynomial.hermite.hermgauss(GRID)
    q = len(at.factor)
    axes = np.meshgrid(*[np.sqrt(2) * x] * q, indexing="ij")
    raters = np.column_stack([axis.ravel() for axis in axes]) @ at.factor.T  # [Q, q]
    weights = w / np.sqrt(np.pi)
    weights = weights if q == 1 else np.outer(weights, weights).ravel()
    shares = []
    for arm in (-0.5, 0.5):
        own = raters[:, 0] + (arm * raters[:, 1] if q > 1 else 0.0)
        eta = (situations.x(arm) @ at.beta)[:, None] + own
        below = expit(at.cuts - eta[..., None])
        ends = np.zeros((*eta.shape, 1))
        shares.append(np.diff(np.concatenate([ends, below, ends + 1], axis=-1), axis=-1))  # [situations, Q, K]
    weight = situations.shares[:, None] * weights
    a, b = (np.einsum("sq,sqk->k", weight, share) for share in shares)
    wins = np.einsum("sqj,sqk->sqjk", *shares)
    above = np.triu(np.ones((len(a), len(a))), 1) + np.eye(len(a)) / 2
    superiority = np.clip(np.einsum("sq,sqjk,jk->", weight, wins, above), 1e-12, 1 - 1e-12)
    shift = (b - a) @ situations.categories
    return np.concatenate([a, b, b - a, [shift, np.log(superiority / (1 - superiority))]])
