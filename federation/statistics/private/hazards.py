"""Cox regression with privacy: a first release of events and numbers at risk, then noisy Newton steps of hazards and coefficients.

Event times at which the noise hides the events are left out, as if their events had not been watched for: the estimate stays one of
the same coefficients, from fewer events. Ties are Breslow's.

Axis names: M event times, p columns.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError, StudyError
from federation.statistics.cox import CoxModel
from federation.statistics.hazard_steps import HazardStep
from federation.statistics.inference import coefficient_table
from federation.statistics.private.curves import NoisyTable, risk_table_release
from federation.statistics.private.noisy_solving import floored_inverse, limited
from federation.statistics.private.sharing import NOISE, PrivateSolver, longest_row, shared
from federation.statistics.private_step import Portion
from federation.statistics.result import Findings, Table
from federation.statistics.step import Sums
from federation.statistics.survival_steps import RiskTableStep, TimeGrid

FloatArray = NDArray[np.float64]
Points = tuple[tuple[int, int], ...]

_SEEN: Final = 2.0
"""Event times with fewer events than this many standard deviations of their noise are left out."""
_LEAST_EVENTS: Final = 0.5
_MOST_EXPECTED: Final = 2.25
"""Events that a patient expects while watched. Patients beyond are few, and count for less."""
_MOST_MOVE: Final = 2.0
_WEIGHTS: Final = {"score": 0.8, "information": 0.4, "hazard_score": 0.4, "expected": 0.15, "mixed": 0.25}


@dataclass(frozen=True)
class PrivateCox:
    """A Cox model with its public bounds.

    Args:
        model: With a grid and Breslow's ties.
        grid: Of the model.
        releases: Noisy sums in all, the first one of events.
        clipping: Factor of the bounds.
        confidence: Of the intervals.
    """

    model: CoxModel
    grid: TimeGrid
    releases: int
    clipping: float
    confidence: float

    def start(self) -> tuple[Portion, ...]:
        """The release of events and numbers at risk."""
        step = RiskTableStep(survival=self.model.survival, grid=self.grid, strata=self.model.strata)
        return risk_table_release(step, clipping=self.clipping)

    def portions(self, coefficients: FloatArray, hazards: FloatArray, points: Points) -> tuple[Portion, ...]:
        """The release at some coefficients and hazards."""
        model, row = self.model, longest_row(self.model.design)
        bounds = {
            "score": _MOST_EXPECTED * row,
            "information": _MOST_EXPECTED * row**2,
            "hazard_score": 1.75,
            "expected": 1.1,
            "mixed": 1.1 * row,
        }
        step = HazardStep(
            survival=model.survival,
            grid=self.grid,
            strata=model.strata,
            design=model.design,
            coefficients=tuple(coefficients.tolist()),
            hazards=tuple(hazards.tolist()),
            points=points,
        )
        parts = {name: (bound, _WEIGHTS[name]) for name, bound in bounds.items()}
        return shared([(step, parts)], clipping=self.clipping)

    def examples(self) -> tuple[tuple[Portion, ...], ...]:
        """Portions of every release, at some coefficients.

        Raises:
            InvalidInputError: If all releases are spent before the first step.
        """
        if self.releases < 2:  # noqa: PLR2004
            raise InvalidInputError(
                f"expected at least 2 releases of a Cox model, got {self.releases}", remedy="raise privacy.iterations"
            )
        step = self.portions(np.zeros(0), np.zeros(0), ((0, 0),))
        return (self.start(), *((step,) * (self.releases - 1)))


@dataclass(frozen=True)
class _Step:
    """One Newton step.

    Args:
        coefficients: ``[p]`` how far they move.
        hazards: ``[M]``.
        inverse: ``[p, p]`` of the information of the coefficients.
        noise: ``[p, p]`` covariance of the step by the noise of the scores.
        hidden: Directions below the noise.
    """

    coefficients: FloatArray
    hazards: FloatArray
    inverse: FloatArray
    noise: FloatArray
    hidden: int


def private_cox(asked: PrivateCox) -> PrivateSolver:
    """Fit a Cox model from noisy sums.

    Args:
        asked: Model and bounds.

    Raises:
        StudyError: If the noise hides all events.
    """
    portions = asked.start()
    table = NoisyTable.of((yield portions), portions)
    points, hazards = _start(table)
    width, steps = len(asked.model.design.columns), asked.releases - 1
    coefficients = np.zeros(width)
    kept = (steps + 1) // 2
    after: deque[FloatArray] = deque(maxlen=kept)
    taken: deque[_Step] = deque(maxlen=kept)
    for _ in range(steps):
        portions = asked.portions(coefficients, hazards, points)
        sums = yield portions
        step = _step(sums, portions[0].scales, averaged=len(taken) + 1)
        taken.append(step)
        coefficients, hazards = coefficients + step.coefficients, hazards + step.hazards
        after.append(coefficients)
    return _findings(asked, table, points, after=after, taken=taken)


def _start(table: NoisyTable) -> tuple[Points, FloatArray]:
    """Event times that the noise does not hide, and the logarithm of the hazard at each."""
    events, risk = table.events[:, 0], table.risk[:, 0]
    is_seen = (events > max(_SEEN * table.of_events, _LEAST_EVENTS)) & (risk > np.maximum(_SEEN * table.of_risk, 1.0))
    strata, places = np.nonzero(is_seen)
    if not len(strata):
        raise StudyError(
            "expected events that the noise does not hide, got none",
            remedy="use a coarser grid or a larger epsilon, or select more patients",
        )
    hazards = np.log(np.clip(events[is_seen] / risk[is_seen], 1e-6, 1.0))
    return tuple(zip(strata.tolist(), places.tolist(), strict=True)), hazards


def _step(sums: Sums, scales: dict[str, float], *, averaged: int) -> _Step:
    """Coefficients after the hazards are taken out: the Schur complement, less what the noise adds to it in the mean."""
    noise = {name: float(sums[NOISE]) * scale for name, scale in scales.items()}
    expected = np.maximum(sums["0.expected"], max(2 * noise["expected"], _LEAST_EVENTS))
    mixed = sums["0.mixed"]
    by_hazard = mixed / expected[:, None]
    extra = noise["mixed"] ** 2 * float((1.0 / expected).sum())
    information = sums["0.information"] - mixed.T @ by_hazard + extra * np.eye(mixed.shape[1])
    found = floored_inverse(information, deviation=noise["information"] / math.sqrt(averaged))
    moved = limited(found.inverse @ (sums["0.score"] - by_hazard.T @ sums["0.hazard_score"]))
    hazards = (sums["0.hazard_score"] - mixed @ moved) / expected
    of_score = noise["score"] ** 2 * np.eye(len(moved)) + noise["hazard_score"] ** 2 * by_hazard.T @ by_hazard
    return _Step(
        coefficients=moved,
        hazards=np.clip(hazards, -_MOST_MOVE, _MOST_MOVE),
        inverse=found.inverse,
        noise=found.inverse @ of_score @ found.inverse,
        hidden=found.hidden,
    )


def _findings(
    asked: PrivateCox, table: NoisyTable, points: Points, *, after: deque[FloatArray], taken: deque[_Step]
) -> Findings:
    back, kept = asked.model.design.unscaled(), len(taken)
    sampling = back @ np.mean([step.inverse for step in taken], axis=0) @ back.T
    noise = back @ (np.sum([step.noise for step in taken], axis=0) / kept**2) @ back.T
    names = asked.model.design.names
    coefficients = coefficient_table(
        names,
        back @ np.mean(after, axis=0),
        sampling + noise,
        confidence=asked.confidence,
        title="Log hazard ratios",
    )
    rows = tuple(
        (name, float(np.sqrt(sampling[place, place])), float(np.sqrt(noise[place, place])))
        for place, name in enumerate(names)
    )
    errors = Table(
        name="standard_errors", title="Standard errors by cause", columns=("term", "sampling", "noise"), rows=rows
    )
    how = (
        f"risk sets over all sites; ties: breslow; the mean of the last {kept} of {asked.releases - 1} noisy steps; standard "
        "errors include the noise"
    )
    notes = [how, f"events at {len(points)} points of the grid are used; at the others the noise hides them"]
    if taken[-1].hidden:
        notes.append(
            f"{taken[-1].hidden} of {len(names)} directions of the information are hidden by the noise: estimates lean to 0 and "
            "standard errors are too small there"
        )
    used = sum(float(table.events[stratum, 0, place]) for stratum, place in points)
    return Findings(
        figures={"patients": float(table.patients.sum()), "events": used},
        tables=(coefficients, errors),
        notes=tuple(notes),
    )
