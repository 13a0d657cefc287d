"""Generalised linear models with privacy: Fisher scoring with a fixed number of noisy steps.

Each release has the score and the information at the coefficients of before. Under noise the iterates do not settle: each is
about the estimate, with fresh noise of its own. The estimate is therefore the mean of the second half of them (Polyak & Juditsky
1992), and the information that of the same half. Standard errors add the variance of sampling and that of the noise, whose size
is public.

Axis names: p columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.families import HAS_DISPERSION
from federation.statistics.glm import penalty_of, plain_coefficients
from federation.statistics.glm_steps import CrossProductStep, RegressionModel, ScoreStep
from federation.statistics.inference import coefficient_table
from federation.statistics.private.noisy_solving import Floored, floored_inverse, limited, noise_of_product
from federation.statistics.private.sharing import NOISE, PrivateSolver, counted, longest_row, shared
from federation.statistics.private_step import Portion
from federation.statistics.result import Findings, Table
from federation.statistics.step import Sums

FloatArray = NDArray[np.float64]

_SCORE, _INFORMATION, _COUNT, _SPREAD = 0.85, 0.45, 0.2, 0.2
"""Weights: noise of the score ends in the estimate, that of the information mostly does not."""


@dataclass(frozen=True)
class PrivateRegression:
    """A model with its public bounds.

    Args:
        model: What is regressed on what.
        releases: Noisy sums in all.
        clipping: Factor of the bounds.
        largest_outcome: Public, in the outcome's own unit.
        largest_exposure: Public, of ``exp(offset)``.
        ridge: Penalty.
        confidence: Of the intervals.
    """

    model: RegressionModel
    releases: int
    clipping: float
    largest_outcome: float
    largest_exposure: float = 1.0
    ridge: float = 0.0
    confidence: float = 0.95

    @property
    def starts(self) -> int:
        """Releases before the first step: where the link is the logarithm, one for the mean outcome."""
        return 1 if self.model.family in {"poisson", "gamma"} and self.model.design.intercept is not None else 0

    def check(self) -> None:
        """Check that there are steps.

        Raises:
            InvalidInputError: If all releases are spent before the first.
        """
        if self.releases <= self.starts:
            raise InvalidInputError(
                f"expected more than {self.starts} releases of a {self.model.family} model, got {self.releases}",
                remedy="raise privacy.iterations",
            )

    def start(self) -> tuple[Portion, ...]:
        """The release of the mean outcome."""
        parts = {"outcome": (self._largest, 1.0), "exposure": (self.largest_exposure, 1.0)}
        return shared([(CrossProductStep(model=self.model), parts)], clipping=self.clipping)

    def portions(self, coefficients: FloatArray) -> tuple[Portion, ...]:
        """The release at some coefficients of the scaled columns."""
        row, residual, weight = longest_row(self.model.design), self._residual, self._weight
        parts = {"score": (row * residual, _SCORE), "information": (row**2 * weight, _INFORMATION)}
        if self.model.family == "linear":
            parts["deviance"] = (residual**2, _SPREAD)
        if self.model.family == "gamma":
            parts["pearson"] = (residual**2, _SPREAD)
        step = ScoreStep(model=self.model, coefficients=tuple(coefficients.tolist()))
        return shared([(step, parts), counted(_COUNT)], clipping=self.clipping)

    def examples(self) -> tuple[tuple[Portion, ...], ...]:
        """Portions of every release, at some coefficients."""
        steps = (self.portions(np.zeros(0)),) * (self.releases - self.starts)
        return (*((self.start(),) * self.starts), *steps)

    @property
    def _largest(self) -> float:
        return max(self.largest_outcome / self.model.outcome_scale, 1e-9)

    @property
    def _residual(self) -> float:
        """How far an outcome is taken to be from its mean, in the score's unit."""
        match self.model.family:
            case "linear" | "logistic":
                return 1.0
            case "poisson":
                return math.sqrt(max(self._largest, 1.0))
            case "gamma":
                return 2.0

    @property
    def _weight(self) -> float:
        match self.model.family:
            case "linear" | "gamma":
                return 1.0
            case "logistic":
                return 0.25
            case "poisson":
                return math.sqrt(max(self._largest, 1.0))


@dataclass(frozen=True)
class _Iterates:
    """The steps, of which the second half is averaged."""

    kept: int
    points: list[FloatArray] = field(default_factory=list[FloatArray])
    informations: list[FloatArray] = field(default_factory=list[FloatArray])
    noises: list[FloatArray] = field(default_factory=list[FloatArray])
    spreads: list[float] = field(default_factory=list[float])

    def inverse(self, penalty: FloatArray, deviation: float) -> Floored:
        """Of the mean of the latest informations."""
        latest = self.informations[-self.kept :]
        mean = np.mean(latest, axis=0) + np.diag(penalty)
        return floored_inverse(mean, deviation=deviation / math.sqrt(len(latest)))


