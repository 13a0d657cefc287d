"""Agreed analyses that fit models or follow patients over time, and the union of all agreed analyses."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.data.contract import Continuous, DataContract, Integer
from federation.errors import ConfigurationError
from federation.identifiers import VariableName
from federation.statistics.agreed import Agreed
from federation.statistics.agreed_genotypes import AgreedVariants
from federation.statistics.agreed_operations import AgreedBeds, AgreedCalibration, AgreedFollowUp, AgreedStays
from federation.statistics.agreed_tables import (
    AgreedComponents,
    AgreedCrossTable,
    AgreedDescription,
    AgreedOddsRatio,
    expect_binary,
    levels_of,
)
from federation.statistics.cox import CoxModel, solve_cox
from federation.statistics.cox_steps import CoxLikelihoodStep, CoxRiskStep, GramStep
from federation.statistics.descriptive import level_names
from federation.statistics.descriptive_steps import Levels
from federation.statistics.glm import solve_glm
from federation.statistics.glm_steps import CrossProductStep, RegressionModel, ScoreStep
from federation.statistics.meta_analysis import Method, SiteEstimateStep, SitePrecisionStep, meta_analysis
from federation.statistics.result import Findings
from federation.statistics.step import Solver, Step
from federation.statistics.survival import curves, log_rank
from federation.statistics.survival_steps import LogRankStep, RiskTableStep, Survival, TimeGrid

Confidence = Annotated[float, Field(gt=0.5, lt=1)]


class AgreedRegression(Agreed):
    """A generalised linear model; with a penalty also the penalised logistic regression."""

    kind: Literal["glm", "penalised_logistic"] = "glm"
    model: RegressionModel
    against: RegressionModel | None = None
    """A smaller model for the likelihood-ratio test."""
    ridge: Annotated[float, Field(ge=0)] = 0.0
    confidence: Confidence = 0.95

    def variables(self) -> frozenset[str]:
        """Of both models."""
        return self.model.variables() | (frozenset() if self.against is None else self.against.variables())

    def steps(self, contract: DataContract) -> tuple[Step, ...]:  # noqa: ARG002 - as agreed
        """Cross products and score of each model."""
        models = (self.model,) if self.against is None else (self.model, self.against)
        return tuple(
            step
            for model in models
            for step in (CrossProductStep(model=model), ScoreStep(model=model, coefficients=()))
        )

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.glm.solve_glm`."""
        return solve_glm(
            self.model,
            patients=patients,
            threshold=threshold,
            confidence=self.confidence,
            ridge=self.ridge,
            against=self.against,
        )


