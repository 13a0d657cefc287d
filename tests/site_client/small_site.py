"""A small hospital for the tests of this folder: a contract of every kind, a file that fits it, and ways to spoil both."""

from __future__ import annotations

import copy
import datetime as dt
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.errors import RecordsError
from site_client.patients import Records
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource

TODAY = dt.date(2024, 6, 1)
SECRET = "Zuckerhut"
"""Stands for a patient's data; must be in no message."""

CONTRACT = {
    "name": "small",
    "patient_key": "patient",
    "index_date": {"name": "admitted", "earliest": "2020-01-01"},
    "variables": [
        {"name": "age", "kind": "integer", "unit": "year", "minimum": 18, "maximum": 110},
        {"name": "chol", "kind": "continuous", "unit": "mg/dL", "minimum": 50, "maximum": 700,
         "missing": {"rule": "impute", "value": 200.0, "indicator": True}},
        {"name": "male", "kind": "binary"},
        {"name": "pain", "kind": "categorical", "levels": ["none", "typical", "other"]},
        {"name": "stage", "kind": "ordinal", "levels": ["1", "2", "3"], "missing": {"rule": "impute", "value": "1"}},
    ],
    "outcome": {"name": "died", "kind": "binary"},
}  # fmt: skip

MAPPING = {
    "site": "st_mary",
    "source": {"kind": "csv", "path": "patients.csv"},
    "patient_key": {"column": "pid"},
    "index_date": {"column": "date"},
    "variables": {
        "age": {"column": "age", "unit": "year"},
        "chol": {"column": "chol", "unit": "mg/dL"},
        "male": {"column": "sex", "codes": {"m": 1, "f": 0, "u": None}},
        "pain": {"column": "pain", "codes": {"0": "none", "1": "typical", "2": "other"}},
        "stage": {"column": "stage"},
        "died": {"column": "died"},
    },
}

HEADER = "pid,date,age,chol,sex,pain,stage,died"
ROWS = (
    "a,2021-03-01,61,233,m,1,1,0",
    "b,2021-03-02,47.0,,f,2.0,2,1",
    "c,2022-07-09,70,180.5,m,0,3.0,0",
    "d,2023-01-30,55,310,f,1,,1",
)


def contract(**changes: object) -> DataContract:
    """The contract; keys are variables, values what differs in them."""
    data = copy.deepcopy(CONTRACT)
    for entry in [*data["variables"], data["outcome"]]:
        entry.update(changes.pop(entry["name"], {}))
    return DataContract.from_data(data | changes)


def mapping(*, variables: Mapping[str, object] | None = None, **changes: object) -> SiteMapping:
    """The mapping; ``variables`` replaces single variables, other keys whole entries."""
    data = copy.deepcopy(MAPPING) | changes
    data["variables"] = data["variables"] | (variables or {})
    return SiteMapping.from_data(data)


def write(folder: Path, rows: Sequence[str] = ROWS, *, header: str = HEADER, encoding: str = "utf-8") -> Path:
    """Write ``patients.csv``."""
    path = folder / "patients.csv"
    lines = [header, *rows] if header else list(rows)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def read(folder: Path, *, of: DataContract | None = None, through: SiteMapping | None = None) -> Records:
    """Read the folder's file."""
    return source(folder, through=through).read(of or contract(), today=TODAY)


def source(folder: Path, *, through: SiteMapping | None = None) -> TableSource:
    """The folder's file as a source."""
    return TableSource(through or mapping(), folder=folder)


def definition(**changes: object) -> CohortDefinition:
    """A cohort of everybody."""
    return CohortDefinition.from_data({"provenance": "synthetic", **changes})


def records(num_patients: int = 40, *, keys: Sequence[str] | None = None, **columns: object) -> Records:
    """Plausible records, one per patient unless ``keys`` repeats some; ``columns`` replaces variables."""
    names = np.array(list(keys) if keys is not None else [f"patient-{index}" for index in range(num_patients)])
    rows = np.arange(len(names))
    values = {
        "age": 20.0 + rows % 80,
        "chol": 100.0 + rows % 500,
        "male": (rows % 2).astype(float),
        "pain": (rows % 3).astype(float),
        "stage": (rows % 3).astype(float),
        "died": (rows % 2).astype(float),
    } | {name: np.broadcast_to(np.asarray(column, dtype=float), rows.shape).copy() for name, column in columns.items()}
    dates = np.datetime64("2021-01-01") + (rows % 365).astype("timedelta64[D]")
    return Records(site="st_mary", patient_keys=names, values=values, index_dates=dates)


class MemorySource:
    """Records that are already in memory."""

    def __init__(self, content: Records) -> None:
        self.content = content

    def read(self, contract: DataContract, *, today: dt.date) -> Records:
        return self.content


def assert_silent(error: RecordsError) -> None:
    """Neither message nor traceback nor context of an error holds a patient's data."""
    told = "".join(traceback.format_exception(error, chain=True)) + repr(error.as_dict()) + repr(error.__context__)
    # Lines of this file quoted in a traceback hold the constant's name, not its value.
    assert SECRET not in told
