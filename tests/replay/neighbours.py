"""Pairs of data sets that differ in one patient, ordinary and hostile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from site_client.patients import PatientDataset
from tests.replay.tape import Replayer, Tape, recorded, replayed

FEATURES: Final = 9
"""Also an image of 3 by 3."""
CLASSES: Final = 3
NAMES: Final = tuple(f"x{number}" for number in range(FEATURES))

Patient = tuple[np.ndarray, np.ndarray]
"""Features ``[R, F]`` and outcomes ``[R]`` of one patient."""


@dataclass(frozen=True)
class Neighbours:
    """``larger`` is ``smaller`` and one patient more, at position ``odd``."""

    smaller: PatientDataset
    larger: PatientDataset
    odd: int

    def replayer(self, tape: Tape, *, shrinks: bool, seed: int) -> Replayer:
        """For a tape of the larger data set and a run on the smaller, or the other way round."""
        count = self.larger.num_patients
        place = np.arange(count)
        if shrinks:
            place = np.where(place < self.odd, place, place - 1)
            place[self.odd] = -1
            return Replayer(tape, place=place, added=None, coin=lambda: False)
        generator = np.random.default_rng(seed)
        return Replayer(
            tape, place=np.delete(place, self.odd), added=self.odd, coin=lambda: bool(generator.integers(0, 4) > 0)
        )

    def check(self, run: Callable[[PatientDataset], object], *, shrinks: bool, seed: int) -> tuple[Tape, float]:
        """Record on one, replay on the other, and compare everything that comes out.

        Raises:
            DivergenceError: If the two can be told apart by more than the releases.
        """
        first, second = (self.larger, self.smaller) if shrinks else (self.smaller, self.larger)
        result, tape = recorded(lambda: run(first))
        replayer = self.replayer(tape, shrinks=shrinks, seed=seed)
        again = replayed(lambda: run(second), replayer)
        compare(result, again)
        return tape, replayer.largest


def compare(result: object, again: object) -> None:
    """Both runs must have given the same, byte for byte."""
    from tests.replay.tape import DivergenceError

    if result != again:
        raise DivergenceError("outcome: what is given away depends on more than the releases")


def _rows(generator: np.random.Generator, task: str, number: int, scale: float = 1.0) -> Patient:
    features = (generator.normal(size=(number, FEATURES)) * scale).astype(np.float32)
    outcomes = {
        "binary": lambda: generator.integers(0, 2, number),
        "multiclass": lambda: generator.integers(0, CLASSES, number),
        "regression": lambda: generator.normal(size=number),
    }[task]()
    return features, outcomes.astype(np.float32)


def _spoilt(patient: Patient, value: float) -> Patient:
    patient[0][-1, 0] = value
    return patient


def _far_outcome(patient: Patient, task: str) -> Patient:
    if task == "regression":
        patient[1][:] = 1e15
    return patient


ODD: Final[dict[str, Callable[[np.random.Generator, str], Patient]]] = {
    "ordinary": lambda generator, task: _rows(generator, task, 1),
    "large": lambda generator, task: _rows(generator, task, 1, 100.0),
    "many records": lambda generator, task: _rows(generator, task, 60, 3.0),
    "extreme": lambda generator, task: _rows(generator, task, 2, 1e18),
    "far outcome": lambda generator, task: _far_outcome(_rows(generator, task, 2), task),
    "nan": lambda generator, task: _spoilt(_rows(generator, task, 3), np.nan),
    "infinite": lambda generator, task: _spoilt(_rows(generator, task, 1), np.inf),
    "one record of many is nan": lambda generator, task: _spoilt(_rows(generator, task, 30, 5.0), np.nan),
}
"""What the patient that makes the difference is like."""


def _dataset(patients: list[Patient]) -> PatientDataset:
    features = [np.zeros((0, FEATURES), np.float32), *(part for part, _ in patients)]
    outcomes = [np.zeros(0, np.float32), *(part for _, part in patients)]
    index = np.repeat(np.arange(len(patients)), [len(part) for _, part in patients]).astype(np.int64)
    return PatientDataset(np.concatenate(features), np.concatenate(outcomes), index, NAMES)


def neighbours(odd: str, *, task: str, seed: int, others: int = 7, position: int | None = None) -> Neighbours:
    """One pair.

    Args:
        odd: Key of :data:`ODD`.
        task: Sets the outcomes.
        seed: Of everything that is drawn.
        others: Patients of both data sets, of one to five records each; one of them is heavy.
        position: Of the odd patient in the larger data set; drawn unless given.
    """
    generator = np.random.default_rng(seed)
    patients = [_rows(generator, task, int(generator.integers(1, 6)), 4.0 if n == 1 else 1.0) for n in range(others)]
    where = int(generator.integers(0, others + 1)) if position is None else position
    return Neighbours(
        smaller=_dataset(patients),
        larger=_dataset([*patients[:where], ODD[odd](generator, task), *patients[where:]]),
        odd=where,
    )
