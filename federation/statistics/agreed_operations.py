"""Reports on predictions that a study agrees on: predictions and outcomes are columns of the contract, lines are agreed groups.

A prediction is a column that sites have beside the outcome, such as APACHE IVa's. It is never imputed: who lacks one is left out.

Axis names: R records, K knots.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from federation.data.contract import DataContract
from federation.identifiers import VariableName
from federation.statistics.agreed_reports import AgreedReport, expect_days, expect_prediction
from federation.statistics.agreed_tables import expect_binary
from federation.statistics.calibration import Question, calibrate
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
