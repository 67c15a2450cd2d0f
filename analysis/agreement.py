"""Do raters agree? Krippendorff's alpha, Cohen's kappa (judge against human) and ICC from variance parts.

Intervals of alpha and kappa resample units (talks) with all their ratings. Low agreement of many raters still gives
precise means: these figures describe the scale and the raters, not the arms.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from scipy.stats import f as fisher

from analysis.estimates import LEVEL, Estimate, Floats, Undefined, codes
from analysis.resample import Grouped, group, percentile_interval

DRAWS = 2_000
Scale = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]


class Judgements(NamedTuple):
    """[n] values, one for each unit and rater that met."""

    units: Sequence[str]
    raters: Sequence[str]
    values: Floats


class Icc(msgspec.Struct, frozen=True):
    """Intraclass correlation of one rating, and of the mean of all raters of a unit.

    `absolute` counts raters' levels as disagreement, `consistent` does not; without a complete table only the
    one-way form exists and `consistent` is None.
    """

    absolute: Estimate
    consistent: Estimate | None
    mean_rating: float  # reliability of a unit's mean
    between_units: float  # variance parts, floored at 0
    between_raters: float | None
    residual: float


def krippendorff(judged: Judgements, scale: Scale, seed: int = 0) -> Estimate | Undefined:
    """Alpha of the units with two ratings or more (Krippendorff 2011)."""
    unit = codes(judged.units)
    pairable = np.bincount(unit)[unit] > 1 if len(unit) else np.zeros(0, dtype=bool)
    if not pairable.any():
        return Undefined("no unit has two ratings")
    levels, value = np.unique(judged.values[pairable], return_inverse=True)
    if len(levels) < 2:
        return Undefined("every rating is the same: agreement beyond chance is not defined")
    table = np.zeros((int(unit.max()) + 1, len(levels)))
    np.add.at(table, (unit[pairable], value), 1)
    table = table[table.sum(axis=1) > 0]
    n, k = int(table.sum()), len(table)
    one = _alpha(np.ones((1, k)), table, levels, scale)[0]
    if k < 2:
        return Estimate(float(one), None, None, n, k, "one unit has no interval")
    counts = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=DRAWS).astype(np.float64)
    return _with_interval(float(one), _alpha(counts, table, levels, scale), n, k)


def _alpha(counts: Floats, table: Floats, levels: Floats, scale: Scale) -> Floats:
    """[draws] alpha with unit u counted counts[draw, u] times; an infinite value marks a draw without variation.

    Disagreement on an ordinal scale is the squared distance of mid-ranks, so ordinal and interval need only sums.
    """
    margins = counts @ table  # [draws, levels]
    total = margins.sum(axis=1)
    pairs = counts / (table.sum(axis=1) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "nominal":
            sizes = table.sum(axis=1)
            observed = pairs @ (sizes**2 - np.square(table).sum(axis=1))
            expected = (total**2 - np.square(margins).sum(axis=1)) / (total - 1)
        else:
            at = np.cumsum(margins, axis=1) - margins / 2 if scale == "ordinal" else levels[None, :]
            sizes = table.sum(axis=1)
            spread = 2 * (sizes * (np.square(at) @ table.T) - np.square(at @ table.T))
            observed = (pairs * spread).sum(axis=1)
            middle = (margins * at).sum(axis=1)
            expected = 2 * (total * (margins * at**2).sum(axis=1) - middle**2) / (total - 1)
        return np.where(expected > 0, 1 - observed / expected, np.inf)


def kappa(
    a: Sequence[str | int], b: Sequence[str | int], weights: Weights = "none", units: Sequence[str] = (), seed: int = 0
) -> Estimate | Undefined:
    """Cohen's kappa of two raters over [n] items, e.g. a judge and a human; integer answers are ordered for the
    weighted forms. The interval resamples `units` (by default each item)."""
    levels = sorted(set(a) | set(b), key=lambda level: (isinstance(level, str), level))
    if len(a) == 0:
        return Undefined("no items")
    if len(levels) < 2:
        return Undefined("both gave one and the same answer throughout: agreement beyond chance is not defined")
    place = {level: i for i, level in enumerate(levels)}
    m = len(levels)
    cell = np.array([place[x] * m + place[y] for x, y in zip(a, b, strict=True)])
    unit = codes(units) if len(units) else np.arange(len(a))
    k = int(unit.max()) + 1
    distance = np.abs(np.subtract.outer(np.arange(m), np.arange(m))).astype(np.float64)
    cost = {"none": (distance > 0).astype(np.float64), "linear": distance, "quadratic": distance**2}[weights]
    tables = np.zeros((k, m * m))
    np.add.at(tables, (unit, cell), 1)
    one = _kappa(tables.sum(axis=0, keepdims=True), cost)[0]
    if k < 2:
        return Estimate(float(one), None, None, len(a), k, "one unit has no interval")
    distinct, often = np.unique(tables, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(k, often / k, size=DRAWS) @ distinct
    return _with_interval(float(one), _kappa(drawn, cost), len(a), k)


def _kappa(tables: Floats, cost: Floats) -> Floats:
    """[draws] kappa of flattened confusion tables."""
    m = len(cost)
    square = tables.reshape(-1, m, m)
    n = square.sum(axis=(1, 2))
    chance = np.einsum("di,dj,ij->d", square.sum(axis=2), square.sum(axis=1), cost) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance > 0, 1 - np.einsum("dij,ij->d", square, cost) / chance, np.inf)


def _with_interval(value: float, draws: Floats, n: int, k: int) -> Estimate:
    """Percentile interval over the draws that vary; none where more than one in twenty does not."""
    kept = np.sort(draws[np.isfinite(draws)])
    if len(kept) < 0.95 * len(draws):
        return Estimate(value, None, None, n, k, "most ratings are the same: too many resamples do not vary at all")
    if kept[-1] - kept[0] < 1e-12:
        return Estimate(value, None, None, n, k, "every resample agrees alike: no spread to measure")
    interval = percentile_interval(kept, k)
    return Estimate(value, interval.low, interval.high, n, k)


def icc(judged: Judgements) -> Icc | Undefined:
    """ICC(A,1) and ICC(C,1) of a complete units x raters table, otherwise the one-way ICC(1) (McGraw and Wong 1996)."""
    unit, rater = codes(judged.units), codes(judged.raters)
    if len(unit) == 0 or unit.max() == 0:
        return Undefined("fewer than two units")
    if len(unit) == unit.max() + 1:
        return Undefined("no unit has two ratings")
    if np.ptp(judged.values) == 0:
        return Undefined("every rating is the same")
    units, raters = int(unit.max()) + 1, int(rater.max()) + 1
    cells = len(set(zip(unit.tolist(), rater.tolist(), strict=True)))
    if raters > 1 and len(unit) == cells == units * raters:
        table = np.zeros((units, raters))
        table[unit, rater] = judged.values
        return _two_way(table)
    return _one_way(judged.values, group(judged.values, judged.units))


def _two_way(table: Floats) -> Icc:
    n, k = table.shape
    mean = table.mean()
    rows = float(k * np.square(table.mean(axis=1) - mean).sum() / (n - 1))
    columns = float(n * np.square(table.mean(axis=0) - mean).sum() / (k - 1))
    error = float(np.square(table - mean).sum() - rows * (n - 1) - columns * (k - 1)) / ((n - 1) * (k - 1))
    error = error if error > 1e-12 * (rows + columns) else 0.0
    between, level = max(rows - error, 0.0) / k, max(columns - error, 0.0) / n
    base = rows + (k - 1) * error + k * (columns - error) / n
    value = (rows - error) / base
    if error == 0:
        why = "raters differ by a constant at most: no residual to measure"
        absolute = Estimate(value, None, None, n * k, n, why)
        consistent = Estimate(1.0, None, None, n * k, n, why) if rows > 0 else None
        return Icc(absolute, consistent, n * rows / (n * rows + columns), between, level, 0.0)
    absolute = _absolute(value, (rows, columns, error), n, k)
    spread = (n - 1) * (k - 1)
    ends = _from_f(rows / error, k, n - 1, spread)
    return Icc(
        absolute,
        Estimate((rows - error) / (rows + (k - 1) * error), *ends, n * k, n),
        (rows - error) / (rows + (columns - error) / n), between, level, error,
    )  # fmt: skip


def _absolute(value: float, squares: tuple[float, float, float], n: int, k: int) -> Estimate:
    """ICC(A,1) with Satterthwaite's interval; none where the mean squares (rows, columns, error) leave it without
    degrees of freedom."""
    rows, columns, error = squares
    upper = (1 + LEVEL) / 2
    with np.errstate(all="ignore"):
        a, b = np.float64(k * value) / (n * (1 - value)), 1 + np.float64(k * value * (n - 1)) / (n * (1 - value))
        parts = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
        df = (a * columns + b * error) ** 2 / parts
        rest = k * columns + (k * n - k - n) * error
        down, up = fisher.ppf(upper, n - 1, df), fisher.ppf(upper, df, n - 1)
        low = float(n * (rows - down * error) / (down * rest + n * rows))
        high = float(n * (up * rows - error) / (rest + n * up * rows))
    if not low <= value <= high:  # also where one of them is no number
        return Estimate(value, None, None, n * k, n, "too few talks and raters for an interval of absolute agreement")
    return Estimate(value, low, high, n * k, n)


def _one_way(values: Floats, by_unit: Grouped) -> Icc:
    sums, sizes = by_unit
    n, units = len(values), len(sums)
    between = float((sums**2 / sizes).sum() - values.sum() ** 2 / n) / (units - 1)
    within = float(np.square(values).sum() - (sums**2 / sizes).sum()) / (n - units)
    size = (n - float(np.square(sizes).sum()) / n) / (units - 1)
    parts = max(between - within, 0.0) / size
    if within <= 1e-12 * between:
        perfect = Estimate(1.0, None, None, n, units, "ratings of a unit never differ: no residual to measure")
        return Icc(perfect, None, 1.0, parts, None, 0.0)
    value = (between - within) / (between + (size - 1) * within)
    ends = _from_f(between / within, size, units - 1, n - units)
    mean = 1 - within / between if between > 0 else 0.0
    return Icc(Estimate(value, *ends, n, units), None, mean, parts, None, within)


def _from_f(ratio: float, k: float, df: int, df_error: int) -> tuple[float, float]:
    """Interval of (F - 1) / (F + k - 1)."""
    upper = (1 + LEVEL) / 2
    low = ratio / float(fisher.ppf(upper, df, df_error))
    high = ratio * float(fisher.ppf(upper, df_error, df))
    return (low - 1) / (low + k - 1), (high - 1) / (high + k - 1)
