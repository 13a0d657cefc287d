"""Cox regression over sites by Newton's method (Cox 1972), stratified by site or with risk sets over all of them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.documents import Document
from federation.errors import InvalidInputError
from federation.statistics.cox_steps import CoxLikelihoodStep, CoxRiskStep, GramStep, Ties, partial_likelihood
from federation.statistics.descriptive_steps import Levels
from federation.statistics.design import Design
from federation.statistics.disclosure import check_columns_are_safe
from federation.statistics.inference import chi_squared_p, coefficient_table
from federation.statistics.result import Findings, Table
from federation.statistics.solving import check_columns, check_divergence, inverse, solve
from federation.statistics.step import Solver, Step, Sums
from federation.statistics.survival import check_strata
from federation.statistics.survival_steps import RiskTableStep, Survival, TimeGrid

FloatArray = NDArray[np.float64]

_TOLERANCE: Final = 1e-10
_HALVINGS: Final = 30


class CoxModel(Document):
    """What is fitted."""

    survival: Survival
    design: Design
    """Columns, no intercept."""
    ties: Ties = "efron"
    """How tied events are treated."""
    grid: TimeGrid | None = None
    """Of risk sets over all sites; ``None``: stratified by site, with risk sets within sites at the exact times."""
    strata: Levels | None = None
    """A variable to stratify by."""

    def variables(self) -> frozenset[str]:
        """Every variable that the model reads."""
        strata = frozenset() if self.strata is None else frozenset({self.strata.variable})
        return self.survival.variables() | self.design.variables() | strata


@dataclass(frozen=True)
class _Events:
    """Event times of all strata, and how many events are at each."""

    points: tuple[tuple[int, int], ...] = field(repr=False)
    counts: FloatArray = field(repr=False)


def solve_cox(model: CoxModel, *, patients: int, threshold: int, confidence: float) -> Solver[Findings]:
    """Fit a Cox model.

    Args:
        model: What is fitted.
        patients: In the sums.
        threshold: A level of fewer patients is refused.
        confidence: Of the intervals.

    Raises:
        InvalidInputError: If there is no event, a stratum is empty, or columns are collinear.
        StudyError: If there are no finite estimates.
    """
    names = model.design.names
    gram = (yield GramStep(design=model.design))["gram"]
    check_columns_are_safe(gram, model.design, patients=patients, threshold=threshold)
    events = yield from _event_times(model)
    coefficients = np.zeros(len(names))
    found = yield from _evaluate(model, events, coefficients)
    number = float(found["happened"])
    if number < 1:
        raise InvalidInputError("expected events, got none", remedy="select other patients or a later end")
    check_columns(found["information"], names)
    null = float(found["log_likelihood"])
    for steps in range(1, 1000):
        step = solve(found["information"], found["score"])
        check_divergence(step, names, steps=steps)
        if step is None:
            raise AssertionError  # check_divergence refuses it
        last, likelihood = coefficients, float(found["log_likelihood"])
        for halving in range(_HALVINGS):
            coefficients = last + step / 2**halving
            found = yield from _evaluate(model, events, coefficients)
            if float(found["log_likelihood"]) >= likelihood - 1e-9 * (1 + abs(likelihood)):
                break
        if float(np.abs(coefficients - last).max()) < _TOLERANCE * (1 + float(np.abs(coefficients).max())):
            break
    return _findings(model, found, coefficients, null=null, confidence=confidence)


def _event_times(model: CoxModel) -> Generator[Step, Sums, _Events]:
    if model.grid is None:
        return _Events(points=(), counts=np.zeros(0))
    sums = yield RiskTableStep(survival=model.survival, grid=model.grid, strata=model.strata)
    check_strata(sums["leaving"].sum(axis=(1, 2)))
    counts = sums["events"][:, 0]
    strata, places = np.nonzero(counts > 0)
    if not len(strata):
        raise InvalidInputError("expected events, got none", remedy="select other patients or a later end")
    points = tuple(zip(strata.tolist(), places.tolist(), strict=True))
    return _Events(points=points, counts=counts[strata, places])


def _evaluate(model: CoxModel, events: _Events, coefficients: FloatArray) -> Generator[Step, Sums, Sums]:
    """Log-likelihood, score, information and number of events at some coefficients."""
    at = tuple(coefficients.tolist())
    if model.grid is None:
        return (
            yield CoxLikelihoodStep(
                survival=model.survival, strata=model.strata, design=model.design, coefficients=at, ties=model.ties
            )
        )
    sums = yield CoxRiskStep(
        survival=model.survival,
        grid=model.grid,
        strata=model.strata,
        design=model.design,
        coefficients=at,
        points=events.points,
    )
    found = partial_likelihood(sums, events.counts, coefficients, ties=model.ties)
    return {**found, "happened": np.array(float(events.counts.sum()))}


def _findings(model: CoxModel, found: Sums, coefficients: FloatArray, *, null: float, confidence: float) -> Findings:
    back = model.design.unscaled()
    covariance = back @ inverse(found["information"]) @ back.T
    likelihood = float(found["log_likelihood"])
    ratio, degrees = 2 * (likelihood - null), len(coefficients)
    table = coefficient_table(
        model.design.names, back @ coefficients, covariance, confidence=confidence, title="Log hazard ratios"
    )
    test = Table(
        name="likelihood_ratio",
        title="Likelihood-ratio test of all coefficients",
        columns=("statistic", "degrees of freedom", "p"),
        rows=((ratio, degrees, chi_squared_p(ratio, degrees)),),
    )
    where = "risk sets within sites" if model.grid is None else "risk sets over all sites"
    return Findings(
        figures={
            "log-likelihood": likelihood,
            "log-likelihood without terms": null,
            "events": float(found["happened"]),
        },
        tables=(table, test),
        notes=(f"{where}; ties: {model.ties}",),
    )
