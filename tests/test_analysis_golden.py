"""Our estimators against other packages' answers, recorded by tests/golden/record_statistics.py."""

import json
from typing import Any

import numpy as np
import pytest

from analysis.agreement import Judgements, Scale, Weights, kappa, krippendorff
from analysis.estimates import Estimate
from analysis.multiplicity import Equivalence, benjamini_hochberg, holm, tost
from analysis.ordinal import OrdinalFit, Ratings, fit_ratings
from analysis.preference import Strengths, Votes, strengths
from analysis.resample import group, standard_error
from analysis.shares import mcnemar
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
