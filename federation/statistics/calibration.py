"""How well predicted risks agree with what happened, score beside score on the same patients, over all and by group.

AUROC from histograms (Mann & Whitney 1947, ties count one half), Brier score, observed over expected with Byar's interval
(Breslow & Day 1987, vol. II, eq. 2.13), calibration in the large and slope (Cox 1958; Van Calster et al. 2016, J Clin Epidemiol
74:167), and the reliability curve in groups of about equal size. Numbers about fewer outcomes than the threshold are not shown.

Axis names: S scores, G groups, B bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.disclosure import suppress_counts
from federation.statistics.equal_parts import equal_parts
from federation.statistics.inference import normal_width
from federation.statistics.prediction_steps import RecalibrationStep, RiskHistogramStep, Scores
from federation.statistics.result import Cell, Findings, Table, shown
from federation.statistics.step import Solver, Sums

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

EVERYBODY: Final = "all"
PERFORMANCE: Final = (
    "score", "group", "records", "observed", "expected", "observed/expected", "lower", "upper",
    "AUROC", "Brier", "in the large", "in the large se", "slope", "slope se",
)  # fmt: skip
RELIABILITY: Final = ("score", "group", "records", "predicted", "observed", "lower", "upper")
_MOST_STEPS: Final = 50
_ENOUGH: Final = 1e-12
_LARGEST_STEP: Final = 4.0


@dataclass(frozen=True)
class Question:
    """What is judged.

    Args:
        scores: Names of the variables, outcome and grouping.
        titles: Of the scores, as the tables have them.
        labels: Of the groups; the last line of every table is over all of them.
        threshold: Smallest number of patients with, and without, the outcome that a line may tell about.
        bins: Of the histograms.
        parts: Points of the reliability curve at most.
        confidence: Of the intervals.
    """

    scores: Scores
    titles: tuple[str, ...]
    labels: tuple[str, ...]
    threshold: int
    bins: int = 1000
    parts: int = 10
    confidence: float = 0.95


@dataclass(frozen=True)
class Recalibrated:
    """Estimates of the two regressions, NaN where there is none.

    Args:
        line: ``[S, G, 2]`` intercept and slope.
        line_error: ``[S, G]`` standard error of the slope.
        shift: ``[S, G]`` calibration in the large.
        shift_error: ``[S, G]`` its standard error.
    """

    line: FloatArray = field(repr=False)
    line_error: FloatArray = field(repr=False)
    shift: FloatArray = field(repr=False)
    shift_error: FloatArray = field(repr=False)


def calibrate(question: Question) -> Solver[Findings]:
    """Judge the scores.

    Raises:
        InvalidInputError: If nobody has both outcome and scores.
    """
    sums = yield RiskHistogramStep(scores=question.scores, bins=question.bins)
    if not (sums["negative"].sum() or sums["positive"].sum()):
        raise InvalidInputError(
            "expected patients with outcome and predictions, got none", remedy="check the predictions"
        )
    fitted = yield from recalibrate(question.scores, sums)
    everybody = question.scores.model_copy(update={"group": None, "groups": 1})
    overall = fitted if question.scores.group is None else (yield from recalibrate(everybody, _together(sums)))
    hidden = hidden_groups(sums, question.threshold)
    rows: list[tuple[Cell, ...]] = []
    points: list[tuple[Cell, ...]] = []
    for place, title in enumerate(question.titles):
        lines = [] if question.scores.group is None else list(enumerate(question.labels))
        for group, label in lines:
            own = {name: value[place, group] for name, value in sums.items() if name != "left_out"}
            rows.append(
                _line(
                    (title, label),
                    own,
                    fitted,
                    (place, group),
                    confidence=question.confidence,
                    is_hidden=bool(hidden[group]),
                )
            )
            if not hidden[group]:
                points += reliability(title, label, own, question)
        total = {name: value[place].sum(axis=0) for name, value in sums.items() if name != "left_out"}
        rows.append(
            _line((title, EVERYBODY), total, overall, (place, 0), confidence=question.confidence, is_hidden=False)
        )
        points += reliability(title, EVERYBODY, total, question)
    return Findings(
        figures={"patients without a prediction": float(sums["left_out"].sum())},
        tables=(
            Table(name="performance", title="Predicted and observed", columns=PERFORMANCE, rows=tuple(rows)),
            Table(name="reliability", title="Reliability curve", columns=RELIABILITY, rows=tuple(points)),
        ),
        notes=("Scores are compared on the patients who have all of them.",),
    )


def hidden_groups(sums: Sums, threshold: int) -> Mask:
    """``[G]``: groups with too few patients with, or without, the outcome, and one more where its number would follow."""
    positive, negative = (sums[name][0].sum(axis=-1) for name in ("positive", "negative"))
    return suppress_counts(positive, threshold) | suppress_counts(negative, threshold)


def recalibrate(scores: Scores, sums: Sums) -> Solver[Recalibrated]:
    """Newton's method for all scores and groups at once; one secure sum a step.

    Args:
        scores: Of the question.
        sums: Of :class:`RiskHistogramStep` in the same groups: a group without both outcomes has no estimates.
    """
    size = (len(scores.scores), scores.groups)
    both = (sums["positive"].sum(axis=-1) > 0) & (sums["negative"].sum(axis=-1) > 0)
    # From a flat line: where risks are extreme, Newton's method from a slope of 1 may step too far.
    line, shift = np.zeros((*size, 2)), np.zeros(size)
    moving, found = both.copy(), None
    for _ in range(_MOST_STEPS):
        found = yield _equations(scores, line, shift)
        line_step, shift_step, solvable = _newton(found, both)
        moving &= solvable
        moved = np.maximum(np.abs(line_step).max(axis=-1), np.abs(shift_step)) * moving
        if not (moved > _ENOUGH).any():
            break
        line += np.where(moving[..., None], line_step, 0.0)
        shift += np.where(moving, shift_step, 0.0)
    if found is None:
        raise InvalidInputError("expected a group with both outcomes, got none", remedy="widen the selection")
    settled = both & moving & (np.abs(_newton(found, both)[0]).max(axis=-1) <= math.sqrt(_ENOUGH))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_variance = found["line_information"][..., 0, 0] / np.linalg.det(found["line_information"])
        shift_error = np.sqrt(1 / found["shift_information"])
        line_error = np.sqrt(slope_variance)
    nothing = float("nan")
    return Recalibrated(
        line=np.where(settled[..., None], line, nothing),
        line_error=np.where(settled, line_error, nothing),
        shift=np.where(both, shift, nothing),
        shift_error=np.where(both, shift_error, nothing),
    )


def _equations(scores: Scores, line: FloatArray, shift: FloatArray) -> RecalibrationStep:
    lines = tuple(tuple((float(a), float(b)) for a, b in groups) for groups in line)
    return RecalibrationStep(scores=scores, line=lines, shift=tuple(tuple(map(float, row)) for row in shift))


def _newton(found: Sums, both: Mask) -> tuple[FloatArray, FloatArray, Mask]:
    """Steps of line and shift, none longer than :data:`_LARGEST_STEP`, and where the line's equations have a solution."""
    information = found["line_information"]
    scale = information[..., 0, 0] * information[..., 1, 1]
    solvable = both & (np.linalg.det(information) > np.finfo(float).eps * scale)
    safe = np.where(solvable[..., None, None], information, np.eye(2))
    line = np.linalg.solve(safe, found["line_score"][..., None])[..., 0]
    shift = found["shift_score"] / np.where(found["shift_information"] > 0, found["shift_information"], 1.0)
    shorter = [np.asarray(np.clip(step, -_LARGEST_STEP, _LARGEST_STEP), dtype=np.float64) for step in (line, shift)]
    return shorter[0], shorter[1], np.asarray(solvable, dtype=np.bool_)


