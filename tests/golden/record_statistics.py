"""Record what other packages make of small simulated studies, for tests/test_analysis_golden.py.

It runs in an environment of its own, because the product needs none of them:

    python -m venv oracle
    oracle/bin/pip install statsmodels==0.15.0 krippendorff==0.9.0 evalica==0.4.2 interlace-lme==0.3.2 choix==0.4.1
    oracle/bin/python tests/golden/record_statistics.py

tests/golden/statistics/expected.json holds the data with each package's answer, and the versions.
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import choix
import evalica
import interlace
import krippendorff
import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

PATH = Path(__file__).parent / "statistics" / "expected.json"
PACKAGES = ("statsmodels", "krippendorff", "evalica", "interlace-lme", "choix", "numpy", "scipy", "pandas")


def ratings(raters: int, talks: int, effect: float, seed: int) -> dict[str, list[int]]:
    rng = np.random.default_rng(seed)
    rater = np.repeat(np.arange(raters), 2 * talks)
    arm = np.tile(np.repeat([0, 1], talks), raters)
    scenario = np.tile(np.arange(talks) % 3, 2 * raters)
    latent = effect * (arm - 0.5) + rng.normal(0, 0.9, raters)[rater] + 0.3 * (scenario - 1)
    answer = np.searchsorted([-2.4, -1.1, 0.4, 2.0], latent + rng.logistic(0, 1, len(rater)))
    return {"answer": answer.tolist(), "arm": arm.tolist(), "rater": rater.tolist(), "scenario": scenario.tolist()}


def mixed(seed: int, effect: float) -> dict[str, object]:
    data = ratings(40, 4, effect, seed)
    frame = pd.DataFrame(data)
    frame["arm"] -= 0.5
    frame["s1"] = (frame.scenario == 0) * 1.0 - (frame.scenario == 2)
    frame["s2"] = (frame.scenario == 1) * 1.0 - (frame.scenario == 2)
    found = interlace.clmm("answer ~ arm + s1 + s2", frame, groups="rater")
    return {
        "data": data,
        "effect": float(found.fe_params["arm"]),
        "error": float(found.fe_bse["arm"]),
        "variance": float(np.ravel(list(found.variance_components.values()))[0]),
        "thresholds": [float(t) for t in found.thresholds.values()],
    }


def votes(ties: bool, seed: int) -> dict[str, object]:
    """Every vote also in the other order, so that an effect of order is exactly none."""
    rng = np.random.default_rng(seed)
    strength = {"w": 0.0, "x": 0.4, "y": 0.9, "z": -0.5}
    first, second, result = [], [], []
    for _ in range(150):
        a, b = rng.choice(list(strength), 2, replace=False)
        latent = strength[a] - strength[b] + rng.logistic()
        outcome = 0 if ties and abs(latent) < 0.5 else int(np.sign(latent))
        first += [str(a), str(b)]
        second += [str(b), str(a)]
        result += [outcome, -outcome]
    winners = [[evalica.Winner.Draw, evalica.Winner.X, evalica.Winner.Y][r] for r in result]
    solve = evalica.newman if ties else evalica.bradley_terry
    found = solve(first, second, winners, tolerance=1e-12, limit=100_000)
    logs = np.log(found.scores)
    made = {"first": first, "second": second, "result": result, "evalica": (logs - logs.mean()).to_dict()}
    if not ties:
        names = sorted(strength)
        wins = [(names.index(f), names.index(s)) if r > 0 else (names.index(s), names.index(f))
                for f, s, r in zip(first, second, result, strict=True)]  # fmt: skip
        made["choix"] = dict(zip(names, choix.opt_pairwise(len(names), wins).tolist(), strict=True))
    return made


def agreement(seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, 25)
    table = np.clip(np.round(2 + truth + rng.normal(0, 0.8, (6, 25))), 0, 4)
    table[rng.random(table.shape) < 0.3] = np.nan
    frame = pd.DataFrame(table)
    scales = ("nominal", "ordinal", "interval")
    return {
        "table": [[None if np.isnan(x) else float(x) for x in row] for row in table],
        "krippendorff": {s: float(krippendorff.alpha(table, level_of_measurement=s)) for s in scales},
        "evalica": {s: float(evalica.alpha(frame, s).alpha) for s in scales},
    }


def kappas(seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, 200)
    b = np.where(rng.random(200) < 0.6, a, rng.integers(0, 4, 200))
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (a, b), 1)
    made = {}
    for name, wt in (("none", None), ("linear", "linear"), ("quadratic", "fc")):
        found = cohens_kappa(confusion, wt=wt)
        made[name] = {"value": float(found.kappa), "low": float(found.kappa_low), "high": float(found.kappa_upp)}
    return {"a": a.tolist(), "b": b.tolist(), "statsmodels": made}


def families(seed: int) -> dict[str, object]:
    p = np.random.default_rng(seed).random(12) ** 2
    return {"p": p.tolist(), **{m: multipletests(p, method=m)[1].tolist() for m in ("holm", "fdr_bh")}}


def equivalence(seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    a = rng.normal(0, 1, 40)
    b = a + rng.normal(0.1, 0.5, 40)
    _, (_, above, _), (_, below, _) = ttost_paired(b, a, -0.25, 0.25)
    return {"a": a.tolist(), "b": b.tolist(), "margin": 0.25, "above": float(above), "below": float(below)}


def changes() -> list[list[float]]:
    pairs = [(0, 0), (1, 0), (3, 9), (12, 12), (30, 15), (7, 29)]
    return [[g, n, 1.0 if g + n == 0 else float(mcnemar([[0, g], [n, 0]], exact=True).pvalue)] for g, n in pairs]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    made = {
        "versions": {name: version(name) for name in PACKAGES},
        "mixed": [mixed(seed, effect) for seed, effect in ((0, 0.0), (1, 0.6))],
        "votes": [votes(False, 0), votes(True, 1)],
        "agreement": [agreement(seed) for seed in (0, 1)],
        "kappa": kappas(0),
        "families": families(0),
        "equivalence": equivalence(0),
        "mcnemar": changes(),
    }
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(made) + "\n", encoding="utf-8")
