"""What agreed reports on predictions have in common: what a prediction is, and whom a line is about.

Axis names: R records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from federation.data.contract import Continuous, DataContract, Integer, Variable
from federation.data.missing import ImputeMissing
from federation.errors import ConfigurationError
from federation.identifiers import SiteId, VariableName
from federation.protocol.secure_sum.terms import FEWEST_SITES
from federation.statistics.agreed import Agreed
from federation.statistics.agreed_tables import levels_of
from federation.statistics.descriptive import level_names
from federation.statistics.descriptive_steps import Levels
from federation.statistics.prediction_steps import Scores
from federation.statistics.step import Columns, FloatArray

AnalysisT = TypeVar("AnalysisT", bound=Agreed)


class AgreedReport(Agreed):
    """What reports on predictions have in common: whom a line is about."""

    group: VariableName | None = None
    """A variable with levels, such as a region or a ward: a line for each."""
    site_groups: dict[Annotated[str, Field(min_length=1, max_length=64)], tuple[SiteId, ...]] = {}
    """A line for each group of sites; every site is in one, and each has at least three."""

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        named = [site for sites in self.site_groups.values() for site in sites]
        if self.site_groups and (self.group is not None or len(self.site_groups) < 2 or len(set(named)) < len(named)):  # noqa: PLR2004
            raise ValueError("site_groups: expected two or more groups that share no site, and no group beside them")
        small = [label for label, sites in self.site_groups.items() if len(sites) < FEWEST_SITES]
        if small:
            raise ValueError(f"site_groups: expected at least {FEWEST_SITES} sites in each, got fewer in {small}")
        return self

    @property
    def group_column(self) -> str:
        """Of the groups of sites: a name that no contract's variable has by accident, and no other analysis."""
        return "sites-" + hashlib.sha256(self.name.encode()).hexdigest()[:16]

    def made_columns(self) -> frozenset[str]:
        """The groups of sites."""
        return frozenset({self.group_column}) if self.site_groups else frozenset()

    def make_columns(self, columns: Columns, site: str) -> dict[str, FloatArray]:
        """The site's group."""
        for place, sites in enumerate(self.site_groups.values()):
            if site in sites:
                return {self.group_column: np.full(columns.records, float(place))}
        return {}

    def groups(self, contract: DataContract) -> tuple[Levels | None, tuple[str, ...]]:
        """The column of the groups, and their labels."""
        if self.site_groups:
            return Levels(variable=self.group_column, levels=len(self.site_groups)), tuple(self.site_groups)
        if self.group is None:
            return None, ()
        variable = contract.variable(self.group)
        return levels_of(variable), level_names(variable)

    def scores(self, predictions: tuple[str, ...], outcome: str, contract: DataContract) -> Scores:
        """Predictions, outcome and groups as a step names them."""
        group, _ = self.groups(contract)
        return Scores(
            scores=predictions,
            outcome=outcome,
            group=None if group is None else group.variable,
            groups=1 if group is None else group.levels,
        )

    def grouping(self) -> frozenset[str]:
        """The variable of the groups, if it is one of the contract's."""
        return frozenset() if self.group is None else frozenset({self.group})


def expect_days(variable: Variable) -> Continuous | Integer:
    """Check that a variable is a number of days that is never imputed.

    Raises:
        ConfigurationError: If not.
    """
    if not isinstance(variable, Continuous | Integer) or variable.unit != "day":
        raise ConfigurationError(
            f"expected a number of days, got {variable.name} of kind {variable.kind!r}",
            remedy="choose another variable, or give its unit as `day` in the contract",
        )
    expect_never_imputed(variable)
    return variable


def expect_prediction(variable: Variable, *, most: float | None = None) -> None:
    """Check that a variable can be a prediction: a number from 0, never imputed.

    Args:
        variable: Of the contract.
        most: Largest value that the contract may allow.

    Raises:
        ConfigurationError: If not.
    """
    is_number = isinstance(variable, Continuous | Integer)
    if not is_number or variable.minimum < 0 or (most is not None and variable.maximum > most):
        raise ConfigurationError(
            f"expected a prediction from 0{'' if most is None else f' to {most:g}'}, got {variable.name} of kind "
            f"{variable.kind!r}, or with a wider range",
            remedy="choose another variable, or correct its range in the contract",
        )
    expect_never_imputed(variable)


def expect_never_imputed(variable: Variable) -> None:
    """Check that a missing value leaves the patient out.

    Raises:
        ConfigurationError: If it is imputed.
    """
    if isinstance(variable.missing, ImputeMissing):
        raise ConfigurationError(
            f"expected {variable.name} never to be imputed, got missing rule {variable.missing.rule!r}",
            remedy="a report on made-up predictions says nothing: use the missing rule `exclude`",
        )


def reason_against_groups(analyses: Iterable[Agreed], sites: tuple[str, ...], *, drop_outs: str) -> str | None:
    """Why reports by groups of sites do not fit a study; ``None`` if they do.

    Args:
        analyses: Of the study.
        sites: Of its roster.
        drop_outs: What happens when a site drops out.
    """
    for each in analyses:
        if not isinstance(each, AgreedReport) or not each.site_groups:
            continue
        named = sorted(site for members in each.site_groups.values() for site in members)
        if named != sorted(sites):
            return f"{each.name}.site_groups: expected every site of the roster once, got {named}"
        if drop_outs != "wait":
            return f"{each.name}.site_groups: expected drop_outs 'wait': a group could lose sites between two sums"
    return None


def groups_of_sites(analyses: Iterable[Agreed]) -> tuple[frozenset[str], ...]:
    """All groups of sites about which a study has a line of its own."""
    return tuple(
        frozenset(sites) for each in analyses if isinstance(each, AgreedReport) for sites in each.site_groups.values()
    )


def without_site(analyses: tuple[AnalysisT, ...], site: str) -> tuple[AnalysisT, ...]:
    """The same analyses for a study without a site: no group has it any more, and a group may be too small then.

    Args:
        analyses: Of the study.
        site: Who is left out.
    """
    return tuple(
        each.model_copy(
            update={
                "site_groups": {
                    label: tuple(name for name in sites if name != site) for label, sites in each.site_groups.items()
                }
            }
        )
        if isinstance(each, AgreedReport)
        else each
        for each in analyses
    )