def _together(sums: Sums) -> Sums:
    return {name: value.sum(axis=1, keepdims=True) for name, value in sums.items() if name != "left_out"}


def _line(
    names: tuple[str, str],
    own: Sums,
    fitted: Recalibrated,
    place: tuple[int, int],
    *,
    confidence: float,
    is_hidden: bool,
) -> tuple[Cell, ...]:
    patients = float(own["positive"].sum() + own["negative"].sum())
    if is_hidden or not patients:
        return (*names, None if is_hidden else 0, *[None] * (len(PERFORMANCE) - 3))
    events, expected = float(own["positive"].sum()), float(own["predicted"].sum())
    lower, upper = byar(events, confidence=confidence)
    return (
        *names,
        round(patients),
        round(events),
        expected,
        *(shown(value / expected) if expected > 0 else None for value in (events, lower, upper)),
        shown(auroc(own["negative"], own["positive"])),
        float(own["squared_error"]) / patients,
        *(shown(float(each[place])) for each in (fitted.shift, fitted.shift_error)),
        shown(float(fitted.line[(*place, 1)])),
        shown(float(fitted.line_error[place])),
    )


def auroc(negative: FloatArray, positive: FloatArray) -> float:
    """Area under the ROC curve from two histograms ``[B]``; NaN without both outcomes."""
    pairs = float(negative.sum()) * float(positive.sum())
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2)) / pairs if pairs else float("nan")


def byar(events: float, *, confidence: float) -> tuple[float, float]:
    """Interval of the mean of a Poisson count (Breslow & Day 1987, vol. II, eq. 2.13)."""
    width = normal_width(confidence)
    upper = events + 1
    lower = events * (1 - 1 / (9 * events) - width / (3 * math.sqrt(events))) ** 3 if events else 0.0
    return lower, upper * (1 - 1 / (9 * upper) + width / (3 * math.sqrt(upper))) ** 3


def reliability(title: str, label: str, own: Sums, question: Question) -> Sequence[tuple[Cell, ...]]:
    """Points of the reliability curve: mean predicted risk, observed share with Wilson's interval (1927)."""
    width = normal_width(question.confidence)
    rows: list[tuple[Cell, ...]] = []
    for run in equal_parts(own["negative"], own["positive"], parts=question.parts, threshold=question.threshold):
        events = float(own["positive"][run].sum())
        patients = events + float(own["negative"][run].sum())
        share, stretch = events / patients, 1 + width**2 / patients
        middle = (share + width**2 / (2 * patients)) / stretch
        half = width * math.sqrt(share * (1 - share) / patients + width**2 / (4 * patients**2)) / stretch
        predicted = float(own["predicted"][run].sum()) / patients
        lower, upper = max(0.0, middle - half) if events else 0.0, min(1.0, middle + half)
        rows.append((title, label, round(patients), predicted, share, lower, upper))
    return rows
