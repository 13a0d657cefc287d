"""What a site's records look like, variable by variable, for the site's own eyes: it stays here and shows no single record.

Small cells are hidden. A quantile is the mean over the few patients around its rank, and is left out where fewer than that many
patients lie on one side of it; so the smallest and the largest value are never shown, nor is any patient's own.

Axis names: R records, P patients.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from federation.data.arrays import Image, Signal
from federation.data.contract import Binary, Continuous, DataContract, Integer, Variable
from federation.documents import Document
from federation.errors import InvalidInputError
from site_client.data_checks import count_duplicates
from site_client.patients import FloatArray, Records
from site_client.readiness import Duplicates
from site_client.selection import out_of_range
from site_client.sources.source import Survey

QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
DEFAULT_SMALLEST: Final = 5
_LEAST_SMALLEST: Final = 3
_DIGITS: Final = 3
NOTICE: Final = "This profile is for this site only. It stays here: no study asks for it, and nothing sends it."


class LevelCount(Document):
    """Records with one level."""

    level: str
    records: int | None
    """``None``: hidden, because too few patients have it, or because another hidden count would follow from it."""


class Quantile(Document):
    """A value below which a share of the patients lies."""

    share: float
    value: float | None
    """Rounded mean over the patients around it, in the contract's unit; ``None``: too few patients on one side of it."""


class VariableProfile(Document):
    """One variable over every record read, whether or not it meets the criteria of a cohort."""

    variable: str
    kind: Literal["continuous", "integer", "binary", "categorical", "ordinal", "image", "signal", "mask"]
    unit: str = ""
    """Of numbers, as in the contract."""
    patients: int
    """With a value."""
    missing: int
    missing_fraction: float
    unknown_codes: int
    unreadable_values: int
    out_of_range: int
    quantiles: tuple[Quantile, ...] = ()
    """Of numbers: over patients, each with the mean of its records."""
    levels: tuple[LevelCount, ...] = ()
    """Of coded variables."""


class DateSpan(Document):
    """When nearly all patients' first records are, by month."""

    first: str | None
    """``YYYY-MM`` of the 1 % quantile, or of the outermost that can be shown; ``None``: too few patients."""
    last: str | None


class DataProfile(Document):
    """Everything that the profile shows."""

    notice: str = NOTICE
    site: str
    contract: str
    contract_digest: str
    smallest: int
    """Patients below whom a count or a quantile is hidden."""
    records: int
    patients: int
    duplicates: Duplicates
    dates: DateSpan | None
    """``None`` if the contract has no index date."""
    variables: tuple[VariableProfile, ...]
    problems: tuple[str, ...] = ()
    """What the source could not use, as in ``cohortium site data check``."""


def profile(survey: Survey, *, contract: DataContract, smallest: int = DEFAULT_SMALLEST) -> DataProfile:
    """Describe what a source found.

    Args:
        survey: What the source found, problems included.
        contract: Names, kinds, units and ranges.
        smallest: Patients below whom nothing is shown, at least 3.

    Raises:
        InvalidInputError: If ``smallest`` would let single patients show.
    """
    if smallest < _LEAST_SMALLEST:
        raise InvalidInputError(
            f"expected a smallest cell of at least {_LEAST_SMALLEST} patients, got {smallest}",
            remedy="leave --smallest out: 5 is usual",
        )
    records = survey.records
    keys, patient_of_record = np.unique(records.patient_keys, return_inverse=True)
    return DataProfile(
        site=records.site,
        contract=contract.name,
        contract_digest=contract.digest,
        smallest=smallest,
        records=len(records),
        patients=len(keys),
        duplicates=count_duplicates(records),
        dates=_dates(records, patient_of_record, smallest=smallest),
        variables=tuple(_variable(entry, survey, patient_of_record, smallest=smallest) for entry in contract.columns),
        problems=tuple(problem.message for problem in survey.problems),
    )


