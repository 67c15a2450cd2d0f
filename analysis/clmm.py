"""Maximum likelihood of the cumulative-link (proportional odds) mixed model: P(rating <= j) = F(cut_j - eta), with
eta = x beta + z L b, logistic F, and b standard normal per rater.

The integral over b is adaptive Gauss-Hermite quadrature. Its nodes are put where each rater's posterior is and then
held while BFGS climbs, so that the gradient is exactly that of the sum it climbs; then they are put anew, until the
likelihood stands still. BFGS starts from the outer product of the raters' gradients, which is close to the information:
it climbs in a handful of steps. The Cholesky factor L is unconstrained: a variance of zero lies inside the space of
parameters, not on its edge. This module knows neither arms nor scenarios; `analysis.ordinal` does.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from analysis.estimates import Floats, Ints

NODES = (3, 7)  # per dimension: to come near, and to finish
ROUNDS = 8
NAUGHT = 0.15  # logits; a standard deviation below may be taken as zero where the likelihood is flat
STILL = 1e-6  # gain in log likelihood below which no further round is made
BLOCK = 1_000  # ratings in memory at once, times the nodes
FAR = 300.0  # logits; beyond, a probability is 0 or 1 and exp() would overflow


class Design(NamedTuple):
    """[n] ratings sorted by rater. `y` counts categories 0 to K - 1, each of which occurs; column 0 of `z` is 1."""

    y: Ints  # [n]
    x: Floats  # [n, p] fixed effects
    z: Floats  # [n, q] columns whose coefficients differ between raters
    starts: Ints  # [raters] index of each rater's first rating

    @property
    def cuts(self) -> int:
        return int(self.y.max())

    @property
    def sizes(self) -> Ints:
        """[raters] how many ratings each gave."""
        return np.diff(np.append(self.starts, len(self.y)))

    @property
    def raters(self) -> Ints:
        """[n] index of each rating's rater."""
        return np.repeat(np.arange(len(self.starts)), self.sizes)


class Parameters(NamedTuple):
    cuts: Floats  # [K - 1], ascending
    beta: Floats  # [p]
    factor: Floats  # [q, q] lower triangular L; raters' coefficients have covariance L L'


class Fit(NamedTuple):
    """`theta` is [first cut, log gaps, beta, lower triangle of L]; `covariance` is None where the information is
    singular."""

    theta: Floats
    covariance: Floats | None
    log_likelihood: float
    converged: bool


class _Nodes(NamedTuple):
    at: Floats  # [raters, Q, q]
    log_weight: Floats  # [raters, Q] with the normal density of b


def unpack(theta: Floats, design: Design) -> Parameters:
    k, p, q = design.cuts, design.x.shape[1], design.z.shape[1]
    cuts = theta[0] + np.concatenate([[0.0], np.cumsum(np.exp(np.clip(theta[1:k], -30, 30)))])
    factor = np.zeros((q, q))
    factor[np.tril_indices(q)] = theta[k + p :]
    return Parameters(cuts, theta[k : k + p], factor)


def fit(design: Design) -> Fit:
    """Climb to the maximum; the covariance is the inverse of the numerically differentiated exact gradient."""
    theta, before, converged = _start(design), -np.inf, False
    for round_ in range(ROUNDS):
        nodes = _place(theta, design, NODES[min(round_, 1)])
        options = {"gtol": 1e-4 * len(design.y) ** 0.5, "hess_inv0": _curvature(theta, design, nodes)}
        done = minimize(_loss, theta, (design, nodes), "BFGS", jac=True, options=options)
        theta = done.x
        if round_ and abs(-done.fun - before) < STILL * max(1.0, len(design.y) / 100):
            converged = True
            break
        before = -done.fun
    nodes = _place(theta, design, NODES[1])
    return Fit(theta, _covariance(theta, design, nodes), -_loss(theta, design, nodes)[0], converged)


def _start(design: Design) -> Floats:
    k, q = design.cuts, design.z.shape[1]
    shares = np.cumsum(np.bincount(design.y))[:-1] / len(design.y)
    cuts = np.log(shares / (1 - shares)) * 1.2
    triangle = np.where(np.equal(*np.tril_indices(q)), 0.6, 0.0)
    return np.concatenate([[cuts[0]], np.log(np.diff(cuts)), np.zeros(design.x.shape[1]), triangle])[
        : k + design.x.shape[1] + len(triangle)
    ]


