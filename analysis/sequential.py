"""Looking at a running study as often as one likes. An e-value bets against "no difference": under it, the chance
that it ever exceeds 20 is at most 5 %, whenever one looks and stops. A confidence sequence holds at all times at once.

One number per rater (or item) in order of arrival; several votes of one rater are averaged first. Both e-values
know only the past when they bet. Price: about twice the votes of a study whose size was fixed beforehand.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln

from analysis.estimates import LEVEL, Estimate, Floats, Verdict

ALPHA = 1 - LEVEL
GRID = 1_000  # candidate means of a confidence sequence
CAP = 0.5  # share of the fortune that a single bet may put at risk


class Monitor(msgspec.Struct, frozen=True):
    """Where a running study stands after the last look."""

    value: float  # mean so far
    low: float  # confidence sequence
    high: float
    e_value: float
    p: float  # anytime-valid: 1 / the largest e-value so far
    n: int
    verdict: Verdict
    stop: bool  # a verdict is reached, and stands at whatever time the study stops


def sign_e_values(signs: Sequence[int]) -> Floats:
    """[n] log e-value after each sign that "+" and "-" are equally likely; 0 is a tie and changes nothing.

    Beta(1/2, 1/2) mixture of likelihood ratios; for paired shares give the items that changed.
    """
    x = np.asarray(signs, dtype=np.int64)
    up, down = np.cumsum(x > 0), np.cumsum(x < 0)
    return np.asarray(betaln(0.5 + up, 0.5 + down) - betaln(0.5, 0.5) + (up + down) * np.log(2))


def share_sequence(successes: int, n: int) -> tuple[float, float]:
    """Shares that the Beta(1/2, 1/2) mixture does not reject at 5 %, valid at every n at once."""
    if n == 0:
        return 0.0, 1.0
    base = float(betaln(0.5 + successes, 0.5 + n - successes) - betaln(0.5, 0.5) + np.log(ALPHA))

    def excess(share: float) -> float:
        return float(base - successes * np.log(share) - (n - successes) * np.log1p(-share))

    edge, at = 1e-12, min(max(successes / n, 1e-9), 1 - 1e-9)
    low = 0.0 if successes == 0 or excess(edge) < 0 else float(brentq(excess, edge, at))
    high = 1.0 if successes == n or excess(1 - edge) < 0 else float(brentq(excess, at, 1 - edge))
    return low, high


def _bets(x: Floats) -> Floats:
    """[n] sizes of the bets from the past's mean and variance (Waudby-Smith and Ramdas 2024, eq. 26); x in [0, 1]."""
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    spread = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    return np.asarray(np.sqrt(2 * np.log(2 / ALPHA) / (before * t * np.log(t + 1))))


def _fortunes(x: Floats, means: Floats) -> Floats:
    """[n, means] log e-value against each mean in (0, 1): half the fortune bets upwards, half downwards."""
    bets = _bets(x)[:, None]
    gain = x[:, None] - means
    up = np.cumsum(np.log1p(np.minimum(bets, CAP / means) * gain), axis=0)
    down = np.cumsum(np.log1p(-np.minimum(bets, CAP / (1 - means)) * gain), axis=0)
    return np.asarray(np.logaddexp(up, down) - np.log(2))


def mean_e_values(values: Floats, low: float, high: float, null: float) -> Floats:
    """[n] log e-value after each value of [low, high] that their mean is `null`."""
    return _fortunes((values - low) / (high - low), np.array([(null - low) / (high - low)]))[:, 0]


def mean_sequence(values: Floats, low: float, high: float) -> tuple[float, float]:
    """Means of values in [low, high] that no look so far has rejected at 5 % (running intersection)."""
    means = (np.arange(GRID) + 0.5) / GRID
    if len(values) == 0:
        return low, high
    against = _fortunes((values - low) / (high - low), means).max(axis=0)
    kept = means[against < -np.log(ALPHA)]
    if len(kept) == 0:  # narrower than the grid: its least rejected cell
        kept = means[[np.argmin(against)]]
    half = 0.5 / GRID
    scale = high - low
    return low + scale * (float(kept[0]) - half), low + scale * (float(kept[-1]) + half)


def monitor_signs(signs: Sequence[int], margin: float) -> Monitor | None:
    """Share of "+" among decisive votes against one half; None before the first."""
    x = [s for s in signs if s != 0]
    if not x:
        return None
    logs = sign_e_values(x)
    lows, highs = zip(*(share_sequence(sum(s > 0 for s in x[:i]), i) for i in _looks(len(x))), strict=True)
    low, high = max(lows), min(highs)
    if low > high:  # every share was rejected at some look; the last look still holds one
        low, high = lows[-1], highs[-1]
    return _monitor(sum(s > 0 for s in x) / len(x), low, high, logs, len(x), 0.5, margin)


def monitor_mean(values: Floats, low: float, high: float, null: float, margin: float) -> Monitor | None:
    """Mean of bounded values (e.g. raters' differences in rating points) against `null`; None before the first."""
    if len(values) == 0:
        return None
    ends = mean_sequence(values, low, high)
    logs = mean_e_values(values, low, high, null)
    return _monitor(float(np.mean(values)), *ends, logs, len(values), null, margin)


def _looks(n: int) -> list[int]:
    return list(range(max(1, n - 50), n + 1))  # the sequence narrows: older looks rarely bind


def _monitor(value: float, low: float, high: float, logs: Floats, n: int, null: float, margin: float) -> Monitor:
    highest = float(np.maximum(logs.max(), 0))
    p = float(np.exp(-highest))
    said: Verdict = "undecided"
    if null - margin < low and high < null + margin:
        said = "equivalent"
    elif p <= ALPHA:
        said = "better" if value > null else "worse"
    return Monitor(value, low, high, float(np.exp(min(logs[-1], 700.0))), p, n, said, said != "undecided")


def as_estimate(state: Monitor) -> Estimate:
    return Estimate(state.value, state.low, state.high, state.n, state.n)
