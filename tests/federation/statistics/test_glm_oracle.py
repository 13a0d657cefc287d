"""Regressions over sites equal statsmodels and scikit-learn on the pooled patients."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.analyse_formula import read_factor, read_formula
from federation.statistics.families import Family
from federation.statistics.glm import fit, solve_glm
from federation.statistics.glm_steps import RegressionModel
from tests.statistics_bench import CONTRACT, close, deal, draw, parts, solve

SIZE = 900
VALUES = draw(SIZE)
OUTCOMES: dict[Family, tuple[str, float, float]] = {
    "linear": ("cost", 1e5, 1e5),
    "logistic": ("died", 0.0, 1.0),
    "poisson": ("visits", 0.0, 1.0),
    "gamma": ("cost", 0.0, 2e5),
}
FORMULA = "age + male + ward + log(lactate)"
TOLERANCE = 1e-8


def model_of(family: Family, formula: str = FORMULA, offset: str | None = None) -> RegressionModel:
    outcome, centre, scale = OUTCOMES[family]
    design = read_formula(formula, CONTRACT).design
    if design.intercept is None:
        centre, scale = 0.0, 1.0
    return RegressionModel(
        family=family,
        outcome=outcome,
        design=design,
        outcome_centre=centre,
        outcome_scale=scale,
        offset=None if offset is None else read_factor(offset, CONTRACT),
    )


def columns() -> dict[str, np.ndarray]:
    return {
        "intercept": np.ones(SIZE),
        "age": VALUES["age"],
        "male": VALUES["male"],
        "ward[T.surgical]": (VALUES["ward"] == 1).astype(float),
        "ward[T.cardiac]": (VALUES["ward"] == 2).astype(float),
        "log(lactate)": np.log(VALUES["lactate"]),
        "age:ward[T.surgical]": VALUES["age"] * (VALUES["ward"] == 1),
        "age:ward[T.cardiac]": VALUES["age"] * (VALUES["ward"] == 2),
        "age^2": VALUES["age"] ** 2,
    }


def oracle(family: Family, names: tuple[str, ...], offset: np.ndarray | None = None):
    import statsmodels.api as sm

    kinds = {
        "linear": sm.families.Gaussian(),
        "logistic": sm.families.Binomial(),
        "poisson": sm.families.Poisson(),
        "gamma": sm.families.Gamma(sm.families.links.Log()),
    }
    design = np.column_stack([columns()[name] for name in names])
    model = sm.GLM(VALUES[OUTCOMES[family][0]], design, family=kinds[family], offset=offset)
    return model.fit(tol=1e-15, maxiter=300, use_t=family in {"linear", "gamma"})


@pytest.mark.parametrize("sites", [3, 17])
@pytest.mark.parametrize("family", list(OUTCOMES))
def test_estimates_errors_tests_and_deviance_are_the_pooled_ones(family: Family, sites: int) -> None:
    model = model_of(family)
    result = solve(solve_glm(model, patients=SIZE, threshold=5, confidence=0.95), parts(VALUES, deal(SIZE, sites)))
    expected = oracle(family, model.design.names)
    table = result.tables[0]
    assert close(table.numbers("estimate"), expected.params, TOLERANCE)
    assert close(table.numbers("standard error"), expected.bse, TOLERANCE)
    assert close(table.numbers("statistic"), expected.tvalues, TOLERANCE)
    assert np.allclose(table.numbers("p"), expected.pvalues, rtol=1e-6, atol=1e-12)
    assert close(np.transpose([table.numbers("lower"), table.numbers("upper")]), expected.conf_int(), 1e-7)
    assert result.figures["deviance"] == pytest.approx(expected.deviance, rel=TOLERANCE)
    assert result.figures["dispersion"] == pytest.approx(expected.scale, rel=TOLERANCE)
    if family != "gamma":
        assert result.figures["log-likelihood"] == pytest.approx(expected.llf, rel=TOLERANCE)


@pytest.mark.parametrize("formula", ["age*ward", "ward:age", "age + I(age**2)", "0 + age + male", "age"])
def test_interactions_powers_and_no_intercept(formula: str) -> None:
    model = model_of("logistic", formula)
    result = solve(solve_glm(model, patients=SIZE, threshold=5, confidence=0.95), parts(VALUES, deal(SIZE, 5)))
    named = columns() | {
        "ward[medical]:age": VALUES["age"] * (VALUES["ward"] == 0),
        "ward[surgical]:age": VALUES["age"] * (VALUES["ward"] == 1),
        "ward[cardiac]:age": VALUES["age"] * (VALUES["ward"] == 2),
    }
    import statsmodels.api as sm

    design = np.column_stack([named[name] for name in model.design.names])
    expected = sm.GLM(VALUES["died"], design, family=sm.families.Binomial()).fit(tol=1e-15, maxiter=300)
    assert close(result.tables[0].numbers("estimate"), expected.params, 1e-7)
    assert close(result.tables[0].numbers("standard error"), expected.bse, 1e-7)


@pytest.mark.parametrize("family", ["linear", "poisson", "gamma"])
def test_an_offset(family: Family) -> None:
    model = model_of(family, offset="log(weeks)")
    found = solve(fit(model, patients=SIZE, threshold=5), parts(VALUES, deal(SIZE, 6)))
    expected = oracle(family, model.design.names, offset=np.log(VALUES["weeks"]))
    assert close(found.coefficients, expected.params, TOLERANCE)
    assert close(np.sqrt(np.diag(found.covariance)), expected.bse, TOLERANCE)


@pytest.mark.parametrize("family", ["linear", "logistic", "poisson"])
def test_the_likelihood_ratio_test_of_a_smaller_model(family: Family) -> None:
    from scipy import stats

    result = solve(
        solve_glm(
            model_of(family), patients=SIZE, threshold=5, confidence=0.95, against=model_of(family, "age + male")
        ),
        parts(VALUES, deal(SIZE, 4)),
    )
    large = oracle(family, model_of(family).design.names)
    small = oracle(family, model_of(family, "age + male").design.names)
    statistic, degrees, p = result.tables[1].rows[0]
    # statsmodels evaluates a Gaussian likelihood at its estimate of the scale; the test needs it at the maximum.
    at_maximum = SIZE * np.log(small.deviance / large.deviance)
    expected = at_maximum if family == "linear" else 2 * (large.llf - small.llf)
    assert statistic == pytest.approx(expected, rel=1e-7)
    assert (degrees, p) == (3, pytest.approx(stats.chi2.sf(expected, 3), rel=1e-6))


@pytest.mark.parametrize("strength", [0.5, 20.0])
def test_penalised_logistic_regression_is_scikit_learns(strength: float) -> None:
    from sklearn.linear_model import LogisticRegression

    model = model_of("logistic")
    found = solve(fit(model, patients=SIZE, threshold=5, ridge=strength), parts(VALUES, deal(SIZE, 8)))
    design = np.column_stack([columns()[name] for name in model.design.names[1:]])
    expected = LogisticRegression(C=1 / strength, solver="newton-cholesky", tol=1e-13, max_iter=500)
    expected.fit(design, VALUES["died"])
    assert close(found.coefficients[1:], expected.coef_[0], 1e-6)
    assert close(found.coefficients[:1], expected.intercept_, 1e-6)


def test_ridge_regression_is_scikit_learns() -> None:
    from sklearn.linear_model import Ridge

    model = model_of("linear")
    found = solve(fit(model, patients=SIZE, threshold=5, ridge=7.0), parts(VALUES, deal(SIZE, 8)))
    design = np.column_stack([columns()[name] for name in model.design.names[1:]])
    expected = Ridge(alpha=7.0, solver="cholesky").fit(design, VALUES["cost"])
    assert close(found.coefficients[1:], expected.coef_, 1e-8)
    assert found.coefficients[0] == pytest.approx(expected.intercept_, rel=1e-8)


def test_two_hundred_sites() -> None:
    model = model_of("logistic")
    found = solve(fit(model, patients=SIZE, threshold=5), parts(VALUES, deal(SIZE, 200)))
    expected = oracle("logistic", model.design.names)
    assert close(found.coefficients, expected.params, TOLERANCE)
    assert close(np.sqrt(np.diag(found.covariance)), expected.bse, TOLERANCE)
