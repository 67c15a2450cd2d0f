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
import statsmodels.api as sm
import statsmodels.formula.api as smf
from statsmodels.regression.linear_model import RegressionResults
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups
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


def with_own_effects(seed: int, effect: float) -> dict[str, object]:
    """Raters differ in how they take the difference, and the difference grows with the duration."""
    rng = np.random.default_rng(seed)
    rater = np.repeat(np.arange(60), 12)
    arm = np.tile(np.repeat([0, 1], 6), 60)
    duration = np.tile(np.arange(12) % 3, 60)
    own = effect + rng.normal(0, 0.8, 60)[rater] + 0.4 * (duration - 1)
    latent = own * (arm - 0.5) + rng.normal(0, 0.9, 60)[rater]
    answer = np.searchsorted([-2.4, -1.1, 0.4, 2.0], latent + rng.logistic(0, 1, len(rater)))
    frame = pd.DataFrame({"answer": answer, "arm": arm - 0.5, "rater": rater})
    frame["d1"] = (duration == 0) * 1.0 - (duration == 2)
    frame["d2"] = (duration == 1) * 1.0 - (duration == 2)
    found = interlace.clmm("answer ~ arm + d1 + d2 + arm:d1 + arm:d2", frame, random=["(1 + arm | rater)"])
    slopes = {name: float(found.fe_params[name]) for name in found.fe_params.index}
    whole = {"answer": answer, "arm": arm, "rater": rater, "duration": duration}
    return {
        "data": {name: column.tolist() for name, column in whole.items()},
        "fixed": slopes,
        "error": float(found.fe_bse["arm"]),
        "log_likelihood": float(found.llf),
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


def two_arms(seed: int) -> dict[str, object]:
    """Votes of raters with tastes of their own: a logistic regression on one column for B and one for being first,
    and shares by order as a regression on +-1/2; errors clustered by rater."""
    rng = np.random.default_rng(seed)
    rater = np.repeat(np.arange(40), 6)
    b_first = rng.random(240) < 0.4
    latent = np.where(b_first, 1, -1) * rng.normal(0.5, 1, 40)[rater] + 0.3 + rng.logistic(size=240)
    result = np.where(latent > 0, 1, -1)
    clusters = {"groups": rater, "use_correction": False}
    x = np.column_stack([np.where(b_first, 1.0, -1.0), np.ones(240)])
    logit = sm.Logit((result > 0) * 1.0, x).fit(disp=False, cov_type="cluster", cov_kwds=clusters)
    for_b = (np.where(b_first, result, -result) + 1) / 2
    shares = sm.OLS(for_b, np.column_stack([np.ones(240), b_first - 0.5])).fit(cov_type="cluster", cov_kwds=clusters)
    return {
        "rater": rater.tolist(), "b_first": b_first.tolist(), "result": result.tolist(),
        "logit": [float(v) for v in logit.params], "logit_errors": [float(v) for v in logit.bse],
        "balanced": float(shares.params[0]), "balanced_error": float(shares.bse[0]),
    }  # fmt: skip


def clustered(seed: int) -> dict[str, object]:
    """A mean and a difference of means with one and two clusterings of unequal size."""
    rng = np.random.default_rng(seed)
    voice, template = rng.integers(0, 12, 200), rng.integers(0, 25, 200)
    arm = rng.integers(0, 2, 200)
    values = rng.normal(size=12)[voice] + rng.normal(size=25)[template] + rng.gamma(2.0, 1.0, 200) + 0.5 * arm

    def fit(x: np.ndarray) -> RegressionResults:
        return sm.OLS(values, x).fit(cov_type="cluster", cov_kwds={"groups": voice, "use_correction": False})

    plain = sm.OLS(values, np.ones(200)).fit()
    both = cov_cluster_2groups(plain, voice, template, use_correction=True)
    arms = fit(sm.add_constant(arm))
    return {
        "values": values.tolist(), "voice": voice.tolist(), "template": template.tolist(), "arm": arm.tolist(),
        "one": float(fit(np.ones(200)).bse[0]), "two": float(np.sqrt(both[0][0, 0])),
        "difference": float(arms.params[1]), "difference_error": float(arms.bse[1]),
    }  # fmt: skip


def variances(seed: int) -> dict[str, object]:
    """A complete table of talks and raters as an analysis of variance, and one without columns as a mixed model by
    restricted likelihood."""
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 1, (30, 1)) + rng.normal(0, 0.6, (1, 5)) + rng.normal(0, 0.8, (30, 5))
    frame = pd.DataFrame(
        {"value": table.ravel(), "talk": np.repeat(np.arange(30), 5), "rater": np.tile(np.arange(5), 30)}
    )
    squares = anova_lm(smf.ols("value ~ C(talk) + C(rater)", frame).fit()).mean_sq
    mixed = smf.mixedlm("value ~ 1", frame, groups="talk").fit(reml=True)
    return {
        "table": table.tolist(), "rows": float(squares["C(talk)"]), "columns": float(squares["C(rater)"]),
        "error": float(squares["Residual"]), "between": float(mixed.cov_re.iloc[0, 0]), "within": float(mixed.scale),
    }  # fmt: skip


def sizes() -> list[list[float]]:
    """Smallest difference in standard deviations that a paired t test finds with 80 % power."""
    return [[n, float(TTestPower().solve_power(None, nobs=n, alpha=0.05, power=0.8))] for n in (10, 20, 40, 80, 300)]


def single_shares() -> list[list[float]]:
    pairs = [(0, 20), (1, 30), (15, 30), (240, 300), (300, 300)]
    return [[k, n, *(float(v) for v in proportion_confint(k, n, method="wilson"))] for k, n in pairs]


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
        "own_effects": with_own_effects(2, 0.5),
        "two_arms": two_arms(0),
        "clustered": clustered(0),
        "variances": variances(0),
        "sizes": sizes(),
        "wilson": single_shares(),
        "votes": [votes(False, 0), votes(True, 1)],
        "agreement": [agreement(seed) for seed in (0, 1)],
        "kappa": kappas(0),
        "families": families(0),
        "equivalence": equivalence(0),
        "mcnemar": changes(),
    }
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(made) + "\n", encoding="utf-8")
