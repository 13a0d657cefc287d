"""Random-effects meta-analysis of a coefficient that each site estimates by itself, from sums over sites.

No site's estimate is shown. DerSimonian & Laird 1986: the variance between sites follows from the sums of ``w``, ``w y``, ``w
y^2`` and ``w^2``, w one over the squared standard error. REML (Viechtbauer 2005, Fisher scoring) takes such sums again at each
variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.errors import CohortiumError, InvalidInputError
from federation.statistics.glm import Fit, fit
from federation.statistics.glm_steps import RegressionModel
from federation.statistics.inference import chi_squared_p, coefficient_table
from federation.statistics.result import Findings
from federation.statistics.step import Columns, Shapes, Solver, Step, Sums

FloatArray = NDArray[np.float64]
Method = Literal["dersimonian_laird", "reml"]

_PARTS: Final = ("w", "wy", "wyy", "w2", "w2y", "w2yy", "w3")
_FEWEST_SITES: Final = 3
_MOST_STEPS: Final = 200
_TOLERANCE: Final = 1e-11


class SiteEstimateStep(Step):
    """Weighted powers of the sites' own estimates of one coefficient, relative to a centre and to a unit of weight.

    Estimates are those of the scaled column, so that the sums of all studies are of about the same size.
    """

    is_additive: ClassVar[bool] = False
    chosen: ClassVar[frozenset[str]] = frozenset({"between", "centre", "unit"})
    kind: Literal["site_estimate"] = "site_estimate"
    model: RegressionModel
    column: int
    between: float = 0.0
    """Variance between sites; weights are one over it plus the squared standard error."""
    centre: float = 0.0
    unit: Annotated[float, Field(gt=0)] = 1.0
    """Weights are divided by this."""

    def shapes(self) -> Shapes:
        """``parts``: sums of w, w y, w y^2, w^2, w^2 y, w^2 y^2, w^3; ``estimates``: sites that have one."""
        return {"parts": (len(_PARTS),), "estimates": ()}

    def variables(self) -> frozenset[str]:
        """Of the model."""
        return self.model.variables()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`. A site whose own fit has no finite estimate adds nothing."""
        found = own_estimate(self.model, self.column, columns)
        if found is None:
            return {"parts": np.zeros(len(_PARTS)), "estimates": np.zeros(())}
        y = found[0] - self.centre
        w = 1.0 / (found[1] + self.between) / self.unit
        return {
            "parts": np.array([w, w * y, w * y**2, w**2, w**2 * y, w**2 * y**2, w**3]),
            "estimates": np.ones(()),
        }


class SitePrecisionStep(Step):
    """The mean precision of the sites' own estimates, which becomes the unit of weight."""

    is_additive: ClassVar[bool] = False
    kind: Literal["site_precision"] = "site_precision"
    model: RegressionModel
    column: int

    def shapes(self) -> Shapes:
        """``precision``: the sum of one over the standard errors; ``estimates``: sites that have one."""
        return {"precision": (), "estimates": ()}

    def variables(self) -> frozenset[str]:
        """Of the model."""
        return self.model.variables()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        found = own_estimate(self.model, self.column, columns)
        if found is None:
            return {"precision": np.zeros(()), "estimates": np.zeros(())}
        return {"precision": np.array(found[1] ** -0.5), "estimates": np.ones(())}


def scale_of(model: RegressionModel, column: int) -> float:
    """What takes a coefficient of the plain column to one of the scaled column."""
    return model.design.columns[column].scale / (model.outcome_scale if model.family == "linear" else 1.0)


def own_estimate(model: RegressionModel, column: int, columns: Columns) -> tuple[float, float] | None:
    """A site's own coefficient of the scaled column and its variance; ``None`` if its records do not allow it."""
    found = own_fit(model, columns)
    if found is None:
        return None
    scale = scale_of(model, column)
    variance = float(found.covariance[column, column]) * scale**2
    return (float(found.coefficients[column]) * scale, variance) if variance > 0 else None