def _edges(y: Ints, eta: Floats, cuts: Floats) -> tuple[Floats, Floats]:
    """[n] distances from eta to the rating's upper and lower cut."""
    ends = np.concatenate([[-np.inf], cuts, [np.inf]])
    return ends[y + 1] - eta, ends[y] - eta


def _gaps(y: Ints, cuts: Floats) -> tuple[Floats, Floats]:
    """[n] log(1 - exp(-gap)) of the rating's two cuts and its derivative by the gap; both 0 for the end categories."""
    inner = np.maximum(np.diff(cuts), 1e-12)  # far out, a gap is lost in the cuts' rounding
    log = np.concatenate([[0.0], np.log(-np.expm1(-inner)), [0.0]])
    with np.errstate(over="ignore"):
        slope = np.concatenate([[0.0], 1 / np.expm1(inner), [0.0]])
    return log[y], slope[y]


def _loss(theta: Floats, design: Design, nodes: _Nodes) -> tuple[float, Floats]:
    """Minus the log likelihood and its gradient, with nodes held."""
    likelihood, gradients = _by_rater(theta, design, nodes)
    return -float(likelihood.sum()), -gradients.sum(axis=0)


def _curvature(theta: Floats, design: Design, nodes: _Nodes) -> Floats:
    """Inverse of the sum of outer products of raters' gradients (Berndt et al. 1974), made positive where raters are
    too few for it."""
    _, gradients = _by_rater(theta, design, nodes)
    outer = gradients.T @ gradients
    inverse = np.linalg.inv(outer + (1e-3 * float(np.trace(outer)) / len(outer) + 1e-6) * np.eye(len(outer)))
    return np.asarray((inverse + inverse.T) / 2)


