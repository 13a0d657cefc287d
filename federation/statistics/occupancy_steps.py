"""What sites sum about occupied beds: of every forecast three cumulants, and how many beds were occupied in the end.

A patient who is in a bed at the origin stays with the chance S(age + h) / S(age), one who arrives later with S(age); the number of
occupied beds is then Poisson-binomial (Wang 1993, Stat Sinica 3:295), arrivals that nobody knows of yet add a Poisson variable. The
cumulants of independent numbers add up, so those of all sites are the sum of the sites' own, and no patient's chance leaves a site.

Axis names: R patients, F forecasts, G groups, O origins, H horizons, K knots of a survival curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.errors import ImplausibleValueError
from federation.identifiers import VariableName
from federation.statistics.step import Columns, Shapes, Step

FloatArray = NDArray[np.float64]

ADMITTED: Final = "admitted"
STAY: Final = "stay"
CUMULANTS: Final = 3
_PER_DAY: Final = 24
"""Points of the integral over arrivals."""


class OccupancyStep(Step):
    """Cumulants of occupied beds at a moment each day, forecast some days before, and the beds that were occupied."""

    kind: Literal["occupancy"] = "occupancy"
    forecasts: Annotated[tuple[VariableName, ...], Field(min_length=1, max_length=8)]
    """Prefixes of the columns with survival curves."""
    knots: Annotated[tuple[float, ...], Field(min_length=1, max_length=200)]
    """Days after admission at which the curves are known, increasing; 1 at 0, 0 beyond the last, straight between."""
    origins: Annotated[tuple[int, ...], Field(min_length=1, max_length=1000)]
    """Days, at whose beginning a forecast is made."""
    horizons: Annotated[int, Field(ge=1, le=60)]
    """Days ahead: 1 to this."""
    arrivals: Literal["known", "expected"]
    """Patients who will arrive are known (planned admissions), or expected at the rate of ``history``."""
    history: Annotated[int, Field(ge=1, le=365)] = 28
    """Days before the origin whose admissions say how many arrive, and how long such patients stay."""
    group: VariableName | None = None
    groups: Annotated[int, Field(ge=1, le=1000)] = 1
    admitted: VariableName = ADMITTED
    """Column with the time of admission, in days."""
    stay: VariableName = STAY

    def shapes(self) -> Shapes:
        """``cumulants`` ``[F, G, O, H, 3]`` and ``observed`` ``[G, O, H]``."""
        days = (self.groups, len(self.origins), self.horizons)
        return {"cumulants": (len(self.forecasts), *days, CUMULANTS), "observed": days}

    def variables(self) -> frozenset[str]:
        """Times, curves and group."""
        curves = {knot_name(name, place) for name in self.forecasts for place in range(len(self.knots))}
        return frozenset({self.admitted, self.stay} | curves | ({self.group} if self.group else set()))

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`.

        Raises:
            ImplausibleValueError: If a stay is negative or a time is missing.
        """
        admitted, stay = columns.values[self.admitted], columns.values[self.stay]
        bad = int(np.count_nonzero(~(np.isfinite(admitted) & (stay >= 0))))
        if bad:
            raise ImplausibleValueError(
                f"expected an admission and a discharge at or after it, got {bad} patients without",
                remedy="exclude stays of negative or unknown length, and count them",
            )
        found = {name: np.zeros(shape) for name, shape in self.shapes().items()}
        codes = np.zeros(columns.records, dtype=np.int64)
        if self.group is not None:
            codes = columns.values[self.group].astype(np.int64)
        for group in np.unique(codes).tolist():
            own = codes == group
            curves = [self._curves(columns, name)[own] for name in self.forecasts]
            for place, origin in enumerate(self.origins):
                observed = self._observed(admitted[own], stay[own], origin)
                found["observed"][group, place] = observed
                for index, curve in enumerate(curves):
                    found["cumulants"][index, group, place] = self._cumulants(admitted[own], stay[own], curve, origin)
        return found

    def _curves(self, columns: Columns, name: str) -> FloatArray:
        """``[R, 1 + K]``: the curve at 0 and at the knots."""
        known = [columns.values[knot_name(name, place)] for place in range(len(self.knots))]
        return np.stack([np.ones(columns.records), *known], axis=1)

    def _observed(self, admitted: FloatArray, stay: FloatArray, origin: int) -> FloatArray:
        times = origin + np.arange(1, self.horizons + 1)
        there = (admitted[:, None] <= times) & (times < (admitted + stay)[:, None])
        return there.sum(axis=0).astype(np.float64)

    def _cumulants(self, admitted: FloatArray, stay: FloatArray, curve: FloatArray, origin: int) -> FloatArray:
        """``[H, 3]``."""
        ahead = np.arange(1, self.horizons + 1, dtype=np.float64)
        present = (admitted <= origin) & (origin < admitted + stay)
        age = origin - admitted[present]
        now = np.maximum(self._at(curve[present], age[:, None]), np.finfo(float).tiny)
        chances = [np.clip(self._at(curve[present], age[:, None] + ahead) / now, 0.0, 1.0)]
        if self.arrivals == "known":
            later = (admitted > origin) & (admitted <= origin + self.horizons)
            ages = origin + ahead - admitted[later][:, None]
            chances.append(np.where(ages >= 0, self._at(curve[later], np.maximum(ages, 0.0)), 0.0))
            return poisson_binomial_cumulants(np.concatenate(chances))
        recent = (admitted > origin - self.history) & (admitted <= origin)
        mean = self._expected_arrivals(curve[recent])
        return poisson_binomial_cumulants(np.concatenate(chances)) + mean[:, None]

    def _expected_arrivals(self, curve: FloatArray) -> FloatArray:
        """``[H]``: mean beds of patients who arrive after the origin, which is every cumulant of a Poisson variable."""
        if not len(curve):
            return np.zeros(self.horizons)
        middles = (np.arange(self.horizons * _PER_DAY) + 0.5) / _PER_DAY
        share = self._at(curve.mean(axis=0, keepdims=True), middles[None, :])[0]
        rate = len(curve) / self.history
        return rate * np.cumsum(share.reshape(self.horizons, _PER_DAY).mean(axis=1))

    def _at(self, curve: FloatArray, ages: FloatArray) -> FloatArray:
        """``[R, T]``: curves ``[R, 1 + K]`` at ages ``[R, T]``."""
        knots = np.array([0.0, *self.knots])
        place = np.clip(np.searchsorted(knots, ages, side="right") - 1, 0, len(knots) - 2)
        part = (ages - knots[place]) / (knots[place + 1] - knots[place])
        left = np.take_along_axis(curve, place, axis=1)
        right = np.take_along_axis(curve, place + 1, axis=1)
        return np.where(ages > knots[-1], 0.0, left + (right - left) * np.clip(part, 0.0, 1.0))


def knot_name(forecast: str, place: int) -> str:
    """Column with a curve's value at one knot.

    >>> knot_name("model", 3)
    'model-003'
    """
    return f"{forecast}-{place:03d}"


def poisson_binomial_cumulants(chances: FloatArray) -> FloatArray:
    """``[T, 3]``: first three cumulants of the number of successes.

    Args:
        chances: ``[R, T]`` of independent trials.
    """
    spread = chances * (1 - chances)
    return np.stack([chances.sum(axis=0), spread.sum(axis=0), (spread * (1 - 2 * chances)).sum(axis=0)], axis=-1)
