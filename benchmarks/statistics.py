"""Are the statistics right as often as they say (`benchmarks.calibration`), and how fast are the slow parts?

`python -m benchmarks.statistics [STUDIES [WORDS]]` prints the table alone, or its rows with these words.
"""

import sys
import time
from collections.abc import Iterator

import numpy as np
from scipy import stats

from analysis.ordinal import fit_ratings
from analysis.paired import compare
from analysis.power import RatingPlan
from analysis.ratings import analyse_ratings
from analysis.resample import bca, group
from analysis.shares import wilson
from benchmarks.calibration import checks
from benchmarks.made import each, rated

COLUMNS = ["what, in which studies", "aim", "measured [95 % of the simulation]", "studies"]


def calibration(studies: int = 1_000, seed: int = 0, only: str = "") -> Iterator[list[str]]:
    """A row per check whose description holds `only`, each with random numbers of its own."""
    for i, check in enumerate(checks()):
        if only not in check.what:
            continue
        rng, n = np.random.default_rng([seed, i]), max(20, int(studies * check.share))
        hits = sum(check.study(rng) for _ in range(n))
        low, high = wilson(hits, n)
        yield [check.what, check.aim, f"{100 * hits / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]", f"{n:,}"]


def speed() -> list[list[str]]:
    """Processor time of one core."""
    return [bootstrap_speed(), compare_speed(), model_speed(True), model_speed(False)]


def bootstrap_speed(n: int = 10_000) -> list[str]:
    rng = np.random.default_rng(0)
    differences = rng.gamma(2.0, 1.0, n) - rng.gamma(2.0, 1.0, n)
    names = each(n)
    started = time.process_time()
    for seed in range(20):
        bca(group(differences, names), seed)
    ours = (time.process_time() - started) / 20
    started = time.process_time()
    stats.bootstrap((differences,), np.mean, n_resamples=10_000, method="BCa", batch=100, rng=0)
    theirs = time.process_time() - started
    return [
        f"BCa, {n:,} paired items, against scipy.stats.bootstrap",
        f"{theirs / ours:.0f}x ({ours * 1e3:.0f} ms)",
        "20x",
    ]


def compare_speed(n: int = 1_000_000) -> list[str]:
    rng = np.random.default_rng(0)
    a = rng.gamma(2.0, 1.0, n)
    names = each(n)
    started = time.process_time()
    compare(a, a + rng.normal(0, 1, n), names, binary=False)
    return [f"a whole comparison of {n:,} items", f"{time.process_time() - started:.1f} s", "under 20 s"]


def model_speed(slope: bool) -> list[str]:
    made = rated(np.random.default_rng(0), RatingPlan(400, 6, 0.3))
    made = made._replace(scenarios=[f"s{i % 6}" for i in range(len(made.raters))])
    started = time.process_time()
    if slope:
        fit_ratings(made)
        what = "mixed model, 400 raters x 12 talks"
    else:
        analyse_ratings(made, 0.1, slope=False)
        what = "the same without raters' own effects, with everything beside it"
    return [what, f"{time.process_time() - started:.2f} s", "under 5 s"]


if __name__ == "__main__":
    given = sys.argv[1:]
    for row in calibration(int(given[0]) if given else 1_000, only=" ".join(given[1:])):
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (52, 14, 26, 6), strict=True)), flush=True)
    for row in speed():
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (66, 18, 12), strict=True)), flush=True)
