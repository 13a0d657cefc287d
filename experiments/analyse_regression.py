"""From a formula and a family to a regression model whose outcome is scaled by the contract's public range."""

from __future__ import annotations

from experiments.analyse_formula import ReadFormula, read_factor, read_formula
from experiments.analyse_settings import AnalysisSettings
from federation.data.contract import Binary, Continuous, DataContract, Integer
from federation.errors import ConfigurationError
from federation.statistics.families import Family
from federation.statistics.glm_steps import RegressionModel


def regression_model(settings: AnalysisSettings, contract: DataContract) -> RegressionModel:
    """The model of a formula, its outcome scaled by the contract's range where the family allows that.

    Raises:
        ConfigurationError: If the family does not fit the outcome.
    """
    read: ReadFormula = read_formula(settings.formula or "", contract)
    name = read.outcome or contract.outcome.name
    variable = contract.variable(name)
    family = settings.family or ("logistic" if isinstance(variable, Binary) else "linear")
    if settings.analysis == "penalised_logistic":
        family = "logistic"
    fits = isinstance(variable, Binary) if family == "logistic" else isinstance(variable, Binary | Continuous | Integer)
    if not fits:
        raise ConfigurationError(
            f"expected an outcome that fits family={family}, got {name} of kind {variable.kind!r}",
            remedy="choose another outcome or family",
        )
    centre, scale = _outcome_scale(variable, family, has_intercept=read.design.intercept is not None)
    return RegressionModel(
        family=family,
        outcome=name,
        design=read.design,
        outcome_centre=centre,
        outcome_scale=scale,
        offset=None if settings.offset is None else read_factor(settings.offset, contract),
    )


def _outcome_scale(variable: object, family: Family, *, has_intercept: bool) -> tuple[float, float]:
    """Centre and scale; an intercept takes up the shift, and in a gamma model the scale."""
    if not isinstance(variable, Continuous | Integer) or family in {"logistic", "poisson"}:
        return 0.0, 1.0
    least, most = variable.minimum, variable.maximum
    if family == "gamma":
        return 0.0, most if has_intercept and most > 0 else 1.0
    return ((least + most) / 2, (most - least) / 2) if has_intercept else (0.0, max(abs(least), abs(most)))
