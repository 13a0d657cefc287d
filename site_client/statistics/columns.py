"""From a site's records to the columns of an analysis: cohort, selection, missing values, and what makes records unusable."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeVar

import numpy as np

from federation.data.contract import (
    Binary,
    Categorical,
    DataContract,
    ExcludeMissing,
    ForbidMissing,
    ImputeMissing,
    Ordinal,
    Outcome,
    TimeToEvent,
    Variable,
)
from federation.data.encoding import imputed_value
from federation.documents import Document
from federation.errors import ImplausibleValueError, UnknownCodeError
from federation.statistics.requests import Selection, StatisticsTerms
from federation.statistics.step import Columns
from site_client.patients import FloatArray, Records
from site_client.selection import select

_Kind = TypeVar("_Kind", bound=Document)
_ANY: Final = ImputeMissing(value=0)
"""Stands for "may be missing" while records are selected; nothing is imputed by it."""


def selected_records(
    records: Records, *, terms: StatisticsTerms, selection: Selection, is_private: bool = False
) -> Records:
    """The patients of an analysis, one record each unless the terms take several.

    Which of a patient's records are kept is decided by a keyed hash that no value influences.

    Args:
        records: All of the site, as a source gives them.
        terms: Contract and cohort.
        selection: Of the analysis.
        is_private: Whether the sums carry noise. A record that cannot be used is then left out in silence: an error would tell of
            one patient.

    Raises:
        RecordsError: A needed value is missing that the contract forbids to be missing, or a code is unknown.
        ManifestError: A criterion or a variable does not fit the contract.
    """
    contract = terms.contract
    if is_private:
        records, contract = _without_strange(records, contract), _tolerant(contract)
    else:
        _check_codes(records, contract)
    definition = terms.cohort.model_copy(
        update={
            "inclusion": (*terms.cohort.inclusion, *selection.where),
            "max_records_per_patient": terms.records_per_patient,
        }
    )
    needed = {contract.variable(name).name for name in selection.complete}
    relaxed = contract.model_copy(
        update={
            "variables": tuple(v if v.name in needed else _may_be_missing(v) for v in contract.variables),
            "outcome": contract.outcome if needed & _names(contract.outcome) else _may_be_missing(contract.outcome),
        }
    )
    return select(records, contract=relaxed, definition=definition).records


def as_columns(records: Records, *, terms: StatisticsTerms, selection: Selection) -> Columns:
    """The selected records as columns: what must be known is imputed where the contract says so, the rest is left as it is.

    Args:
        records: From :func:`selected_records`.
        terms: Supplies the imputed constants.
        selection: Of the analysis.
    """
    values: dict[str, FloatArray] = dict(records.values)
    for name in selection.complete:
        variable = terms.contract.variable(name)
        if isinstance(variable.missing, ImputeMissing):
            known = values[name]
            values[name] = np.where(np.isnan(known), imputed_value(variable, variable.missing), known)
    return Columns(values=values, records=len(records), patients=len(np.unique(records.patient_keys)))


def _names(outcome: Outcome) -> set[str]:
    columns = outcome.columns if isinstance(outcome, TimeToEvent) else (outcome,)
    return {column.name for column in columns}


def _may_be_missing(variable: _Kind) -> _Kind:
    return variable.model_copy(update={"missing": _ANY})


def _tolerant(contract: DataContract) -> DataContract:
    """The contract with records left out where it would have an error."""

    def leaves_out(variable: _Kind) -> _Kind:
        is_forbidden = isinstance(getattr(variable, "missing", None), ForbidMissing)
        return variable.model_copy(update={"missing": ExcludeMissing()}) if is_forbidden else variable

    variables = tuple(leaves_out(variable) for variable in contract.variables)
    return contract.model_copy(update={"variables": variables, "outcome": leaves_out(contract.outcome)})


def _without_strange(records: Records, contract: DataContract) -> Records:
    """Codes that the contract lacks, and infinity, are missing."""
    values = dict(records.values)
    for variable in contract.columns:
        column, levels = values[variable.name], _num_levels(variable)
        strange = np.isinf(column)
        if levels is not None:
            strange |= (column < 0) | (column >= levels) | (column != np.rint(column))
        values[variable.name] = np.where(strange, np.nan, column)
    return replace(records, values=values)


def _check_codes(records: Records, contract: DataContract) -> None:
    for variable in contract.columns:
        column = records.values[variable.name]
        levels = _num_levels(variable)
        known = column[~np.isnan(column)]
        if not np.isfinite(known).all():
            raise ImplausibleValueError(
                "expected finite numbers, got infinity",
                site=records.site,
                variable=variable.name,
                remedy="correct the records or the mapping",
            )
        if levels is None:
            continue
        strange = int(np.count_nonzero((known < 0) | (known >= levels) | (known != np.rint(known))))
        if strange:
            raise UnknownCodeError(
                f"expected levels of the contract, got {strange} records with another",
                site=records.site,
                variable=variable.name,
                remedy="map the code to a level of the contract, or ask the study lead to add the level",
            )


def _num_levels(variable: Variable) -> int | None:
    match variable:
        case Binary():
            return 2
        case Categorical() | Ordinal():
            return len(variable.levels)
        case _:
            return None
