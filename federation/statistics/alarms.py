"""How a model would have raised alarms: rate, sensitivity and lead times at every threshold, from sums over patients.

A score is looked at whenever a window ends. An alarm is raised where it reaches the threshold, unless the patient had an alarm less
than the silence before. Every part is a count, so sites' answers add up, and nothing is said about one patient.

Axis names: R windows, K thresholds, L bins of lead time.

>>> step = AlarmStep(kind="alarms", thresholds=4, horizon_hours=8, silence_hours=2, step_hours=1, lead_bins=4)
>>> step.cuts.round(4).tolist()
[0.0, 0.0009, 0.5, 0.9991]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field
from scipy.special import expit

from federation.errors import InvalidInputError
from federation.statistics.step import Columns, FloatArray, Shapes, Step, Sums

_WINDOWS, _PATIENTS, _ONSETS = range(3)
_HOURS_OF_DAY: Final = 24.0
_WIDEST: Final = 7.0
"""Log odds of the lowest threshold but 0, and of the highest."""


class AlarmStep(Step):
    """Counts of alarms at public thresholds, over the windows of every patient.

    Columns: ``patient`` (number), ``end_hour`` (of the window), ``score`` in [0, 1], ``onset_hour`` (infinite: no event).
    """

    kind: Literal["alarms"]
    thresholds: Annotated[int, Field(ge=2, le=1000)] = 100
    """K: 0, and then evenly spaced in log odds, because the scores of rare events crowd near 0."""
    horizon_hours: Annotated[float, Field(gt=0)]
    """An alarm so long before the onset, or later, is right."""
    silence_hours: Annotated[float, Field(ge=0)] = 4.0
    """After an alarm."""
    step_hours: Annotated[float, Field(gt=0)]
    """Time between two windows: what each stands for in patient-days."""
    lead_bins: Annotated[int, Field(ge=1, le=500)] = 16
    """L; even bins from 0 to the horizon."""

    @property
    def cuts(self) -> FloatArray:
        """``[K]`` thresholds."""
        return np.concatenate([[0.0], expit(np.linspace(-_WIDEST, _WIDEST, self.thresholds - 1))])

    def shapes(self) -> Shapes:
        """See :meth:`Step.shapes`."""
        count = self.thresholds
        return {
            "totals": (3,),
            "alarms": (count,),
            "false_alarms": (count,),
            "detected": (count,),
            "lead": (count, self.lead_bins),
        }

    def variables(self) -> frozenset[str]:
        """See :meth:`Step.variables`."""
        return frozenset({"patient", "end_hour", "score", "onset_hour"})

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`Step.summarise`.

        Raises:
            InvalidInputError: If a score is no number from 0 to 1.
        """
        values = columns.values
        score = values["score"]
        if not np.all((score >= 0) & (score <= 1)):
            raise InvalidInputError("expected scores from 0 to 1, got others", remedy="lower the learning rate")
        parts = {name: np.zeros(shape) for name, shape in self.shapes().items()}
        order = np.lexsort((values["end_hour"], values["patient"]))
        bounds = np.flatnonzero(np.diff(values["patient"][order])) + 1
        for rows in np.split(order, bounds):
            if len(rows):
                self._add_patient(parts, values["end_hour"][rows], score[rows], float(values["onset_hour"][rows[0]]))
        return parts

    def _add_patient(self, parts: dict[str, FloatArray], hours: FloatArray, score: FloatArray, onset: float) -> None:
        """One patient's windows, in the order of time, at all thresholds at once."""
        last = np.full(self.thresholds, -math.inf)
        first_right = np.full(self.thresholds, math.nan)
        has_chance = False
        for hour, said in zip(hours.tolist(), score.tolist(), strict=True):
            raised = (said >= self.cuts) & (hour - last >= self.silence_hours)
            last[raised] = hour
            is_right = 0 <= onset - hour <= self.horizon_hours
            has_chance |= is_right
            parts["alarms"] += raised
            if is_right:
                first_right[raised & np.isnan(first_right)] = onset - hour
            else:
                parts["false_alarms"] += raised
        found = np.flatnonzero(~np.isnan(first_right))
        parts["detected"][found] += 1
        bins = np.minimum(
            (first_right[found] / self.horizon_hours * self.lead_bins).astype(np.int64), self.lead_bins - 1
        )
        parts["lead"][found, bins] += 1
        parts["totals"] += [len(hours), 1, has_chance]


@dataclass(frozen=True)
class AlarmCurve:
    """What the summed counts say at every threshold.

    Args:
        thresholds: ``[K]``.
        alarms_per_day: ``[K]`` alarms a patient-day.
        false_alarms_per_day: ``[K]`` of them those outside the horizon.
        sensitivity: ``[K]`` share of the onsets with an alarm within the horizon before them.
        lead: ``[K, L]`` number of detected onsets by the time from first right alarm to onset.
        patients: In the sum.
        patient_days: Watched.
        onsets: With a window within the horizon.
        horizon_hours: Largest lead time.
    """

    thresholds: FloatArray = field(repr=False)
    alarms_per_day: FloatArray = field(repr=False)
    false_alarms_per_day: FloatArray = field(repr=False)
    sensitivity: FloatArray = field(repr=False)
    lead: FloatArray = field(repr=False)
    patients: int
    patient_days: float
    onsets: int
    horizon_hours: float

    def at_rate(self, alarms_per_day: float) -> int | None:
        """Place of the lowest threshold with at most so many alarms a patient-day; ``None``: all have more.

        Rates need not fall with every threshold, because an alarm silences the next: no higher threshold may have more either.
        """
        fits = np.maximum.accumulate(self.alarms_per_day[::-1])[::-1] <= alarms_per_day
        places = np.flatnonzero(fits)
        return int(places[0]) if len(places) else None

    def lead_quantile(self, place: int, share: float) -> float:
        """Lead time in hours that a share of the detected onsets stays below, interpolated within bins; NaN without any."""
        counts = self.lead[place]
        if not counts.sum():
            return math.nan
        edges = np.linspace(0, self.horizon_hours, len(counts) + 1)
        return float(np.interp(share * counts.sum(), np.concatenate([[0.0], np.cumsum(counts)]), edges))


def alarm_curve(step: AlarmStep, sums: Sums, *, fewest_onsets: int) -> AlarmCurve:
    """Rates and sensitivities from summed counts.

    Args:
        step: What was asked.
        sums: Parts of the sum.
        fewest_onsets: Disclosure threshold: figures about fewer patients with an onset are not given.

    Raises:
        InvalidInputError: If there are fewer, or nobody was watched.
    """
    totals = sums["totals"]
    onsets = round(float(totals[_ONSETS]))
    days = float(totals[_WINDOWS]) * step.step_hours / _HOURS_OF_DAY
    if onsets < max(1, fewest_onsets) or days <= 0:
        raise InvalidInputError(
            f"expected at least {max(1, fewest_onsets)} patients with an onset over all sites, got fewer",
            remedy="evaluate on more patients",
        )
    return AlarmCurve(
        thresholds=step.cuts,
        alarms_per_day=sums["alarms"] / days,
        false_alarms_per_day=sums["false_alarms"] / days,
        sensitivity=sums["detected"] / onsets,
        lead=sums["lead"],
        patients=round(float(totals[_PATIENTS])),
        patient_days=days,
        onsets=onsets,
        horizon_hours=step.horizon_hours,
    )