def _variable(
    variable: Variable, survey: Survey, patient_of_record: NDArray[np.int64], *, smallest: int
) -> VariableProfile:
    column = survey.records.values[variable.name]
    unknown = survey.unknown_codes.get(variable.name, 0)
    unreadable = survey.unreadable_values.get(variable.name, 0)
    implausible = survey.implausible_values.get(variable.name, 0)
    missing = max(0, int(np.isnan(column).sum()) - unknown - unreadable - implausible)
    usable = np.isfinite(column)
    values, owners = column[usable], patient_of_record[usable]
    is_number = isinstance(variable, Continuous | Integer)
    return VariableProfile(
        variable=variable.name,
        kind=variable.kind,
        unit=variable.unit if isinstance(variable, Continuous | Integer | Image | Signal) else "",
        patients=len(np.unique(owners)),
        missing=missing,
        missing_fraction=missing / len(column) if len(column) else 0.0,
        unknown_codes=unknown,
        unreadable_values=unreadable,
        out_of_range=int(out_of_range(variable, column).sum()) + implausible,
        quantiles=_quantiles(_means(values, owners), smallest=smallest) if is_number else (),
        levels=() if is_number else _levels(variable, values, owners, smallest=smallest),
    )


def _means(values: FloatArray, owners: NDArray[np.int64]) -> FloatArray:
    """``[P]``: each patient's mean."""
    _, codes, counts = np.unique(owners, return_inverse=True, return_counts=True)
    return np.bincount(codes, weights=values, minlength=len(counts)) / counts


def _quantiles(values: FloatArray, *, smallest: int) -> tuple[Quantile, ...]:
    return tuple(Quantile(share=share, value=_shown(_around(values, share, smallest))) for share in QUANTILES)


def _around(values: FloatArray, share: float, smallest: int) -> float | None:
    """Mean of the ``smallest`` values around the rank of a share of ``[P]`` values; ``None`` if fewer are on one side of it."""
    number = len(values)
    if number * min(share, 1 - share) < smallest - 1e-9:  # 500 * 0.01 must count as 5
        return None
    ordered = np.sort(values)
    start = round(share * (number - 1) - (smallest - 1) / 2)
    start = min(max(start, 0), number - smallest)
    return float(ordered[start : start + smallest].mean())


def _shown(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _levels(
    variable: Variable, values: FloatArray, owners: NDArray[np.int64], *, smallest: int
) -> tuple[LevelCount, ...]:
    names = (
        ("0", "1") if isinstance(variable, Binary) else tuple(str(level) for level in getattr(variable, "levels", ()))
    )
    records = [int((values == index).sum()) for index in range(len(names))]
    patients = [len(np.unique(owners[values == index])) for index in range(len(names))]
    hidden = {index for index, count in enumerate(patients) if 0 < count < smallest}
    others = [index for index, count in enumerate(records) if count and index not in hidden]
    if len(hidden) == 1 and others:
        hidden.add(min(others, key=records.__getitem__))  # or the one hidden count would be what is left of the sum
    return tuple(
        LevelCount(level=name, records=None if index in hidden else records[index]) for index, name in enumerate(names)
    )


def _dates(records: Records, patient_of_record: NDArray[np.int64], *, smallest: int) -> DateSpan | None:
    if records.index_dates is None:
        return None
    is_known = ~np.isnat(records.index_dates)
    days = records.index_dates[is_known].astype("datetime64[D]").astype(np.int64)
    owners = patient_of_record[is_known]
    order = np.lexsort((days, owners))
    first_of_each = np.r_[True, owners[order][1:] != owners[order][:-1]] if len(order) else np.zeros(0, dtype=np.bool_)
    firsts = days[order][first_of_each].astype(np.float64)
    lower = [_around(firsts, share, smallest) for share in QUANTILES]
    shown = [value for value in lower if value is not None]
    return DateSpan(first=_month(shown[0]), last=_month(shown[-1])) if shown else DateSpan(first=None, last=None)


def _month(day: float) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=round(day))).strftime("%Y-%m")
