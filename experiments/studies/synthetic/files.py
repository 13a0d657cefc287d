"""Synthetic hospitals as files: a CSV in the contract's own units and levels, and the mapping that reads it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from federation.data.contract import Categorical, Continuous, DataContract, Ordinal, Variable
from federation.documents import Json
from federation.durable_files import write_durably
from federation.errors import MappingError
from site_client.patients import Records
from site_client.sources.mapping import SiteMapping

FILE_NAME: Final = "patients.csv"
_DUMPER: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Of libyaml, ten times as fast, where PyYAML has it."""
_QUOTED: Final = ',"\r\n'
"""Characters because of which a text is quoted; without them rows are formatted at once, in half the time."""
_MEASUREMENT: Final = "%.12g"


def write_hospital(records: Records, *, contract: DataContract, folder: Path) -> SiteMapping:
    """Write ``patients.csv`` and ``mapping.yaml`` into the hospital's folder.

    Args:
        records: Of one hospital, in the contract's terms.
        contract: Gives names, units and levels.
        folder: The hospital's own folder; made if it is absent.

    Returns:
        The mapping, which is also on disk.
    """
    columns: dict[str, _Column] = {contract.patient_key: _Texts(records.patient_keys.tolist())}
    if contract.index_date is not None and records.index_dates is not None:
        columns[contract.index_date.name] = _Texts(np.datetime_as_string(records.index_dates, unit="D").tolist())
    for variable in contract.columns:
        columns[variable.name] = _column(variable, records.values[variable.name])
    write_durably(folder / FILE_NAME, _table(columns).encode())
    data = _mapping(records.site, contract=contract)
    text = yaml.dump(data, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    write_durably(folder / "mapping.yaml", text.encode())
    return SiteMapping.from_data(data, error=MappingError)


@dataclass(frozen=True)
class _Texts:
    """A column of words, which may need quotes."""

    cells: list[str]
    format: ClassVar[str] = "%s"


@dataclass(frozen=True)
class _Numbers:
    """A column of measurements without a gap: formatted with its row, in half the time."""

    cells: list[float]
    format: ClassVar[str] = _MEASUREMENT


_Column = _Texts | _Numbers


def _table(columns: Mapping[str, _Column]) -> str:
    """Rows of separated values, quoted where a name, key or level needs it."""
    words = [columns, *(column.cells for column in columns.values() if isinstance(column, _Texts))]
    rows = zip(*(column.cells for column in columns.values()), strict=True)
    formats = [column.format for column in columns.values()]
    if not any(character in text for text in map("".join, words) for character in _QUOTED):
        return "\n".join([",".join(columns), *map(",".join(formats).__mod__, rows), ""])
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([one % cell for one, cell in zip(formats, row, strict=True)] for row in rows)
    return text.getvalue()


def _column(variable: Variable, values: NDArray[np.float64]) -> _Column:
    """Empty where missing; levels by name, measurements to twelve digits, everything else as whole numbers."""
    match variable:
        case Continuous() if not np.isnan(values).any():
            return _Numbers(values.tolist())
        case Categorical() | Ordinal():
            cells = ["" if math.isnan(value) else variable.levels[int(value)] for value in values.tolist()]
        case Continuous():
            cells = ["" if math.isnan(value) else _MEASUREMENT % value for value in values.tolist()]
        case _:
            cells = ["" if math.isnan(value) else str(int(value)) for value in values.tolist()]
    return _Texts(cells)


def _mapping(site: str, *, contract: DataContract) -> dict[str, Json]:
    variables: dict[str, Json] = {}
    for variable in contract.columns:
        variables[variable.name] = {"column": variable.name}
        if isinstance(variable, Continuous):
            variables[variable.name] = {"column": variable.name, "unit": variable.unit}
    data: dict[str, Json] = {
        "site": site,
        "source": {"kind": "csv", "path": FILE_NAME},
        "patient_key": {"column": contract.patient_key, "repeated": True},
        "variables": variables,
    }
    if contract.index_date is not None:
        data["index_date"] = {"column": contract.index_date.name}
    return data
