"""Whom to follow up with a capacity for a few: risk groups, and what following up those of the highest risk would reach.

Everything follows from the sites' histograms of risks. Patients of one bin are in the same place of the order, so followed
up are as many whole bins as fill the capacity.

Axis names: G groups, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.calibration import EVERYBODY, Question, hidden_groups, reliability
from federation.statistics.disclosure import is_small
from federation.statistics.prediction_steps import RiskHistogramStep
from federation.statistics.result import Cell, Findings, Table, shown
from federation.statistics.step import Solver, Sums

FloatArray = NDArray[np.float64]

RISK_GROUPS: Final = ("group", "records", "predicted", "observed", "lower", "upper")
CAPACITY: Final = (
    "group", "records", "with the outcome", "followed up", "reached", "needed to follow up", "needed at random", "share reached",
)  # fmt: skip
REACH: Final = ("share followed up", "share reached", "needed to follow up")
_SHARES: Final = tuple(percent / 100 for percent in (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100))


@dataclass(frozen=True)
class Followed:
    """What following up the patients of the highest risk reaches.

    Args:
        patients: Followed up.
        reached: Of them, with the outcome.
    """

    patients: float
    reached: float


def follow_up(question: Question, *, capacity: float) -> Solver[Findings]:
    """Risk groups and what a capacity reaches, over all and by group.

    Args:
        question: With one score.
        capacity: Share of the patients who can be followed up, in (0, 1].

    Raises:
        InvalidInputError: If there is no patient with the outcome.
    """
    if not 0 < capacity <= 1 or len(question.titles) != 1:
        raise InvalidInputError(f"expected one score and a capacity above 0 and at most 1, got {capacity}")
    sums = yield RiskHistogramStep(scores=question.scores, bins=question.bins)
    own = {name: value[0] for name, value in sums.items() if name != "left_out"}
    if not own["positive"].sum():
        raise InvalidInputError("expected patients with the outcome, got none", remedy="check outcome and selection")
    hidden = hidden_groups(sums, question.threshold)
    parts = [
        (label, {name: value[group] for name, value in own.items()}) for group, label in enumerate(question.labels)
    ]
    lines = [(label, part, bool(gone)) for (label, part), gone in zip(parts, hidden, strict=False)]
    everybody = {name: value.sum(axis=0) for name, value in own.items()}
    lines.append((EVERYBODY, everybody, False))
    risk_groups = [
        row[1:] for label, part, is_hidden in lines if not is_hidden for row in reliability("", label, part, question)
    ]
    rows = [
        _capacity(label, part, capacity, question.threshold)
        if not is_hidden
        else (label, *[None] * (len(CAPACITY) - 1))
        for label, part, is_hidden in lines
    ]
    return Findings(
        figures={"capacity": capacity, "patients without a prediction": float(sums["left_out"].sum())},
        tables=(
            Table(
                name="capacity",
                title=f"Following up the {capacity:.0%} at highest risk",
                columns=CAPACITY,
                rows=tuple(rows),
            ),
            Table(name="risk_groups", title="Risk groups", columns=RISK_GROUPS, rows=tuple(risk_groups)),
            Table(
                name="reach", title="What a capacity reaches", columns=REACH, rows=_reach(everybody, question.threshold)
            ),
        ),
    )


def highest(negative: FloatArray, positive: FloatArray, share: float) -> Followed:
    """The patients of the highest risk.

    Args:
        negative: ``[B]`` patients without the outcome by rising risk.
        positive: ``[B]`` with it.
        share: Of the patients, in (0, 1].
    """
    patients, reached = np.cumsum((negative + positive)[::-1]), np.cumsum(positive[::-1])
    place = min(int(np.searchsorted(patients, share * patients[-1] - 1e-9)), len(patients) - 1)
    return Followed(patients=float(patients[place]), reached=float(reached[place]))


def _capacity(label: str, part: Sums, capacity: float, threshold: int) -> tuple[Cell, ...]:
    negative, positive = part["negative"], part["positive"]
    patients, cases = float(negative.sum() + positive.sum()), float(positive.sum())
    found = highest(negative, positive, capacity) if patients else Followed(0.0, 0.0)
    counts = np.array([found.reached, cases - found.reached, found.patients - found.reached])
    if is_small(counts, threshold).any():
        return (label, round(patients), round(cases), round(found.patients), *[None] * 4)
    return (
        label,
        round(patients),
        round(cases),
        round(found.patients),
        round(found.reached),
        shown(found.patients / found.reached) if found.reached else None,
        shown(patients / cases) if cases else None,
        shown(found.reached / cases) if cases else None,
    )


def _reach(part: Sums, threshold: int) -> tuple[tuple[Cell, ...], ...]:
    """Points of the curve, without steps of too few patients between them."""
    cases = float(part["positive"].sum())
    rows: list[tuple[Cell, ...]] = []
    before = Followed(0.0, 0.0)
    for share in _SHARES:
        found = highest(part["negative"], part["positive"], share)
        step = np.array(
            [found.reached - before.reached, (found.patients - before.patients) - (found.reached - before.reached)]
        )
        rest = np.array([cases - found.reached])
        if is_small(step, threshold).any() or is_small(rest, threshold).any() or found.patients == before.patients:
            continue
        total = float(part["positive"].sum() + part["negative"].sum())
        needed = shown(found.patients / found.reached) if found.reached else None
        rows.append((found.patients / total, found.reached / cases, needed))
        before = found
    return tuple(rows)
