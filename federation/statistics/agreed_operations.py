"""Reports on predictions that a study agrees on: predictions and outcomes are columns of the contract, lines are agreed groups.

A prediction is a column that sites have beside the outcome, such as APACHE IVa's. It is never imputed: who lacks one is left out.

Axis names: R records, K knots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from federation.data.contract import Continuous, DataContract, Integer, Variable
from federation.data.missing import ImputeMissing
from federation.errors import ConfigurationError
from federation.identifiers import SiteId, VariableName
from federation.protocol.secure_sum.terms import FEWEST_SITES
from federation.statistics.agreed import Agreed
from federation.statistics.agreed_tables import expect_binary, levels_of
from federation.statistics.calibration import Question, calibrate
from federation.statistics.descriptive import level_names
from federation.statistics.descriptive_steps import Levels
from federation.statistics.follow_up import follow_up
from federation.statistics.occupancy import Forecasting, forecast
from federation.statistics.occupancy_steps import OccupancyStep, knot_name
from federation.statistics.prediction_steps import RecalibrationStep, RiskHistogramStep, Scores
from federation.statistics.result import Findings
from federation.statistics.stay_steps import StayErrorStep, StayQuestion, judge_stays
from federation.statistics.step import Columns, FloatArray, Solver, Step

_FINE_BINS = 5000
"""Of risks that are close to each other, so that a capacity is filled to a patient or two."""
Predictions = Annotated[tuple[VariableName, ...], Field(min_length=1, max_length=8)]


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


class _AgreedRisks(AgreedReport):
    """About predicted risks of a binary outcome."""

    outcome: VariableName

    def _scores(self, predictions: tuple[str, ...], contract: DataContract) -> Scores:
        expect_binary(contract.variable(self.outcome))
        for name in predictions:
            expect_prediction(contract.variable(name), most=1.0)
        return self.scores(predictions, self.outcome, contract)


class AgreedCalibration(_AgreedRisks):
    """How well predicted risks agree with what happened."""

    kind: Literal["calibration"] = "calibration"
    predictions: Predictions
    bins: Annotated[int, Field(ge=2, le=10_000)] = 1000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95

    def variables(self) -> frozenset[str]:
        """Outcome, predictions and groups."""
        return frozenset({self.outcome, *self.predictions}) | self.grouping()

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """Histograms, and the equations of recalibration by group and over everybody."""
        scores = self._scores(self.predictions, contract)
        everybody = scores.model_copy(update={"group": None, "groups": 1})
        equations = [RecalibrationStep(scores=each, line=(), shift=()) for each in dict.fromkeys((scores, everybody))]
        return (RiskHistogramStep(scores=scores, bins=self.bins), *equations)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.calibration.calibrate`."""
        question = Question(
            scores=self._scores(self.predictions, contract),
            titles=self.predictions,
            labels=self.groups(contract)[1],
            threshold=threshold,
            bins=self.bins,
            confidence=self.confidence,
        )
        return calibrate(question)


class AgreedFollowUp(_AgreedRisks):
    """What following up the patients of the highest risk would reach."""

    kind: Literal["follow_up"] = "follow_up"
    prediction: VariableName
    capacity: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the patients who can be followed up."""

    def variables(self) -> frozenset[str]:
        """Outcome, prediction and groups."""
        return frozenset({self.outcome, self.prediction}) | self.grouping()

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """Histograms."""
        return (RiskHistogramStep(scores=self._scores((self.prediction,), contract), bins=_FINE_BINS),)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.follow_up.follow_up`."""
        question = Question(
            scores=self._scores((self.prediction,), contract),
            titles=(self.prediction,),
            labels=self.groups(contract)[1],
            threshold=threshold,
            bins=_FINE_BINS,
        )
        return follow_up(question, capacity=self.capacity)