class AgreedMetaAnalysis(Agreed):
    """The random-effects mean of a coefficient that each site estimates by itself."""

    kind: Literal["meta"] = "meta"
    model: RegressionModel
    column: Annotated[int, Field(ge=0)]
    method: Method = "dersimonian_laird"
    confidence: Confidence = 0.95

    @model_validator(mode="after")
    def _check_column(self) -> Self:
        width = len(self.model.design.columns)
        if self.column >= width:
            raise ValueError(f"expected a column from 0 to {width - 1}, got {self.column}")
        return self

    def variables(self) -> frozenset[str]:
        """Of the model."""
        return self.model.variables()

    def steps(self, contract: DataContract) -> tuple[Step, ...]:  # noqa: ARG002 - as agreed
        """Precision and weighted estimates."""
        return (
            SitePrecisionStep(model=self.model, column=self.column),
            SiteEstimateStep(model=self.model, column=self.column),
        )

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.meta_analysis.meta_analysis`."""
        return meta_analysis(self.model, self.column, method=self.method, confidence=self.confidence)


class AgreedCurves(Agreed):
    """Kaplan-Meier and Nelson-Aalen curves."""

    kind: Literal["kaplan_meier"] = "kaplan_meier"
    survival: Survival
    grid: TimeGrid
    group: VariableName | None = None
    confidence: Confidence = 0.95

    def variables(self) -> frozenset[str]:
        """Of survival and group."""
        return self.survival.variables() | (frozenset() if self.group is None else frozenset({self.group}))

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """The risk table."""
        check_survival(self.survival, contract)
        return (RiskTableStep(survival=self.survival, grid=self.grid, group=_levels(self.group, contract)),)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.survival.curves`."""
        return curves(
            self.survival,
            self.grid,
            threshold=threshold,
            confidence=self.confidence,
            group=_levels(self.group, contract),
            names=("all",) if self.group is None else level_names(contract.variable(self.group)),
        )


class AgreedLogRank(Agreed):
    """The log-rank test."""

    kind: Literal["log_rank"] = "log_rank"
    survival: Survival
    group: VariableName
    grid: TimeGrid | None = None
    """``None``: risk sets within sites, at the exact times."""
    strata: VariableName | None = None

    def variables(self) -> frozenset[str]:
        """Of survival, group and strata."""
        return self.survival.variables() | {self.group} | (frozenset() if self.strata is None else {self.strata})

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """The risk table, or the parts of the test."""
        check_survival(self.survival, contract)
        group, strata = levels_of(contract.variable(self.group)), _levels(self.strata, contract)
        if self.grid is None:
            return (LogRankStep(survival=self.survival, group=group),)
        return (RiskTableStep(survival=self.survival, grid=self.grid, strata=strata, group=group),)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.survival.log_rank`."""
        variable = contract.variable(self.group)
        return log_rank(
            self.survival,
            levels_of(variable),
            level_names(variable),
            threshold=threshold,
            grid=self.grid,
            strata=_levels(self.strata, contract),
        )


class AgreedCox(Agreed):
    """Cox regression."""

    kind: Literal["cox"] = "cox"
    model: CoxModel
    confidence: Confidence = 0.95

    def variables(self) -> frozenset[str]:
        """Of the model."""
        return self.model.variables()

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """Cross products, and risk sets over all sites or likelihoods within sites."""
        model = self.model
        check_survival(model.survival, contract)
        gram = GramStep(design=model.design)
        if model.grid is None:
            within = CoxLikelihoodStep(
                survival=model.survival, strata=model.strata, design=model.design, coefficients=(), ties=model.ties
            )
            return (gram, within)
        table = RiskTableStep(survival=model.survival, grid=model.grid, strata=model.strata)
        over_all = CoxRiskStep(
            survival=model.survival,
            grid=model.grid,
            strata=model.strata,
            design=model.design,
            coefficients=(),
            points=((0, 0),),
        )
        return (gram, table, over_all)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.cox.solve_cox`."""
        return solve_cox(self.model, patients=patients, threshold=threshold, confidence=self.confidence)


AgreedAnalysis = Annotated[
    AgreedDescription
    | AgreedCrossTable
    | AgreedRegression
    | AgreedMetaAnalysis
    | AgreedCurves
    | AgreedLogRank
    | AgreedCox
    | AgreedOddsRatio
    | AgreedComponents
    | AgreedVariants
    | AgreedCalibration
    | AgreedFollowUp
    | AgreedStays
    | AgreedBeds,
    Field(discriminator="kind"),
]
"""Every analysis that a study can agree on, told apart by its ``kind``."""


def check_survival(survival: Survival, contract: DataContract) -> None:
    """Check that times are numbers and the event is yes or no.

    Raises:
        ConfigurationError: If not.
        ManifestError: If the contract lacks a variable.
    """
    for name in (survival.time, survival.entry):
        variable = None if name is None else contract.variable(name)
        if variable is not None and not isinstance(variable, Continuous | Integer):
            raise ConfigurationError(
                f"expected a number as a time, got {variable.name} of kind {variable.kind!r}",
                remedy="choose another variable",
            )
    expect_binary(contract.variable(survival.event))


def _levels(name: str | None, contract: DataContract) -> Levels | None:
    return None if name is None else levels_of(contract.variable(name))
