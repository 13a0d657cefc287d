"""From a site's records to the study's cohort: range rules, criteria, missing rules, record cap, and what each step left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.data.cohort import CohortDefinition, Criterion, Scalar
from federation.data.contract import (
    Binary,
    Categorical,
    Continuous,
    DataContract,
    ExcludeMissing,
    ForbidMissing,
    Integer,
    Ordinal,
    TimeToEvent,
    Variable,
)
from federation.errors import ManifestError, RecordsError
from site_client.division import capped
from site_client.patients import Attrition, Cohort, FloatArray, Records

Mask = NDArray[np.bool_]

_COMPARISONS: Final[dict[str, Callable[[FloatArray, float], Mask]]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_NEEDS_ORDER: Final = {"lt", "le", "gt", "ge", "between"}


def select(records: Records, *, contract: DataContract, definition: CohortDefinition) -> Cohort:
    """The records that enter the study, and an attrition table that stays at the site.

    In this order: values outside their range are treated as the contract says; inclusion and exclusion criteria; records without
    an index date; records with a missing value that the contract excludes, or whose
    follow-up ends before it began; the record cap.

    Args:
        records: As a source gives them.
        contract: Ranges and missing rules.
        definition: Criteria and record cap.

    Raises:
        RecordsError: A value is missing that the contract forbids to be missing.
        ManifestError: A criterion does not fit its variable.
    """
    definition.check_against(contract)
    records = within_range(records, contract=contract)
    _, patients = np.unique(records.patient_keys, return_inverse=True)
    keep: Mask = np.ones(len(records), dtype=np.bool_)
    steps = [("records read", *_left(patients, keep))]
    for label, fits in _conditions(records, contract, definition):
        keep &= fits
        steps.append((label, *_left(patients, keep)))
    _check_forbidden(records, keep, contract)
    selected = records.rows(keep)
    stays = capped(selected, definition=definition)
    label = f"at most {definition.max_records_per_patient} record(s) per patient"
    steps.append((label, *_left(patients[keep], stays)))
    return Cohort(records=selected.rows(stays), attrition=Attrition(steps=tuple(steps)))


def within_range(records: Records, *, contract: DataContract) -> Records:
    """Values outside their plausible range become missing or move to the nearest bound, as the contract says."""
    values = {variable.name: _within(variable, records.values[variable.name]) for variable in contract.columns}
    return Records(site=records.site, patient_keys=records.patient_keys, values=values, index_dates=records.index_dates)


def out_of_range(variable: Variable, column: FloatArray) -> Mask:
    """``[R]``: where a number lies outside its plausible range. Missing values do not."""
    if not isinstance(variable, Continuous | Integer):
        return np.zeros(len(column), dtype=np.bool_)
    return (column < variable.minimum) | (column > variable.maximum)


def describe(criterion: Criterion) -> str:
    """A criterion as a reader would say it: ``age ge 18``."""
    value = criterion.value
    shown = " and ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
    return " ".join(part for part in (criterion.variable, criterion.operator, shown) if part)


def _within(variable: Variable, column: FloatArray) -> FloatArray:
    if not isinstance(variable, Continuous | Integer) or variable.out_of_range == "forbid":
        return column
    if variable.out_of_range == "clip":
        return np.clip(column, variable.minimum, variable.maximum)
    return np.where(out_of_range(variable, column), np.nan, column)


def _conditions(records: Records, contract: DataContract, definition: CohortDefinition) -> Generator[tuple[str, Mask]]:
    for criterion in definition.inclusion:
        yield f"included: {describe(criterion)}", _meets(criterion, contract, records)
    for criterion in definition.exclusion:
        yield f"excluded: {describe(criterion)}", ~_meets(criterion, contract, records)
    if contract.index_date is not None and records.index_dates is not None:
        yield f"{contract.index_date.name} present", ~np.isnat(records.index_dates)
    for variable in contract.columns:
        if isinstance(variable.missing, ExcludeMissing):
            yield f"{variable.name} present", ~np.isnan(records.values[variable.name])
    outcome = contract.outcome
    if isinstance(outcome, TimeToEvent) and outcome.entry is not None:
        # Missing times were left out before, or are an error of their own.
        yield (
            f"{outcome.name} not before {outcome.entry}",
            ~(records.values[outcome.name] < records.values[outcome.entry]),
        )


def _meets(criterion: Criterion, contract: DataContract, records: Records) -> Mask:
    """``[R]``: whether a record meets the criterion. A missing value meets none."""
    variable = contract.variable(criterion.variable)
    if isinstance(variable, Categorical | Binary) and criterion.operator in _NEEDS_ORDER:
        raise ManifestError(
            f"expected eq, ne, in or present on {variable.name} of kind {variable.kind!r}, got {criterion.operator!r}",
            remedy="its levels have no order: list those that are meant with `in`",
        )
    column = records.values[criterion.variable]
    present = ~np.isnan(column)
    operands = criterion.value if isinstance(criterion.value, tuple) else (criterion.value,)
    numbers = [_as_number(variable, operand) for operand in operands if operand is not None]
    return present & _compare(criterion.operator, column, numbers)


def _compare(operator: str, column: FloatArray, numbers: list[float]) -> Mask:
    match operator:
        case "present":
            return np.ones(len(column), dtype=np.bool_)
        case "in":
            return np.isin(column, numbers)
        case "between":
            return (column >= numbers[0]) & (column <= numbers[1])
        case _:
            return _COMPARISONS[operator](column, numbers[0])


def _as_number(variable: Variable, value: Scalar) -> float:
    """A criterion's constant in the terms of a record."""
    if isinstance(variable, Categorical | Ordinal):
        return float(variable.levels.index(str(value)))
    fits = value in {0, 1} if isinstance(variable, Binary) else not isinstance(value, bool)
    if isinstance(value, str) or not fits:
        raise ManifestError(
            f"expected a criterion on {variable.name} that compares with "
            f"{'true or false' if isinstance(variable, Binary) else 'a number'}, got {value!r}",
            remedy="correct inclusion and exclusion of the cohort definition",
        )
    return float(value)


def _check_forbidden(records: Records, keep: Mask, contract: DataContract) -> None:
    for variable in contract.columns:
        count = int(np.isnan(records.values[variable.name][keep]).sum())
        if count and isinstance(variable.missing, ForbidMissing):
            raise RecordsError(
                f"expected no missing value, got {count}",
                site=records.site,
                variable=variable.name,
                remedy="complete the column, or ask the study lead for another missing rule",
            )


def _left(patients: NDArray[np.int64], keep: Mask) -> tuple[int, int]:
    return int(keep.sum()), int(np.count_nonzero(np.bincount(patients[keep]))) if len(patients) else 0