class AgreedStays(AgreedReport):
    """Predicted beside observed lengths of stay, in days."""

    kind: Literal["stays"] = "stays"
    stay: VariableName
    predictions: Predictions
    interval: tuple[VariableName, VariableName] | None = None
    """Columns with the lower and upper end of each patient's predicted interval."""

    def variables(self) -> frozenset[str]:
        """Stay, predictions, interval and groups."""
        return frozenset({self.stay, *self.predictions, *(self.interval or ())}) | self.grouping()

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """Errors."""
        return (self._step(contract),)

    def _step(self, contract: DataContract) -> StayErrorStep:
        stay = expect_days(contract.variable(self.stay))
        for name in (*self.predictions, *(self.interval or ())):
            expect_prediction(contract.variable(name))
        scores = self.scores(self.predictions, self.stay, contract)
        return StayErrorStep(scores=scores, interval=self.interval, longest=stay.maximum)

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.stay_steps.judge_stays`."""
        labels = self.groups(contract)[1]
        question = StayQuestion(step=self._step(contract), titles=self.predictions, labels=labels, threshold=threshold)
        return judge_stays(question)


class AgreedBeds(AgreedReport):
    """Occupied beds, forecast from predicted mean stays: a patient leaves at a constant rate, whatever the stay so far."""

    kind: Literal["beds"] = "beds"
    admitted: VariableName
    """Days from an agreed midnight to the admission, with fractions."""
    stay: VariableName
    predictions: Predictions
    """Predicted mean stays in days: a forecast for each."""
    origins: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=1000)]
    """Days at whose beginning a forecast is made."""
    horizon: Annotated[int, Field(ge=1, le=60)] = 7
    knots: Annotated[tuple[float, ...], Field(min_length=1, max_length=200)]
    """Days after admission, rising, at which a patient's curve is known; it is straight between them, and 0 after the last."""
    arrivals: Literal["known", "expected"] = "known"
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Of the intervals."""

    @model_validator(mode="after")
    def _check_knots(self) -> Self:
        if min(np.diff([0.0, *self.knots])) <= 0:
            raise ValueError("knots: expected days that rise from above 0")
        return self

    def variables(self) -> frozenset[str]:
        """Times, predictions and groups."""
        return frozenset({self.admitted, self.stay, *self.predictions}) | self.grouping()

    def made_columns(self) -> frozenset[str]:
        """The curves and the groups of sites."""
        curves = {knot_name(name, place) for name in self._prefixes for place in range(len(self.knots))}
        return super().made_columns() | curves

    def make_columns(self, columns: Columns, site: str) -> dict[str, FloatArray]:
        """``exp(-knot / predicted stay)`` for every knot."""
        found = super().make_columns(columns, site)
        for prefix, name in zip(self._prefixes, self.predictions, strict=True):
            with np.errstate(divide="ignore"):
                rate = 1 / np.maximum(columns.values[name], 0.0)
            found |= {knot_name(prefix, place): np.exp(-knot * rate) for place, knot in enumerate(self.knots)}
        return found

    @property
    def _prefixes(self) -> tuple[str, ...]:
        own = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        return tuple(f"curve-{own}-{place}" for place in range(len(self.predictions)))

    def steps(self, contract: DataContract) -> tuple[Step, ...]:
        """Cumulants of occupied beds."""
        return (self._step(contract),)

    def _step(self, contract: DataContract) -> OccupancyStep:
        for name in (self.admitted, self.stay):
            expect_days(contract.variable(name))
        for name in self.predictions:
            expect_prediction(contract.variable(name))
        group, _ = self.groups(contract)
        return OccupancyStep(
            forecasts=self._prefixes,
            knots=self.knots,
            origins=self.origins,
            horizons=self.horizon,
            arrivals=self.arrivals,
            group=None if group is None else group.variable,
            groups=1 if group is None else group.levels,
            admitted=self.admitted,
            stay=self.stay,
        )

    def solver(self, contract: DataContract, *, patients: int, threshold: int) -> Solver[Findings]:  # noqa: ARG002 - as agreed
        """See :func:`~federation.statistics.occupancy.forecast`."""
        question = Forecasting(
            step=self._step(contract),
            titles=self.predictions,
            labels=self.groups(contract)[1],
            level=self.level,
            threshold=threshold,
        )
        return forecast(question)


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