def _by_rater(theta: Floats, design: Design, nodes: _Nodes) -> tuple[Floats, Floats]:
    """[raters] log likelihoods and [raters, theta] gradients, in blocks of raters that a processor's cache holds."""
    at, made = unpack(theta, design), []
    first, step = design.starts, max(1, BLOCK * len(design.starts) // len(design.y))
    for i in range(0, len(first), step):
        rows = slice(first[i], first[i + step] if i + step < len(first) else len(design.y))
        block = Design(design.y[rows], design.x[rows], design.z[rows], first[i : i + step] - first[i])
        made.append(_block(at, block, _Nodes(nodes.at[i : i + step], nodes.log_weight[i : i + step])))
    likelihoods, gradients = zip(*made, strict=True)
    return np.concatenate(likelihoods), np.concatenate(gradients)


def _block(at: Parameters, design: Design, nodes: _Nodes) -> tuple[Floats, Floats]:
    """The same for some raters.

    F(hi) - F(lo) = F(hi) F(-lo) (1 - exp(lo - hi)), so the node enters through two logistic functions alone, and both
    share one exponential.
    """
    cuts, beta, factor = at
    q, starts, sizes = design.z.shape[1], design.starts, design.sizes
    effects = nodes.at @ factor.T  # [raters, Q, q]
    eta = np.repeat(effects[:, :, 0], sizes, axis=0)
    eta += (design.x @ beta)[:, None]
    for j in range(1, q):
        eta += design.z[:, j, None] * np.repeat(effects[:, :, j], sizes, axis=0)
    grown = np.exp(np.clip(eta, -FAR, FAR, out=eta), out=eta)
    ends = np.exp(-np.concatenate([[-FAR], np.clip(cuts, -FAR, FAR), [FAR]]))
    p_high, odds = 1 / (1 + grown * ends[design.y + 1, None]), grown * ends[design.y, None]
    p_low = 1 / (1 + odds)
    log_gap, gap_slope = _gaps(design.y, cuts)
    logs = np.log(np.maximum(p_high * (odds * p_low), 1e-300))
    joint = np.add.reduceat(logs + log_gap[:, None], starts, axis=0) + nodes.log_weight
    highest = joint.max(axis=1, keepdims=True)
    posterior = np.exp(joint - highest)
    total = posterior.sum(axis=1, keepdims=True)
    weights = np.repeat(posterior / total, sizes, axis=0)
    by_high, by_low = weights * (1 - p_high), weights * p_low  # the latter with its sign turned
    by_eta = by_low - by_high
    up, down = by_high.sum(axis=1) + gap_slope, -by_low.sum(axis=1) - gap_slope
    by_cut = np.zeros((len(design.y), len(cuts) + 2))  # with a column for either end, which is no parameter
    rows = np.arange(len(design.y))
    by_cut[rows, design.y + 1] = up
    by_cut[rows, design.y] = down
    tails = np.cumsum(by_cut[:, -2:0:-1], axis=1)[:, ::-1]  # the k-th gap moves every cut from k on
    by_factor = [
        (np.add.reduceat(design.z[:, i, None] * by_eta, starts, axis=0) * nodes.at[:, :, j]).sum(axis=1)
        for i, j in zip(*np.tril_indices(q), strict=True)
    ]
    by_row = np.hstack([tails[:, :1], tails[:, 1:] * np.diff(cuts), design.x * by_eta.sum(axis=1)[:, None]])
    gradients = np.column_stack([np.add.reduceat(by_row, starts, axis=0), *by_factor])
    return np.log(total[:, 0]) + highest[:, 0], gradients


def _place(theta: Floats, design: Design, per_dimension: int) -> _Nodes:
    """Quadrature nodes about each rater's posterior mode, scaled by its curvature."""
    cuts, beta, factor = unpack(theta, design)
    raters, q = design.raters, design.z.shape[1]
    fixed, columns = design.x @ beta, design.z @ factor
    mode = np.zeros((len(design.starts), q))
    for _ in range(12):
        high, low = _edges(design.y, fixed + (columns * mode[raters]).sum(axis=1), cuts)
        p_high, p_low = expit(high), expit(low)
        slope = np.add.reduceat((p_low - (1 - p_high))[:, None] * columns, design.starts, axis=0) - mode
        weight = p_high * (1 - p_high) + p_low * (1 - p_low)
        outer = weight[:, None, None] * columns[:, :, None] * columns[:, None, :]
        curvature = np.add.reduceat(outer, design.starts, axis=0) + np.eye(q)
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        mode += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-6:
            break
    spread = np.linalg.cholesky(np.linalg.inv(curvature))
    x, w = np.polynomial.hermite.hermgauss(per_dimension)
    grid = np.array(list(product(x, repeat=q)))
    log_w = np.array([sum(logs) for logs in product(np.log(w), repeat=q)]) + np.square(grid).sum(axis=1)
    at = mode[:, None, :] + np.sqrt(2) * np.einsum("rij,nj->rni", spread, grid)
    log_det = np.log(np.diagonal(spread, axis1=1, axis2=2)).sum(axis=1)
    normal = -0.5 * np.square(at).sum(axis=2) - q / 2 * np.log(np.pi)  # sqrt(2)**q of the change of variable is in it
    return _Nodes(at, log_w + log_det[:, None] + normal)


def _covariance(theta: Floats, design: Design, nodes: _Nodes) -> Floats | None:
    """Inverse observed information, differentiating the gradient; None if it is not positive definite.

    A standard deviation that is all but zero sits on a saddle, where the likelihood is even in it: it is then taken
    as known to be zero.
    """
    step = 1e-4
    rows = []
    for i in range(len(theta)):
        nudge = np.zeros(len(theta))
        nudge[i] = step
        up, down = _loss(theta + nudge, design, nodes)[1], _loss(theta - nudge, design, nodes)[1]
        rows.append((up - down) / (2 * step))
    information = (np.array(rows) + np.array(rows).T) / 2
    variance = np.arange(len(theta)) >= design.cuts + design.x.shape[1]
    for free in (np.ones(len(theta), dtype=bool), ~variance | (np.abs(theta) > NAUGHT)):
        block = np.ix_(free, free)
        if np.linalg.eigvalsh(information[block])[0] > 0:
            covariance = np.zeros_like(information)
            covariance[block] = np.linalg.inv(information[block])
            return covariance
    return None