def own_fit(model: RegressionModel, columns: Columns) -> Fit | None:
    """The model fitted to the records of one site; ``None`` if they do not allow it."""
    try:
        solver = fit(model, patients=columns.records, threshold=1)
        step = next(solver)
        while True:
            step = solver.send(step.parts(step.answer(columns)))
    except StopIteration as end:
        return end.value
    except CohortiumError:
        return None


def meta_analysis(model: RegressionModel, column: int, *, method: Method, confidence: float) -> Solver[Findings]:
    """Combine the sites' estimates of one coefficient.

    Args:
        model: That each site fits.
        column: Place of the coefficient.
        method: Of the variance between sites.
        confidence: Of the interval.

    Raises:
        InvalidInputError: If fewer than three sites have an estimate.
    """
    first = yield SitePrecisionStep(model=model, column=column)
    sites = round(float(first["estimates"]))
    if sites < _FEWEST_SITES:
        raise InvalidInputError(
            f"expected at least {_FEWEST_SITES} sites with an estimate of their own, got {sites}",
            remedy="use fewer terms, or one model over all patients (analysis=glm)",
        )
    at = SiteEstimateStep(model=model, column=column, unit=(float(first["precision"]) / sites) ** 2)
    sums = yield at
    # A second sum about the first mean: the squares of a large estimate would cost digits.
    at = at.model_copy(update={"centre": float(sums["parts"][1] / sums["parts"][0])})
    sums = yield at
    heterogeneity, between = _dersimonian_laird(sums, sites, unit=at.unit)
    fixed = at.centre + float(sums["parts"][1] / sums["parts"][0])
    if method == "reml":
        between = yield from _reml(at, between)
    sums = yield at.model_copy(update={"between": between})
    total = float(sums["parts"][0])
    estimate = at.centre + float(sums["parts"][1]) / total
    scale = scale_of(model, column)
    table = coefficient_table(
        (model.design.names[column],),
        np.array([estimate / scale]),
        np.array([[1.0 / (total * at.unit) / scale**2]]),
        confidence=confidence,
        title="Mean of the sites' coefficients",
    )
    return Findings(
        figures={
            "sites with an estimate": float(sites),
            "variance between sites": between / scale**2,
            "heterogeneity Q": heterogeneity,
            "p of heterogeneity": chi_squared_p(heterogeneity, sites - 1),
            "I-squared": max(0.0, 1 - (sites - 1) / heterogeneity) if heterogeneity > 0 else 0.0,
            "estimate without variance between sites": fixed / scale,
        },
        tables=(table,),
    )


def _dersimonian_laird(sums: Sums, sites: int, *, unit: float) -> tuple[float, float]:
    """Cochran's Q and the moment estimate of the variance."""
    w, wy, wyy, w2 = sums["parts"][:4].tolist()
    heterogeneity = max(0.0, wyy - wy**2 / w) * unit
    return heterogeneity, max(0.0, (heterogeneity - (sites - 1)) / (w - w2 / w) / unit)


def _reml(at: SiteEstimateStep, between: float) -> Solver[float]:
    """Fisher scoring of the restricted likelihood, from DerSimonian and Laird's estimate on."""
    for _ in range(_MOST_STEPS):
        sums = yield at.model_copy(update={"between": between})
        w, wy, _, w2, w2y, w2yy, w3 = sums["parts"].tolist()
        mean = wy / w
        squares = w2yy - 2 * mean * w2y + mean**2 * w2
        trace = w2 - 2 * w3 / w + (w2 / w) ** 2
        # Squares and trace are in units of the squared weight, the other term in units of the weight.
        moved = max(0.0, between + (squares - (w - w2 / w) / at.unit) / trace)
        if abs(moved - between) <= _TOLERANCE * (between + moved):
            return moved
        between = moved
    return between
