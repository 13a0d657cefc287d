"""Generalised linear models over sites: Fisher scoring at the centre, from sums alone.

The estimates, their covariance, the deviance and the likelihood-ratio test are those of the pooled records. With ``ridge`` the
penalty is ``ridge / 2`` times the squared coefficients of the plain columns, the intercept's left out: ``ridge = 1 / C`` gives
scikit-learn's `LogisticRegression`, ``ridge = alpha`` its `Ridge`. A penalised estimate comes without standard errors.

Axis names: p columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.disclosure import check_columns_are_safe
from federation.statistics.families import HAS_DISPERSION
from federation.statistics.glm_steps import CrossProductStep, RegressionModel, ScoreStep
from federation.statistics.inference import chi_squared_p, coefficient_table
from federation.statistics.result import Findings, Table
from federation.statistics.solving import check_columns, check_divergence, inverse, solve
from federation.statistics.step import Solver, Sums

FloatArray = NDArray[np.float64]

_TOLERANCE: Final = 1e-10
"""A step this short, in scaled columns, is the last: Newton's next would be its square."""
_HALVINGS: Final = 30


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Args:
        coefficients: ``[p]`` of the plain columns.
        covariance: ``[p, p]``, dispersion included.
        deviance: In the outcome's own unit.
        pearson: Pearson's chi-squared, likewise.
        dispersion: Of the linear and gamma family, Pearson's chi-squared over the degrees of freedom; 1 otherwise.
        log_likelihood: Of the logistic, Poisson and (at its maximum over the spread) linear family; NaN for gamma.
        degrees: Residual degrees of freedom.
        scaled: ``[p]`` coefficients of the scaled columns.
    """

    coefficients: FloatArray = field(repr=False)
    covariance: FloatArray = field(repr=False)
    deviance: float
    pearson: float
    dispersion: float
    log_likelihood: float
    degrees: int
    scaled: FloatArray = field(repr=False)


def fit(model: RegressionModel, *, patients: int, threshold: int, ridge: float = 0.0) -> Solver[Fit]:
    """Fit one model.

    Args:
        model: What is regressed on what.
        patients: In the sums.
        threshold: A level of fewer patients is refused.
        ridge: Penalty, not negative.

    Raises:
        InvalidInputError: If columns are collinear, empty or of too few patients.
        StudyError: If there are no finite estimates.
    """
    names = model.design.names
    first = yield CrossProductStep(model=model)
    if patients <= len(names):
        raise InvalidInputError(
            f"expected more patients than the {len(names)} columns, got {patients}", remedy="use fewer terms"
        )
    check_columns_are_safe(first["gram"], model.design, patients=patients, threshold=threshold)
    if ridge == 0:
        check_columns(first["gram"], names)
    penalty = penalty_of(model, ridge)
    coefficients = _start(model, first)
    sums = yield _at(model, coefficients)
    for steps in range(1, 1000):
        step = solve(sums["information"] + np.diag(penalty), sums["score"] - penalty * coefficients)
        check_divergence(step, names, steps=steps)
        if step is None:
            raise AssertionError  # check_divergence refuses it
        last, objective = coefficients, _objective(sums, coefficients, penalty)
        for halving in range(_HALVINGS):
            coefficients = last + step / 2**halving
            sums = yield _at(model, coefficients)
            slack = 1e-9 * (1 + abs(objective))
            if np.isfinite(sums["deviance"]) and _objective(sums, coefficients, penalty) <= objective + slack:
                break
        if float(np.abs(coefficients - last).max()) < _TOLERANCE * (1 + float(np.abs(coefficients).max())):
            break
    return _finished(model, sums, coefficients, patients=patients)


def solve_glm(
    model: RegressionModel,
    *,
    patients: int,
    threshold: int,
    confidence: float,
    ridge: float = 0.0,
    against: RegressionModel | None = None,
) -> Solver[Findings]:
    """Fit a model, and compare it with a smaller one.

    Args:
        model: What is regressed on what.
        patients: In the sums.
        threshold: A level of fewer patients is refused.
        confidence: Of the intervals.
        ridge: Penalty.
        against: A model with fewer columns, for the likelihood-ratio test; ``None``: no test.

    Raises:
        As :func:`fit`.
    """
    found = yield from fit(model, patients=patients, threshold=threshold, ridge=ridge)
    has_dispersion = model.family in HAS_DISPERSION
    figures: dict[str, float | None] = {
        "deviance": found.deviance,
        "dispersion": found.dispersion,
        "residual degrees of freedom": float(found.degrees),
        "pearson chi-squared": found.pearson,
        "log-likelihood": None if np.isnan(found.log_likelihood) else found.log_likelihood,
    }
    tables = [
        coefficient_table(
            model.design.names,
            found.coefficients,
            None if ridge else found.covariance,
            confidence=confidence,
            degrees=found.degrees if has_dispersion else None,
        )
    ]
    if against is not None:
        smaller = yield from fit(against, patients=patients, threshold=threshold)
        tables.append(_likelihood_ratio(model, found, smaller))
        figures["deviance of the smaller model"] = smaller.deviance
    notes = ("penalised estimates have no standard errors here",) if ridge else ()
    return Findings(figures=figures, tables=tuple(tables), notes=notes)


def _at(model: RegressionModel, coefficients: FloatArray) -> ScoreStep:
    return ScoreStep(model=model, coefficients=tuple(coefficients.tolist()))


def _start(model: RegressionModel, first: Sums) -> FloatArray:
    """Zero, but for an intercept that fits the mean where the link is the logarithm."""
    start = np.zeros(len(model.design.columns))
    place = model.design.intercept
    if place is not None and model.family in {"poisson", "gamma"}:
        mean = float(first["outcome"]) / float(first["exposure"])
        start[place] = np.log(mean) if mean > 0 else 0.0
    return start


def penalty_of(model: RegressionModel, ridge: float) -> FloatArray:
    """``[p]`` the penalty of each scaled column's squared coefficient, twice; the intercept has none."""
    scales = np.array([column.scale for column in model.design.columns])
    penalty = ridge / scales**2
    if model.design.intercept is not None:
        penalty[model.design.intercept] = 0.0
    return penalty


