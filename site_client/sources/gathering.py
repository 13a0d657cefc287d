"""From converted rows in DuckDB to records in memory, and the count of everything that was wrong with them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import Continuous, DataContract, Integer, Variable
from federation.errors import ImplausibleValueError, InternalError, PatientKeyError, RecordsError, UnknownCodeError
from site_client.patients import FloatArray, Records
from site_client.sources.codes import codes_of
from site_client.sources.conversions import (
    DATE,
    DATE_STATUS,
    KEY,
    Status,
    assumed_units,
    status_column,
    value_column,
)
from site_client.sources.database import Database, identifier, literal
from site_client.sources.mapping import SiteMapping
from site_client.sources.source import Survey

_CHUNK_ROWS: Final = 100_000
_LONGEST_KEY: Final = 256
_WHOLE: Final = 1e-6
"""A converted integer may differ from a whole number by this much."""


def gather(database: Database, mapping: SiteMapping, contract: DataContract, *, today: dt.date) -> Survey:
    """Collect the table ``converted``.

    Args:
        database: Holds ``converted``, made by :func:`~site_client.sources.conversions.conversion_query`.
        mapping: For names and accepted codes in messages.
        contract: Its variables, in the order of the numbered columns.
        today: The day of extraction.

    Returns:
        Records without those that have no patient key; unusable values are NaN.
    """
    problems = [*_key_problems(database, mapping, contract), *_date_problems(database, mapping, contract, today=today)]
    records = _collect(database, mapping, contract)
    unknown: dict[str, int] = {}
    unreadable: dict[str, int] = {}
    statuses = _statuses(database, len(contract.columns))
    for variable, found in zip(contract.columns, statuses, strict=True):
        broken = _round(variable, records.values[variable.name])
        text, not_finite, unmapped = (int(found[status]) for status in list(Status)[2:])
        unreadable[variable.name] = text + not_finite + broken
        unknown[variable.name] = unmapped
        problems += _value_problems(
            mapping, variable, text=text, not_finite=not_finite, unmapped=unmapped, broken=broken
        )
    notices = tuple(
        f"{name}: the mapping gives no unit; the contract's unit, {_unit(contract, name)}, is assumed"
        for name in assumed_units(mapping, contract)
    )
    return Survey(
        records=records,
        problems=tuple(problems),
        unknown_codes=unknown,
        unreadable_values=unreadable,
        notices=notices,
        repeated_patients=mapping.patient_key.repeated,
    )


def _count(database: Database, *conditions: str) -> list[int]:
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions)
    return database.numbers(f"SELECT {counts} FROM converted")  # noqa: S608 - our own conditions


def _statuses(database: Database, num_variables: int) -> NDArray[np.int64]:
    """``[variables, statuses]`` how often each occurs. Counted here: DuckDB plans so many counts longer than it takes to count."""
    counts = np.zeros((num_variables, len(Status)), dtype=np.int64)
    (rows,) = _count(database, "true")
    columns = ", ".join(status_column(index) for index in range(num_variables))
    for first in _chunks(rows):
        chunk = database.arrays(
            f"SELECT {columns} FROM converted WHERE rowid >= {first} AND rowid < {first + _CHUNK_ROWS}"  # noqa: S608 - our own names
        )
        for index in range(num_variables):
            counts[index] += np.bincount(chunk[status_column(index)], minlength=len(Status))
    return counts


def _collect(database: Database, mapping: SiteMapping, contract: DataContract) -> Records:
    by_number = mapping.patient_key.row_number
    key = f"CAST(rowid + 1 AS VARCHAR) AS {KEY}" if by_number else KEY
    present = "true" if by_number else f"{KEY} IS NOT NULL AND length({KEY}) <= {_LONGEST_KEY}"
    rows, kept = _count(database, "true", present)
    (longest,) = database.numbers(
        f"SELECT max(length({KEY})) FILTER ({present}) FROM converted"  # noqa: S608 - our own names
    )
    width = len(str(rows)) if by_number else longest
    keys = np.empty(kept, dtype=f"<U{max(width, 1)}")
    values = {variable.name: np.empty(kept, dtype=np.float64) for variable in contract.columns}
    dates = np.full(kept, np.datetime64("NaT"), dtype="datetime64[D]")
    columns = [key, DATE, *(value_column(index) for index in range(len(values)))]
    start = 0
    for first in _chunks(rows):
        chunk = database.arrays(
            f"SELECT {', '.join(columns)} FROM converted WHERE {present} "  # noqa: S608 - our own names
            f"AND rowid >= {first} AND rowid < {first + _CHUNK_ROWS} ORDER BY rowid"
        )
        stop = start + len(chunk[KEY])
        keys[start:stop] = chunk[KEY]
        dates[start:stop] = np.ma.filled(chunk[DATE].astype("datetime64[D]"), np.datetime64("NaT"))
        for index, column in enumerate(values.values()):
            column[start:stop] = chunk[value_column(index)]
        start = stop
    if start != kept:
        raise InternalError(f"expected {kept} converted records, got {start}")
    return Records(
        site=mapping.site,
        patient_keys=keys,
        values=values,
        index_dates=None if contract.index_date is None else dates,
    )


def _chunks(rows: int) -> Generator[int]:
    yield from range(0, rows, _CHUNK_ROWS)


def _round(variable: Variable, column: FloatArray) -> int:
    """Make an integer variable whole, in place; values that are not become missing and are counted."""
    if not isinstance(variable, Integer):
        return 0
    whole = np.rint(column)
    broken = np.abs(column - whole) > _WHOLE
    column[:] = np.where(broken, np.nan, whole)
    return int(broken.sum())


def _key_problems(database: Database, mapping: SiteMapping, contract: DataContract) -> list[RecordsError]:
    if mapping.patient_key.row_number:
        return []
    absent, too_long = _count(database, f"{KEY} IS NULL", f"length({KEY}) > {_LONGEST_KEY}")
    problems: list[RecordsError] = []
    for count, what in ((absent, "without one"), (too_long, f"with one of more than {_LONGEST_KEY} characters")):
        if count:
            problems.append(
                PatientKeyError(
                    f"expected a patient identifier in every row, got {count} rows {what}",
                    site=mapping.site,
                    variable=contract.patient_key,
                    remedy="complete the column, leave these rows out with `query`, or map another column",
                )
            )
    return problems


def _date_problems(
    database: Database, mapping: SiteMapping, contract: DataContract, *, today: dt.date
) -> list[RecordsError]:
    window = contract.index_date
    if window is None:
        return []
    latest = window.latest or today
    counts = _count(
        database,
        f"{DATE_STATUS} = {int(Status.UNREADABLE)}",
        f"{DATE} > DATE {literal(today.isoformat())}",
        f"{DATE} < DATE {literal(window.earliest.isoformat())}",
        f"{DATE} > DATE {literal(latest.isoformat())} AND {DATE} <= DATE {literal(today.isoformat())}",
    )
    told = (
        ("a date in every row", "that cannot be read as one", "set index_date.format in the mapping, such as %d.%m.%Y"),
        (f"dates up to {today}", "in the future", "correct these dates, or the clock of this machine"),
        (f"dates from {window.earliest}", "earlier", "correct these dates, or select the window with `query`"),
        (f"dates up to {latest}", "later", "correct these dates, or select the window with `query`"),
    )
    return [
        ImplausibleValueError(
            f"expected {expected}, got {count} {got}", site=mapping.site, variable=window.name, remedy=remedy
        )
        for count, (expected, got, remedy) in zip(counts, told, strict=True)
        if count
    ]


def _value_problems(
    mapping: SiteMapping, variable: Variable, *, text: int, not_finite: int, unmapped: int, broken: int
) -> list[RecordsError]:
    local = mapping.variables[variable.name]
    where = {"site": mapping.site, "variable": variable.name}
    problems: list[RecordsError] = []
    missing = "if they mean missing, add what they say to missing_codes of this variable"
    if text:
        problems.append(
            ImplausibleValueError(
                f"expected numbers, got {text} values that are none", **where, remedy=f"correct them, or {missing}"
            )
        )
    if not_finite:
        problems.append(
            ImplausibleValueError(
                f"expected finite numbers, got {not_finite} times NaN or infinity", **where, remedy=missing
            )
        )
    if broken:
        problems.append(
            ImplausibleValueError(
                f"expected whole numbers, got {broken} with a fraction",
                **where,
                remedy="check unit and scale in the mapping, or make the variable continuous in the contract",
            )
        )
    if unmapped:
        accepted = sorted(codes_of(mapping.site, variable, local))
        problems.append(
            UnknownCodeError(
                f"expected the codes {accepted[:30]}, got {unmapped} values with another code",
                **where,
                remedy=f"add it to `codes` in the mapping (null: missing); `SELECT DISTINCT {identifier(local.column)} "  # noqa: S608 - shown to a person, never run
                "FROM source` lists the site's codes",
            )
        )
    return problems


def _unit(contract: DataContract, name: str) -> str:
    variable = contract.variable(name)
    return variable.unit if isinstance(variable, Continuous | Integer) else ""
