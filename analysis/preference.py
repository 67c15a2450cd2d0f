"""Which arm do raters prefer? Win rate of two arms with ties as half and with ties aside, the effect of being heard
first, and Davidson's model (Bradley-Terry with ties and order) for any number of arms. All clustered by rater,
because forty raters with five votes each are not two hundred raters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.stats import t as student

from analysis.estimates import LEVEL, Estimate, Floats, Ints, Undefined, Verdict, clusters_to_decide, codes, decide
from analysis.paired import mean_estimate
from analysis.power import detectable
from analysis.resample import group, sign_flip, standard_error

RUNAWAY = 12.0  # logits
ROUNDING = 1e-12


class Votes(NamedTuple):
    """[n] votes on two talks in the order heard."""

    first: Sequence[str]  # arm heard first
    second: Sequence[str]
    results: Ints  # 1 the first is preferred, -1 the second, 0 a tie
    raters: Sequence[str]


class Preference(msgspec.Struct, frozen=True):
    """B against A. Shares are of votes for B."""

    wins: int
    ties: int
    losses: int
    half_ties: Estimate  # a tie counts half
    decisive: Estimate | None  # ties aside; None if every vote is a tie
    balanced: Estimate | None  # mean of the shares when B is heard first and second; None if it always is one of them
    first_heard: Estimate  # share for the talk heard first, ties half; 0.5 is no effect of order
    p: float  # sign flips of raters' sums
    p_order: float
    standard_error: float | None  # of the share with ties as half, clustered; None for one rater
    detectable: float | None  # distance from one half that would be found with 80 % power
    verdict: Verdict
    raters_to_decide: int | None


def prefer(votes: Votes, a: str, b: str, margin: float, seed: int = 0) -> Preference | None:
    """Is B preferred to A? `margin` is the smallest distance from one half that matters. None without votes."""
    rows = [i for i, pair in enumerate(zip(votes.first, votes.second, strict=True)) if set(pair) == {a, b}]
    if not rows:
        return None
    raters = [votes.raters[i] for i in rows]
    b_first = np.array([votes.first[i] == b for i in rows])
    heard = np.array([votes.results[i] for i in rows], dtype=np.float64)
    for_b = np.where(b_first, heard, -heard)
    half = _share(for_b, raters, seed)
    first = _share(heard, raters, seed)
    decided = for_b != 0
    grouped = group(for_b / 2, raters)
    error = standard_error(grouped) if len(grouped.sums) > 1 else None
    p = sign_flip(for_b, raters, seed)
    against_half = msgspec.structs.replace(
        half, value=half.value - 0.5, low=None if half.low is None else half.low - 0.5,
        high=None if half.high is None else half.high - 0.5,
    )  # fmt: skip
    said = decide(against_half, p, margin)
    return Preference(
        wins=int(np.count_nonzero(for_b > 0)),
        ties=int(np.count_nonzero(~decided)),
        losses=int(np.count_nonzero(for_b < 0)),
        half_ties=half,
        decisive=mean_estimate((for_b[decided] + 1) / 2, _of(raters, decided), True, seed),
        balanced=_balanced(for_b, b_first, raters) if b_first.any() and not b_first.all() else None,
        first_heard=first,
        p=p,
        p_order=sign_flip(heard, raters, seed),
        standard_error=error,
        detectable=detectable(error, half.n_clusters),
        verdict=said,
        raters_to_decide=clusters_to_decide(against_half, margin) if said == "undecided" else None,
    )


def _of(names: Sequence[str], rows: np.ndarray) -> list[str]:
    return [name for name, chosen in zip(names, rows, strict=True) if chosen]


def _share(signs: Floats, raters: Sequence[str], seed: int) -> Estimate:
    found = mean_estimate((signs + 1) / 2, raters, bool((signs != 0).all()), seed)
    assert found is not None
    return found


def _balanced(for_b: Floats, b_first: np.ndarray, raters: Sequence[str]) -> Estimate:
    """Mean of the two orders' shares, linearised and clustered by rater, Student's t."""
    values = (for_b + 1) / 2
    share = [float(values[side].mean()) for side in (b_first, ~b_first)]
    n, k = len(values), len(set(raters))
    value = (share[0] + share[1]) / 2
    if k < 2:
        return Estimate(value, None, None, n, k, "one rater")
    pull = np.where(b_first, (values - share[0]) / b_first.sum(), (values - share[1]) / (~b_first).sum()) / 2
    sums = group(pull, raters).sums
    half = float(student.ppf((1 + LEVEL) / 2, k - 1) * np.sqrt(np.square(sums).sum() * k / (k - 1)))
    if half == 0:
        return Estimate(value, None, None, n, k, "every vote of an order is the same: no spread to measure")
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), n, k)


class Strengths(msgspec.Struct, frozen=True):
    """Davidson's model. Strengths are log odds against the average arm; differences of two are log odds of a win."""

    arms: tuple[str, ...]
    strengths: tuple[Estimate, ...]
    covariance: tuple[tuple[float, ...], ...]
    order: Estimate | None  # log odds for the talk heard first; None where it cannot be told apart
    tie: float | None  # share of ties between equal arms; None without ties
    df: int

    def between(self, a: str, b: str) -> tuple[Estimate, float]:
        """Strength of B minus that of A with its p."""
        i, j = self.arms.index(a), self.arms.index(b)
        weights = np.zeros(len(self.arms))
        weights[i], weights[j] = -1, 1
        value = self.strengths[j].value - self.strengths[i].value
        error = _error(float(weights @ np.array(self.covariance) @ weights))
        p = float(2 * student.sf(abs(value) / error, self.df)) if error > 0 else 1.0
        return _wald(value, error, self.strengths[0].n, self.strengths[0].n_clusters, self.df), p


