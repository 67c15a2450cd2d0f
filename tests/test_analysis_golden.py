"""Our estimators against other packages' answers, recorded by tests/golden/record_statistics.py."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from analysis.agreement import Icc, Judgements, Scale, Weights, icc, kappa, krippendorff
from analysis.estimates import Estimate
from analysis.multiplicity import Equivalence, benjamini_hochberg, holm, tost
from analysis.ordinal import OrdinalFit, Ratings, fit_ratings
from analysis.paired import clustered_error, takes
from analysis.power import detectable
from analysis.preference import Strengths, Votes, prefer, strengths
from analysis.resample import group, standard_error
from analysis.sensitivity import arm_difference
from analysis.shares import mcnemar, wilson
from builders import ROOT

EXPECTED: dict[str, Any] = json.loads((ROOT / "tests/golden/statistics/expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("study", EXPECTED["mixed"], ids=["no effect", "an effect"])
def test_the_mixed_model_agrees_with_interlace(study: dict[str, Any]) -> None:
    """interlace approximates the integral by Laplace's method, so the figures are near, not equal."""
    data = study["data"]
    made = fit_ratings(
        Ratings(
            np.array(data["answer"]),
            np.array(data["arm"]),
            [f"r{i}" for i in data["rater"]],
            [f"s{i}" for i in data["scenario"]],
        ),
        slope=False,
    )
    assert isinstance(made, OrdinalFit)
    assert made.effect.value == pytest.approx(study["effect"], abs=0.01)
    assert made.standard_error == pytest.approx(study["error"], abs=0.01)
    assert made.rater_sd**2 == pytest.approx(study["variance"], abs=0.06)


def test_raters_own_effects_and_the_interaction_agree_with_interlace() -> None:
    study = EXPECTED["own_effects"]
    data, fixed = study["data"], study["fixed"]
    made = fit_ratings(
        Ratings(np.array(data["answer"]), np.array(data["arm"]), [f"r{i}" for i in data["rater"]],
                durations=[float(d) for d in data["duration"]])
    )  # fmt: skip
    assert isinstance(made, OrdinalFit)
    assert made.effect.value == pytest.approx(fixed["arm"], abs=0.01)
    assert made.standard_error == pytest.approx(study["error"], abs=0.01)
    by_duration = [fixed["arm"] + fixed["arm:d1"], fixed["arm"] + fixed["arm:d2"],
                   fixed["arm"] - fixed["arm:d1"] - fixed["arm:d2"]]  # fmt: skip
    assert [at.effect.value for at in made.by_duration] == pytest.approx(by_duration, abs=0.02)
    assert made.log_likelihood == pytest.approx(study["log_likelihood"], abs=1.0)


def error(made: Estimate | None) -> float:
    """The standard error behind a symmetric Student interval over clusters."""
    assert made is not None
    assert made.high is not None
    return float((made.high - made.value) / t.ppf(0.975, made.n_clusters - 1))


def few(k: int) -> float:
    """Our correction for k clusters, which statsmodels was asked to leave out."""
    return float(np.sqrt(k / (k - 1)))


def test_a_preference_of_two_arms_agrees_with_clustered_regressions() -> None:
    data = EXPECTED["two_arms"]
    first = ["b" if b else "a" for b in data["b_first"]]
    votes = Votes(first, ["a" if b else "b" for b in data["b_first"]], np.array(data["result"]),
                  [str(r) for r in data["rater"]])  # fmt: skip
    made, shares = strengths(votes), prefer(votes, "a", "b", 0.05)
    assert isinstance(made, Strengths)
    assert made.order is not None
    both = (made.between("a", "b")[0], made.order)
    assert [e.value for e in both] == pytest.approx(data["logit"], abs=1e-8)
    assert [error(e) for e in both] == pytest.approx([few(40) * e for e in data["logit_errors"]], rel=1e-6)
    assert shares is not None
    assert shares.balanced is not None
    assert shares.balanced.value == pytest.approx(data["balanced"], abs=1e-12)
    assert error(shares.balanced) == pytest.approx(few(40) * data["balanced_error"], rel=1e-9)


def test_clustered_errors_equal_statsmodels() -> None:
    data = EXPECTED["clustered"]
    values, voices = np.array(data["values"]), [str(v) for v in data["voice"]]
    alone = clustered_error(values, voices)
    assert alone == pytest.approx(few(len(set(voices))) * data["one"], rel=1e-9)
    assert clustered_error(values, voices, [str(v) for v in data["template"]]) == pytest.approx(data["two"], rel=1e-3)
    made = arm_difference(values, np.array(data["arm"]), voices)
    assert made is not None
    assert made.value == pytest.approx(data["difference"], abs=1e-12)
    assert error(made) == pytest.approx(few(len(set(voices))) * data["difference_error"], rel=1e-9)


