"""Synthetic hospitals as files: a CSV in the contract's own units and levels, and the mapping that reads it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

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
"""Characters because of which a text is quoted; without them rows are joined, in half the time."""


def write_hospital(records: Records, *, contract: DataContract, folder: Path) -> SiteMapping:
    """Write ``patients.csv`` and ``mapping.yaml`` into the hospital's folder.

    Args:
        records: Of one hospital, in the contract's terms.
        contract: Gives names, units and levels.
        folder: The hospital's own folder; made if it is absent.

    Returns:
        The mapping, which is also on disk.
    """
    columns = {contract.patient_key: records.patient_keys.tolist()}
    if contract.index_date is not None and records.index_dates is not None:
        columns[contract.index_date.name] = np.datetime_as_string(records.index_dates, unit="D").tolist()
    for variable in contract.columns:
        columns[variable.name] = _texts(variable, records.values[variable.name])
    write_durably(folder / FILE_NAME, _table(columns).encode())
    data = _mapping(records.site, contract=contract)
    text = yaml.dump(data, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    write_durably(folder / "mapping.yaml", text.encode())
    return SiteMapping.from_data(data, error=MappingError)


def _table(columns: Mapping[str, Sequence[str]]) -> str:
    """Rows of separated values, quoted where a name, key or level needs it."""
    if not any(character in text for text in map("".join, (columns, *columns.values())) for character in _QUOTED):
        return "\n".join([",".join(columns), *map(",".join, zip(*columns.values(), strict=True)), ""])
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _texts(variable: Variable, values: NDArray[np.float64]) -> list[str]:
    """Empty where missing; levels by name, measurements to twelve digits, everything else as whole numbers."""
    match variable:
        case Continuous() if not np.isnan(values).any():
            # One call formats the whole column.
            return [str(text) for text in ("%.12g " * len(values) % tuple(values.tolist())).split()]
        case Categorical() | Ordinal():
            return ["" if math.isnan(value) else variable.levels[int(value)] for value in values.tolist()]
        case Continuous():
            return ["" if math.isnan(value) else f"{value:.12g}" for value in values.tolist()]
        case _:
            return ["" if math.isnan(value) else str(int(value)) for value in values.tolist()]


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
