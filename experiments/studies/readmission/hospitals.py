"""Dividing the diabetes encounters over hospitals, by patient, with one CSV file per hospital.

The published file is read twice as a stream; only one entry per *patient* (key, outcome, hospital) is ever in memory.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from experiments.partition import dirichlet_label_skew
from federation.errors import RecordsUnreadableError
from federation.privacy.randomness import RandomStreams

DECEASED_OR_HOSPICE: Final = frozenset({"11", "13", "14", "19", "20", "21"})
"""Discharge dispositions after which no readmission is possible: not eligible (Strack et al. 2014, section 2.2)."""

MINIMUM_PATIENTS: Final = 20
"""Fewest patients of a hospital."""

_COLUMNS: Final = 50
_NEEDED: Final = ("patient_nbr", "discharge_disposition_id", "readmitted")


@dataclass(frozen=True)
class PartitionedHospital:
    """One hospital's file.

    Args:
        site: ``hospital-01`` and so on.
        path: CSV file with the original columns and codes.
        patients: Number of its patients with an eligible encounter.
    """

    site: str
    path: Path
    patients: int


def write_hospitals(
    encounters: Path,
    *,
    folder: Path,
    shares: NDArray[np.float64],
    concentration: float,
    max_patients: int | None,
    streams: RandomStreams,
) -> tuple[PartitionedHospital, ...]:
    """Give every eligible patient to a hospital, and write each hospital's encounters.

    Args:
        encounters: ``diabetic_data.csv`` as published, gzipped if its name ends in ``.gz``.
        folder: Where ``<site>/encounters.csv`` is written.
        shares: Share of the patients of each hospital; see :func:`experiments.partition.size_shares`.
        concentration: Dirichlet concentration of readmission over hospitals.
        max_patients: Draw at most this many patients; ``None`` for all.
        streams: Source of randomness.

    Returns:
        The hospitals, in the order of ``shares``.

    Raises:
        RecordsUnreadableError: If the file is not the published table.
        ConfigurationError: If there are fewer patients than the hospitals need.
    """
    readmitted = _readmitted_by_patient(encounters)
    patients = np.array(sorted(readmitted), dtype=np.str_)
    if max_patients is not None and max_patients < len(patients):
        chosen = streams.stream("patients").choice(len(patients), size=max_patients, replace=False)
        patients = patients[np.sort(chosen)]
    sites = dirichlet_label_skew(
        np.array([readmitted[str(patient)] for patient in patients], dtype=np.int64),
        shares=shares,
        concentration=concentration,
        generator=streams.stream("hospitals"),
        minimum=MINIMUM_PATIENTS,
    )
    counts = np.bincount(sites, minlength=len(shares))
    hospitals = tuple(
        PartitionedHospital(site=name, path=folder / name / "encounters.csv", patients=int(count))
        for index, count in enumerate(counts)
        if (name := f"hospital-{index + 1:02d}")
    )
    hospital_of = {str(patient): int(site) for patient, site in zip(patients, sites, strict=True)}
    _write(encounters, hospitals=hospitals, hospital_of=hospital_of)
    return hospitals


def _readmitted_by_patient(encounters: Path) -> dict[str, int]:
    """Patient key to 1 if any eligible encounter ended in readmission within 30 days."""
    readmitted: dict[str, int] = {}
    with _table(encounters) as (names, rows):
        patient, disposition, outcome = (names.index(name) for name in _NEEDED)
        for row in rows:
            if row[disposition] not in DECEASED_OR_HOSPICE:
                readmitted[row[patient]] = max(readmitted.get(row[patient], 0), int(row[outcome] == "<30"))
    if not readmitted:
        raise _not_the_table(encounters, "no eligible patient")
    return readmitted


def _write(encounters: Path, *, hospitals: tuple[PartitionedHospital, ...], hospital_of: Mapping[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        names, rows = stack.enter_context(_table(encounters))
        writers = [
            csv.writer(stack.enter_context(_replacing(hospital.path)), lineterminator="\n") for hospital in hospitals
        ]
        for writer in writers:
            writer.writerow(names)
        patient = names.index("patient_nbr")
        for row in rows:
            hospital = hospital_of.get(row[patient])
            if hospital is not None:
                writers[hospital].writerow(row)


@contextlib.contextmanager
def _table(path: Path) -> Generator[tuple[list[str], Iterator[list[str]]]]:
    """The header, and the rows as a stream of texts."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8", newline="") as stream
        ):
            reader = csv.reader(stream, strict=True)
            names = next(reader, [])
            if len(names) != _COLUMNS or not set(_NEEDED) <= set(names):
                raise _not_the_table(path, f"{len(names)} columns")
            yield names, _checked(reader, path=path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as failure:
        raise _not_the_table(path, type(failure).__name__) from failure


def _checked(rows: Iterator[list[str]], *, path: Path) -> Iterator[list[str]]:
    for row in rows:
        if len(row) != _COLUMNS:
            raise _not_the_table(path, f"a row of {len(row)} columns")
        yield row


def _not_the_table(path: Path, got: str) -> RecordsUnreadableError:
    return RecordsUnreadableError(
        f"expected the published comma-separated table of {_COLUMNS} columns in {path.name}, got {got}",
        remedy="download the file again; see experiments/studies/readmission/README.md",
    )


@contextlib.contextmanager
def _replacing(path: Path) -> Generator[TextIO]:
    """A text file that appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