def private_glm(asked: PrivateRegression) -> PrivateSolver:
    """Fit a model from noisy sums.

    Args:
        asked: Model and bounds.

    Raises:
        InvalidInputError: If there are too few releases.
    """
    asked.check()
    model, width = asked.model, len(asked.model.design.columns)
    penalty = penalty_of(model, asked.ridge)
    coefficients = np.zeros(width)
    if asked.starts:
        coefficients[model.design.intercept or 0] = _first_intercept((yield asked.start()))
    steps = asked.releases - asked.starts
    iterates = _Iterates(kept=(steps + 1) // 2)
    patients = 0.0
    found = Floored(inverse=np.eye(width), hidden=0)
    for _ in range(steps):
        portions = asked.portions(coefficients)
        sums = yield portions
        scales, noise = portions[0].scales, float(sums[NOISE])
        iterates.informations.append(sums["0.information"])
        found = iterates.inverse(penalty, noise * scales["information"])
        moved = found.inverse @ (sums["0.score"] - penalty * coefficients)
        if model.family != "linear":
            moved = limited(moved)
        in_score = (noise * scales["score"]) ** 2 * np.eye(width)
        iterates.noises.append(in_score + noise_of_product(noise * scales["information"], moved))
        coefficients = coefficients + moved
        iterates.points.append(coefficients)
        patients += float(sums["1.patients"]) / steps
        iterates.spreads.append(_spread(model, sums, moved, least=noise * scales.get("deviance", 0.0)))
    return _findings(asked, iterates, found, patients=patients)


def _first_intercept(sums: Sums) -> float:
    """The logarithm of a noisy mean; 0 where the noise makes it negative."""
    outcome, exposure = float(sums["0.outcome"]), float(sums["0.exposure"])
    return math.log(outcome / exposure) if outcome > 0 and exposure > 0 else 0.0


def _spread(model: RegressionModel, sums: Sums, moved: FloatArray, *, least: float) -> float:
    """The sum of squared residuals: of a linear model after the step, of a gamma model Pearson's."""
    match model.family:
        case "linear":
            quadratic = float(moved @ sums["0.information"] @ moved)
            rest = float(sums["0.deviance"]) - 2 * float(moved @ sums["0.score"]) + quadratic
            return max(rest, least)
        case "gamma":
            return max(float(sums["0.pearson"]), 0.0)
        case _:
            return 0.0


def _findings(asked: PrivateRegression, iterates: _Iterates, found: Floored, *, patients: float) -> Findings:
    model, kept = asked.model, iterates.kept
    width = len(model.design.columns)
    degrees = max(patients - width, 1.0)
    has_dispersion = model.family in HAS_DISPERSION
    dispersion = float(np.mean(iterates.spreads[-kept:])) / degrees if has_dispersion else 1.0
    sampling = found.inverse * dispersion
    noise = found.inverse @ (np.sum(iterates.noises[-kept:], axis=0) / kept**2) @ found.inverse
    unit = model.outcome_scale if model.family == "linear" else 1.0
    back = model.design.unscaled() * unit
    estimates = plain_coefficients(model, np.mean(iterates.points[-kept:], axis=0))
    parts = {name: back @ matrix @ back.T for name, matrix in (("sampling", sampling), ("noise", noise))}
    table = coefficient_table(
        model.design.names,
        estimates,
        None if asked.ridge else parts["sampling"] + parts["noise"],
        confidence=asked.confidence,
        degrees=degrees if has_dispersion else None,
    )
    rows = tuple(
        (name, *(float(np.sqrt(max(parts[part][place, place], 0.0))) for part in ("sampling", "noise")))
        for place, name in enumerate(model.design.names)
    )
    errors = Table(
        name="standard_errors",
        title="Standard errors by cause",
        columns=("term", "sampling", "noise"),
        rows=rows,
    )
    notes = [
        f"the mean of the last {kept} of {asked.releases - asked.starts} noisy steps; standard errors include the noise",
    ]
    if found.hidden:
        notes.append(
            f"{found.hidden} of {width} directions of the information are hidden by the noise: estimates lean to 0 and standard "
            "errors are too small there; use fewer terms or a larger epsilon"
        )
    if asked.ridge:
        notes.append("penalised estimates have no standard errors here")
    figures: dict[str, float | None] = {"patients": patients, "dispersion": dispersion}
    return Findings(figures=figures, tables=(table, errors), notes=tuple(notes))
