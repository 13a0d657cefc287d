"""A meta-analysis from sums equals the textbook computation on the sites' own estimates, which no sum shows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import optimize

from experiments.analyse_formula import read_formula
from federation.errors import InvalidInputError
from federation.statistics.glm_steps import RegressionModel
from federation.statistics.meta_analysis import meta_analysis, own_fit
from tests.statistics_bench import CONTRACT, deal, draw, parts, solve

SIZE = 2400
MODEL = RegressionModel(family="logistic", outcome="died", design=read_formula("age + male", CONTRACT).design)
CODES = deal(SIZE, 9)


def heterogeneous() -> dict[str, np.ndarray]:
    """Sites in which age matters more or less."""
    values = draw(SIZE)
    rng = np.random.default_rng(4)
    slopes = rng.normal(0.05, 0.04, 9)[CODES]
    values["died"] = (rng.random(SIZE) < 1 / (1 + np.exp(-slopes * (values["age"] - 60)))).astype(float)
    return values


def own_estimates(values) -> tuple[np.ndarray, np.ndarray]:
    import statsmodels.api as sm

    found = []
    for code in range(9):
        here = code == CODES
        design = np.column_stack([np.ones(here.sum()), values["age"][here], values["male"][here]])
        found.append(sm.GLM(values["died"][here], design, family=sm.families.Binomial()).fit(tol=1e-14))
    return np.array([fit.params[1] for fit in found]), np.array([fit.bse[1] ** 2 for fit in found])


def test_dersimonian_and_laird_is_that_of_statsmodels() -> None:
    values = heterogeneous()
    found = solve(meta_analysis(MODEL, 1, method="dersimonian_laird", confidence=0.95), parts(values, CODES))
    effects, variances = own_estimates(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.stats.meta_analysis import combine_effects

        expected = combine_effects(effects, variances, method_re="dl")
    assert expected.tau2 > 0
    row = found.tables[0].rows[0]
    assert found.figures["variance between sites"] == pytest.approx(expected.tau2, rel=1e-6)
    assert row[1] == pytest.approx(expected.mean_effect_re, rel=1e-8)
    assert row[2] == pytest.approx(expected.sd_eff_w_re, rel=1e-8)
    assert found.figures["heterogeneity Q"] == pytest.approx(expected.q, rel=1e-8)
    assert found.figures["estimate without variance between sites"] == pytest.approx(expected.mean_effect_fe, rel=1e-8)
    assert found.figures["sites with an estimate"] == 9


def test_reml_maximises_the_restricted_likelihood() -> None:
    values = heterogeneous()
    found = solve(meta_analysis(MODEL, 1, method="reml", confidence=0.95), parts(values, CODES))
    effects, variances = own_estimates(values)

    def lost(tau2: float) -> float:
        w = 1 / (variances + tau2)
        mean = (w @ effects) / w.sum()
        return 0.5 * (-np.log(w).sum() + np.log(w.sum()) + w @ (effects - mean) ** 2)

    best = optimize.minimize_scalar(lost, bounds=(0, 0.1), method="bounded", options={"xatol": 1e-12})
    assert found.figures["variance between sites"] == pytest.approx(best.x, rel=1e-4)
    w = 1 / (variances + best.x)
    assert found.tables[0].rows[0][1] == pytest.approx((w @ effects) / w.sum(), rel=1e-6)


def test_a_site_without_an_estimate_adds_nothing() -> None:
    values = heterogeneous()
    values["died"] = np.where(CODES == 2, 1.0, values["died"])
    sites = parts(values, CODES)
    assert own_fit(MODEL, sites[2]) is None
    found = solve(meta_analysis(MODEL, 1, method="dersimonian_laird", confidence=0.95), sites)
    others = solve(meta_analysis(MODEL, 1, method="dersimonian_laird", confidence=0.95), [*sites[:2], *sites[3:]])
    assert found.figures["sites with an estimate"] == 8
    assert found == others


def test_two_estimates_are_too_few() -> None:
    with pytest.raises(InvalidInputError, match="at least 3 sites with an estimate of their own, got 2"):
        solve(meta_analysis(MODEL, 1, method="reml", confidence=0.95), parts(heterogeneous(), CODES)[:2])
