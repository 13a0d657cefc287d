"""What sites sum about predicted lengths of stay, and the tables that follow.

Every prediction is judged on the same patients: those for whom all of them and the stay are known; the others are counted.

Axis names: S predictions, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.errors import ImplausibleValueError, InvalidInputError
from federation.identifiers import VariableName
from federation.statistics.calibration import EVERYBODY
from federation.statistics.disclosure import suppress_counts
from federation.statistics.prediction_steps import Scores
from federation.statistics.result import Cell, Findings, Table, shown
from federation.statistics.step import Columns, Shapes, Solver, Step, Sums

FloatArray = NDArray[np.float64]

ACCURACY: Final = (
    "prediction", "group", "patients", "mean stay", "mean predicted", "observed/predicted", "mean absolute error", "RMSE", "R2",
)  # fmt: skip
COVERAGE: Final = ("group", "patients", "in the interval", "below", "above", "width")
_PARTS: Final = ("said", "absolute", "squared")


class StayErrorStep(Step):
    """Sums of stays and of the errors of predictions, and how many stays lie below, in and above an interval."""

    kind: Literal["stay_errors"] = "stay_errors"
    scores: Scores
    """The predictions in days; the outcome is the stay in days."""
    interval: tuple[VariableName, VariableName] | None = None
    """Lower and upper end in days."""
    longest: Annotated[float, Field(gt=0)]
    """Longest plausible stay."""

    def shapes(self) -> Shapes:
        """``errors`` ``[S, G, 3]``: predicted, absolute and squared error; ``stays`` ``[G, 3]``: count, sum, squares.

        ``interval`` ``[G, 4]``: below, inside, above, widths; ``left_out`` ``[G]``.
        """
        groups = self.scores.groups
        return {
            "errors": (len(self.scores.scores), groups, len(_PARTS)),
            "stays": (groups, 3),
            "interval": (groups, 4),
            "left_out": (groups,),
        }

    def variables(self) -> frozenset[str]:
        """Predictions, stay, interval and group."""
        return self.scores.names | frozenset(self.interval or ())

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`.

        Raises:
            ImplausibleValueError: If a stay is negative or longer than plausible.
        """
        known, codes, groups = self.scores.known(columns), self.scores.codes(columns), self.scores.groups
        stays = columns.values[self.scores.outcome][known]
        bad = int(np.count_nonzero((stays < 0) | (stays > self.longest)))
        if bad:
            raise ImplausibleValueError(
                f"expected stays from 0 to {self.longest:g} days, got {bad} others",
                remedy="a discharge before the admission: correct the times, or exclude and count such stays",
            )

        def summed(values: FloatArray) -> FloatArray:
            return np.bincount(codes[known], values, minlength=groups).astype(np.float64)

        errors = [
            np.stack([summed(said), summed(np.abs(said - stays)), summed(np.square(said - stays))], axis=-1)
            for name in self.scores.scores
            for said in [columns.values[name][known]]
        ]
        inside = np.zeros((groups, 4))
        if self.interval is not None:
            lower, upper = (columns.values[name][known] for name in self.interval)
            parts = (stays < lower, (stays >= lower) & (stays <= upper), stays > upper, upper - lower)
            inside = np.stack([summed(part.astype(np.float64)) for part in parts], axis=-1)
        return {
            "errors": np.stack(errors),
            "stays": np.stack([summed(np.ones_like(stays)), summed(stays), summed(np.square(stays))], axis=-1),
            "interval": inside,
            "left_out": np.bincount(codes[~known], minlength=groups).astype(np.float64),
        }


@dataclass(frozen=True)
class StayQuestion:
    """What is judged.

    Args:
        step: The sums.
        titles: Of the predictions.
        labels: Of the groups.
        threshold: Smallest number of patients of a line.
    """

    step: StayErrorStep
    titles: tuple[str, ...]
    labels: tuple[str, ...]
    threshold: int


def judge_stays(question: StayQuestion) -> Solver[Findings]:
    """Tables of errors by prediction and group, and of the interval.

    Raises:
        InvalidInputError: If nobody has both stay and predictions.
    """
    sums = yield question.step
    if not sums["stays"][:, 0].sum():
        raise InvalidInputError("expected patients with stay and predictions, got none", remedy="check the predictions")
    hidden = suppress_counts(sums["stays"][:, 0], question.threshold)
    lines = [(label, slice(group, group + 1), bool(hidden[group])) for group, label in enumerate(question.labels)]
    lines.append((EVERYBODY, slice(None), False))
    rows = [
        _line(
            (title, label), sums["errors"][place, chosen].sum(axis=0), sums["stays"][chosen].sum(axis=0), is_hidden=gone
        )
        for place, title in enumerate(question.titles)
        for label, chosen, gone in lines
    ]
    tables = [Table(name="accuracy", title="Length of stay in days", columns=ACCURACY, rows=tuple(rows))]
    if question.step.interval is not None:
        covered = tuple(_covered(label, sums, chosen) for label, chosen, gone in lines if not gone)
        tables.append(Table(name="interval", title="Stays in the predicted interval", columns=COVERAGE, rows=covered))
    return Findings(
        figures={"patients without a prediction": float(sums["left_out"].sum())},
        tables=tuple(tables),
        notes=("Predictions are compared on the patients who have all of them.",),
    )


def _line(names: tuple[str, str], errors: FloatArray, stays: FloatArray, *, is_hidden: bool) -> tuple[Cell, ...]:
    patients, total, squares = stays.tolist()
    if is_hidden or not patients:
        return (*names, None if is_hidden else 0, *[None] * (len(ACCURACY) - 3))
    said, absolute, squared = errors.tolist()
    spread = squares - total**2 / patients
    return (
        *names,
        round(patients),
        total / patients,
        said / patients,
        shown(total / said) if said else None,
        absolute / patients,
        math.sqrt(squared / patients),
        shown(1 - squared / spread) if spread > 0 else None,
    )


def _covered(label: str, sums: Sums, chosen: slice) -> tuple[Cell, ...]:
    below, inside, above, width = sums["interval"][chosen].sum(axis=0).tolist()
    patients = below + inside + above
    return (
        label,
        round(patients),
        *(shown(part / patients) if patients else None for part in (inside, below, above, width)),
    )