def strengths(votes: Votes) -> Strengths | Undefined:
    """Maximum likelihood of P(first) : P(tie) : P(second) = e^(d/2) : v : e^(-d/2), where d is the difference of
    strengths plus the effect of order (Davidson 1970; Davidson and Beaver 1977). Errors are a sandwich by rater."""
    arms = sorted(set(votes.first) | set(votes.second))
    index = {arm: i for i, arm in enumerate(arms)}
    first, second = (np.array([index[arm] for arm in side], dtype=np.int64) for side in (votes.first, votes.second))
    k = len(set(votes.raters))
    reason = _unranked(first, second, votes.results, arms, k)
    if reason:
        return Undefined(reason)
    table = np.vstack([np.eye(len(arms) - 1), -np.ones(len(arms) - 1)])
    x = table[first] - table[second]
    with_order = np.column_stack([x, np.ones(len(x))])
    order = bool(np.linalg.matrix_rank(with_order) == len(arms))
    design = with_order if order else x
    ties = bool((votes.results == 0).any())
    found = _climb(design, votes.results, ties)
    if found is None:
        return Undefined("an arm, or the order, decides every vote: its strength has no finite estimate")
    theta, scores, information = found
    by_rater = np.array([np.bincount(codes(votes.raters), s) for s in scores.T]).T
    bread = np.linalg.inv(information)
    covariance = bread @ (by_rater.T @ by_rater) @ bread * k / (k - 1)
    spread = table @ covariance[: len(arms) - 1, : len(arms) - 1] @ table.T
    values = table @ theta[: len(arms) - 1]
    n, df = len(x), k - 1
    at = len(arms) - 1
    return Strengths(
        arms=tuple(arms),
        strengths=tuple(
            _wald(float(v), _error(float(s)), n, k, df) for v, s in zip(values, spread.diagonal(), strict=True)
        ),
        covariance=tuple(tuple(row) for row in spread.tolist()),
        order=_wald(float(theta[at]), _error(float(covariance[at, at])), n, k, df) if order else None,
        tie=float(np.exp(theta[-1]) / (2 + np.exp(theta[-1]))) if ties else None,
        df=df,
    )  # fmt: skip


def _error(variance: float) -> float:
    """0 for what is left of no variance by rounding."""
    return float(np.sqrt(variance)) if variance > ROUNDING else 0.0


def _wald(value: float, error: float, n: int, k: int, df: int) -> Estimate:
    if error <= 0:
        return Estimate(value, None, None, n, k, "every rater's votes are balanced alike: no spread to measure")
    half = float(student.ppf((1 + LEVEL) / 2, df)) * error
    return Estimate(value, value - half, value + half, n, k)


def _unranked(first: Ints, second: Ints, results: Ints, arms: list[str], k: int) -> str | None:
    if len(results) == 0:
        return "no votes"
    if k < 2:
        return "one rater: how raters differ cannot be estimated"
    if not results.any():
        return "every vote is a tie"
    beaten = np.zeros((len(arms), len(arms)))
    for winner, loser, rows in ((first, second, results >= 0), (second, first, results <= 0)):
        np.add.at(beaten, (winner[rows], loser[rows]), 1)
    groups, _ = connected_components(beaten, connection="strong")
    if groups > 1:
        never = [arm for i, arm in enumerate(arms) if not beaten[:, i].any() or not beaten[i].any()]
        named = f" ({', '.join(never)} won or lost every vote)" if never else ""
        return f"some arms never lost to the others, or never met them{named}: no finite strengths"
    return None


def _climb(x: Floats, results: Ints, ties: bool) -> tuple[Floats, Floats, Floats] | None:
    """Newton's method on a concave likelihood: parameters, [n, parameters] scores, information; None if it runs off."""
    features = np.zeros((len(x), 3, x.shape[1] + ties))  # of the outcomes first, second, tie
    features[:, 0, : x.shape[1]], features[:, 1, : x.shape[1]] = x / 2, -x / 2
    if ties:
        features[:, 2, -1] = 1
    outcome = np.choose(results + 1, [1, 2, 0])
    allowed = np.array([0.0, 0.0, 0.0 if ties else -np.inf])
    theta = np.zeros(features.shape[2])
    for _ in range(60):
        logits = features @ theta + allowed
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        mean = np.einsum("no,nop->np", shares, features)
        scores = features[np.arange(len(x)), outcome] - mean
        information = np.einsum("no,nop,noq->pq", shares, features, features) - mean.T @ mean
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, scores.sum(axis=0))
        if np.abs(step).max() < 1e-10:
            return theta, scores, information
        theta = theta + np.clip(step, -1, 1)
        if np.abs(theta).max() > RUNAWAY:
            return None
    return None
