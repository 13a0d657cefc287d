"""Agreed analyses that are tables: descriptions, cross-tabulations, odds ratios, principal components."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.data.contract import Binary, Continuous, DataContract, Integer, Variable
from federation.errors import ConfigurationError
from federation.identifiers import VariableName
from federation.statistics.agreed import Agreed
from federation.statistics.association import MantelHaenszelStep, mantel_haenszel
from federation.statistics.descriptive import cross_tabulate, describe, level_names, quantile_grid
from federation.statistics.descriptive_steps import HistogramStep, LevelCountStep, Levels, MomentStep, Scaled
from federation.statistics.principal_components import CovarianceStep, principal_components
from federation.statistics.result import Findings
from federation.statistics.step import Solver, Step


class AgreedDescription(Agreed):
    """Numbers by moments and quantiles, other variables by counts of levels."""

    kind: Literal["describe"] = "describe"
    described: Annotated[tuple[VariableName, ...], Field(min_length=1)]
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25, 0.5, 0.75)
    bins: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """Of the histograms from which quantiles are read."""

    def variables(self) -> frozenset[str]:
        """None: what is missing is counted."""
        return frozenset()

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """Moments, a histogram per number, counts per variable with levels."""
        chosen = self._chosen(contract)
        numbers = tuple(variable for variable in chosen if isinstance(variable, Continuous | Integer))
        found: list[Step] = [MomentStep(numbers=tuple(map(scaled_by_range, numbers)))] if numbers else []
        found += [HistogramStep(grid=quantile_grid(number, bins=self.bins)) for number in numbers]
        found += [LevelCountStep(coded=(levels_of(variable),)) for variable in chosen if variable not in numbers]
        return tuple(found)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:
        """See :func:`~federation.statistics.descriptive.describe`."""
        return describe(
            self._chosen(contract),
            patients=patients,
            threshold=threshold,
            quantiles=self.quantiles,
            bins=self.bins,
        )

    def _chosen(self, contract: DataContract) -> tuple[Variable, ...]:
        return tuple(contract.variable(name) for name in self.described)


class AgreedCrossTable(Agreed):
    """Counts of pairs of levels."""

    kind: Literal["crosstab"] = "crosstab"
    rows: VariableName
    columns: VariableName

    def variables(self) -> frozenset[str]:
        """Both."""
        return frozenset({self.rows, self.columns})

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """One."""
        return (LevelCountStep(coded=tuple(levels_of(contract.variable(name)) for name in (self.rows, self.columns))),)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.descriptive.cross_tabulate`."""
        return cross_tabulate(contract.variable(self.rows), contract.variable(self.columns), threshold=threshold)


class AgreedOddsRatio(Agreed):
    """The Mantel-Haenszel odds ratio of a binary exposure and the contract's binary outcome."""

    kind: Literal["mantel_haenszel"] = "mantel_haenszel"
    exposure: VariableName
    strata: VariableName | None = None
    """A variable with levels; ``None``: by site."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    outcome: VariableName

    def variables(self) -> frozenset[str]:
        """Exposure, outcome and strata."""
        return frozenset({self.exposure, self.outcome} | (set() if self.strata is None else {self.strata}))

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """One."""
        strata = self._strata(contract)
        for name in (self.exposure, self.outcome):
            expect_binary(contract.variable(name))
        if strata is None:
            return (MantelHaenszelStep(exposure=self.exposure, outcome=self.outcome),)
        pair = (Levels(variable=self.exposure, levels=2), Levels(variable=self.outcome, levels=2))
        return (LevelCountStep(coded=(strata, *pair)),)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.association.mantel_haenszel`."""
        return mantel_haenszel(
            self.exposure,
            self.outcome,
            threshold=threshold,
            confidence=self.confidence,
            strata=self._strata(contract),
        )

    def _strata(self, contract: DataContract) -> Levels | None:
        return None if self.strata is None else levels_of(contract.variable(self.strata))


class AgreedComponents(Agreed):
    """Principal components of numbers."""

    kind: Literal["pca"] = "pca"
    numbers: Annotated[tuple[VariableName, ...], Field(min_length=1)]
    components: Annotated[int, Field(ge=1)] = 2
    standardise: bool = True
    """Of correlations; otherwise of covariances."""

    def variables(self) -> frozenset[str]:
        """The numbers."""
        return frozenset(self.numbers)

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """Moments and cross products."""
        scaled = self._scaled(contract)
        return (MomentStep(numbers=scaled), CovarianceStep(numbers=scaled))

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.principal_components.principal_components`."""
        return principal_components(
            self._scaled(contract), patients=patients, components=self.components, standardises=self.standardise
        )

    def _scaled(self, contract: DataContract) -> tuple[Scaled, ...]:
        return tuple(scaled_by_range(contract.variable(name)) for name in self.numbers)


def scaled_by_range(variable: Variable) -> Scaled:
    """A number moved to [-1, 1] by its plausible range.

    Raises:
        ConfigurationError: If the variable is not a number.
    """
    if not isinstance(variable, Continuous | Integer):
        raise ConfigurationError(
            f"expected numbers for principal components, got {variable.name} of kind {variable.kind!r}",
            remedy="name numbers in variables=[...]",
        )
    half = (variable.maximum - variable.minimum) / 2
    return Scaled(variable=variable.name, centre=(variable.minimum + variable.maximum) / 2, scale=half)


def levels_of(variable: Variable) -> Levels:
    """A variable's number of levels.

    Raises:
        ConfigurationError: If the variable is a number.
    """
    return Levels(variable=variable.name, levels=len(level_names(variable)))


def expect_binary(variable: Variable) -> None:
    """Check that a variable is yes or no.

    Raises:
        ConfigurationError: If not.
    """
    if not isinstance(variable, Binary):
        raise ConfigurationError(
            f"expected a binary variable, got {variable.name} of kind {variable.kind!r}",
            remedy="choose another variable",
        )