def test_variance_parts_equal_an_analysis_of_variance_and_a_mixed_model() -> None:
    data = EXPECTED["variances"]
    table = np.array(data["table"])
    units, raters = [str(i // 5) for i in range(150)], [str(i % 5) for i in range(150)]
    made = icc(Judgements(units, raters, table.ravel()))
    assert isinstance(made, Icc)
    assert made.residual == pytest.approx(data["error"], rel=1e-9)
    assert made.between_units == pytest.approx((data["rows"] - data["error"]) / 5, rel=1e-9)
    assert made.between_raters == pytest.approx((data["columns"] - data["error"]) / 30, rel=1e-9)
    parts = takes(table.ravel(), units)
    assert parts is not None
    assert (parts.between, parts.within) == pytest.approx((data["between"], data["within"]), rel=1e-4)


@pytest.mark.parametrize(("n", "size"), EXPECTED["sizes"])
def test_what_is_detectable_is_what_statsmodels_power_says(n: int, size: float) -> None:
    """Ours takes the quantiles of two central t instead of a noncentral one."""
    assert detectable(1 / np.sqrt(n), n) == pytest.approx(size, rel=2e-3)


@pytest.mark.parametrize(("successes", "n", "low", "high"), EXPECTED["wilson"])
def test_wilson_equals_statsmodels(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("study", EXPECTED["votes"], ids=["without ties", "with ties"])
def test_strengths_agree_with_evalica_and_choix(study: dict[str, Any]) -> None:
    raters = [f"r{i // 10}" for i in range(len(study["result"]))]
    made = strengths(Votes(study["first"], study["second"], np.array(study["result"]), raters))
    assert isinstance(made, Strengths)
    ours = {arm: s.value for arm, s in zip(made.arms, made.strengths, strict=True)}
    assert ours == pytest.approx(study["evalica"], abs=1e-4)
    if "choix" in study:
        assert ours == pytest.approx(study["choix"], abs=1e-4)
    assert made.order is not None
    assert made.order.value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("study", EXPECTED["agreement"])
@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
def test_alpha_equals_krippendorffs_and_evalicas(study: dict[str, Any], scale: Scale) -> None:
    cells = [(f"u{u}", f"r{r}", x) for r, row in enumerate(study["table"]) for u, x in enumerate(row) if x is not None]
    units, raters, values = zip(*cells, strict=True)
    made = krippendorff(Judgements(units, raters, np.array(values)), scale)
    assert isinstance(made, Estimate)
    assert made.value == pytest.approx(study["krippendorff"][scale], abs=1e-12)
    assert made.value == pytest.approx(study["evalica"][scale], abs=1e-12)
    assert made.low is not None
    assert made.high is not None
    assert made.low < made.value < made.high


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_equals_statsmodels_and_its_interval_is_near(weights: Weights) -> None:
    data = EXPECTED["kappa"]
    made = kappa(data["a"], data["b"], weights)
    other = data["statsmodels"][weights]
    assert isinstance(made, Estimate)
    assert made.value == pytest.approx(other["value"], abs=1e-12)
    assert (made.low, made.high) == pytest.approx((other["low"], other["high"]), abs=0.02)


def test_families_equal_statsmodels() -> None:
    data = EXPECTED["families"]
    assert holm(data["p"]) == pytest.approx(data["holm"], abs=1e-12)
    assert benjamini_hochberg(data["p"]) == pytest.approx(data["fdr_bh"], abs=1e-12)


def test_two_one_sided_tests_equal_statsmodels() -> None:
    data = EXPECTED["equivalence"]
    differences = np.array(data["b"]) - np.array(data["a"])
    each = [str(i) for i in range(len(differences))]
    error = standard_error(group(differences, each))
    made = tost(float(differences.mean()), error, len(differences) - 1, data["margin"])
    assert isinstance(made, Equivalence)
    assert (made.p_above, made.p_below) == pytest.approx((data["above"], data["below"]), rel=1e-9)
    assert made.equivalent == (data["above"] < 0.05 and data["below"] < 0.05)


@pytest.mark.parametrize(("gained", "lost", "p"), EXPECTED["mcnemar"])
def test_mcnemar_equals_statsmodels(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p, abs=1e-12)
