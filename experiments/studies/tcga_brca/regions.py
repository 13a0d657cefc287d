"""The published TCGA-BRCA table, divided into its six regions as FLamby divides it.

The published patient identifiers are read to join the two files and go no further: a patient's key is the row of the published
split.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import DataContract
from federation.errors import RecordsUnreadableError
from site_client.patients import FloatArray, Records

REGIONS: Final = ("northeast", "south", "west", "midwest", "europe", "canada")
"""By FLamby's number of the centre."""
PUBLISHED_PATIENTS: Final = {
    "northeast": (248, 63),
    "south": (156, 40),
    "west": (164, 42),
    "midwest": (129, 33),
    "europe": (129, 33),
    "canada": (40, 11),
}
"""Training and test patients of the published division."""

_KEY: Final = "pid"
_TIME, _EVENT = "T", "E"
_LARGEST_BYTES: Final = 2**22
"""Of a published file: the table has 240 kB."""
_COLUMNS: Final = 42


@dataclass(frozen=True)
class Region:
    """One region's patients.

    Args:
        records: In the terms of the contract, in the order of the published split.
        training: ``[R]`` whether the published division trains on the patient.
    """

    records: Records = field(repr=False)
    training: NDArray[np.bool_] = field(repr=False)


def read_regions(table: Path, split: Path, *, contract: DataContract) -> tuple[Region, ...]:
    """Read the published files.

    Args:
        table: ``brca.csv``: one row a patient, 39 features, event and time.
        split: ``train_test_split.csv``: the patients that FLamby uses, their region and part.
        contract: Its variables are the table's features, in the same order.

    Raises:
        RecordsUnreadableError: If a file is not the published one.
    """
    rows = {row[_KEY]: row for row in _rows(table, columns=_COLUMNS)}
    members: dict[str, list[tuple[str, bool]]] = {region: [] for region in REGIONS}
    for row in _rows(split, columns=3):
        part, _, number = row["fold2"].partition("_")
        if row[_KEY] not in rows or number not in {str(place) for place in range(len(REGIONS))}:
            raise _not_published(split, "a patient or a part that is not in the table")
        members[REGIONS[int(number)]].append((row[_KEY], part == "train"))
    first = np.cumsum([0, *(len(patients) for patients in members.values())])
    return tuple(
        _region(region, patients, rows, contract=contract, first=int(start), table=table)
        for (region, patients), start in zip(members.items(), first, strict=False)
    )


def _region(
    region: str,
    patients: list[tuple[str, bool]],
    rows: Mapping[str, Mapping[str, str]],
    *,
    contract: DataContract,
    first: int,
    table: Path,
) -> Region:
    columns = [name for name in next(iter(rows.values())) if name != _KEY]
    try:
        numbers = np.array([[float(rows[key][name]) for name in columns] for key, _ in patients], dtype=np.float64)
    except ValueError as failure:
        raise _not_published(table, "text where a number should be") from failure
    features = [name for name in columns if name not in {_TIME, _EVENT}]
    time, event = (column.name for column in contract.columns[len(contract.variables) :])
    names = [*(variable.name for variable in contract.variables), event, time]
    values: dict[str, FloatArray] = {
        name: numbers[:, columns.index(column)] for name, column in zip(names, [*features, _EVENT, _TIME], strict=True)
    }
    keys = np.array([f"{first + place:04d}" for place in range(len(patients))], dtype=np.str_)
    return Region(
        records=Records(site=region, patient_keys=keys, values=values),
        training=np.array([trains for _, trains in patients], dtype=np.bool_),
    )


def _rows(path: Path, *, columns: int) -> list[dict[str, str]]:
    if path.stat().st_size > _LARGEST_BYTES:
        raise _not_published(path, f"more than {_LARGEST_BYTES} bytes")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if len(reader.fieldnames or ()) != columns or _KEY not in (reader.fieldnames or ()):
                raise _not_published(path, f"{len(reader.fieldnames or ())} columns")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise _not_published(path, type(failure).__name__) from failure
    if any(None in row or None in row.values() for row in rows):
        raise _not_published(path, "a row of another number of columns")
    return rows


def _not_published(path: Path, got: str) -> RecordsUnreadableError:
    return RecordsUnreadableError(
        f"expected FLamby's table {path.name}, got {got}",
        remedy="download the file again; see experiments/studies/tcga_brca/README.md",
    )