def _objective(sums: Sums, coefficients: FloatArray, penalty: FloatArray) -> float:
    return float(sums["deviance"]) / 2 + float(penalty @ coefficients**2) / 2


def _finished(model: RegressionModel, sums: Sums, coefficients: FloatArray, *, patients: int) -> Fit:
    """Coefficients, covariance and deviance of the plain columns and outcomes."""
    scale, back = model.outcome_scale, model.design.unscaled()
    unit = scale if model.family == "linear" else 1.0
    plain = plain_coefficients(model, coefficients)
    degrees = patients - len(coefficients)
    pearson, deviance = float(sums["pearson"]) * unit**2, float(sums["deviance"]) * unit**2
    dispersion = pearson / degrees if model.family in HAS_DISPERSION else 1.0
    covariance = back @ inverse(sums["information"]) @ back.T * dispersion
    match model.family:
        case "linear":
            likelihood = -patients / 2 * (np.log(2 * np.pi * deviance / patients) + 1) if deviance > 0 else np.inf
        case "gamma":
            likelihood = np.nan
        case _:
            likelihood = float(sums["base"]) - deviance / 2
    return Fit(
        coefficients=plain,
        covariance=covariance,
        deviance=deviance,
        pearson=pearson,
        dispersion=dispersion,
        log_likelihood=float(likelihood),
        degrees=degrees,
        scaled=coefficients,
    )


def plain_coefficients(model: RegressionModel, scaled: FloatArray) -> FloatArray:
    """``[p]`` coefficients of the plain columns and outcomes from those of the scaled ones."""
    scale = model.outcome_scale
    plain = (scale if model.family == "linear" else 1.0) * (model.design.unscaled() @ scaled)
    place = model.design.intercept
    if place is not None:
        plain[place] += model.outcome_centre + (np.log(scale) if model.family == "gamma" else 0.0)
    return plain


def _likelihood_ratio(model: RegressionModel, large: Fit, small: Fit) -> Table:
    """Wilks 1938; of a gamma model the difference of deviances over the larger model's dispersion."""
    degrees = small.degrees - large.degrees
    if degrees < 1:
        raise InvalidInputError(
            "expected fewer columns in the model to compare with, got as many or more",
            remedy="give a smaller formula in against=",
        )
    if model.family == "gamma":
        statistic = (small.deviance - large.deviance) / large.dispersion
    else:
        statistic = 2 * (large.log_likelihood - small.log_likelihood)
    return Table(
        name="likelihood_ratio",
        title="Likelihood-ratio test",
        columns=("statistic", "degrees of freedom", "p"),
        rows=((statistic, degrees, chi_squared_p(statistic, degrees)),),
    )
