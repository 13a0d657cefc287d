"""From a source to a site's encoded patients: survey, readiness, selection, division, encoding.

Several rows of a patient are kept together throughout. Nothing is fitted on patients, unless the study asks for
``site_standardised``, which a private study cannot.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from federation.data.arrays import Image, Mask, Signal
from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract, Variable
from federation.data.encoding import encode_features, encode_outcome, encode_variable, feature_names
from federation.data.survival import encode_times
from federation.errors import InternalError, MappingError
from federation.identifiers import TaskKind
from site_client.arrays.streamed import ArrayBlock, Block, DenseBlock, StreamedRows
from site_client.data_checks import Assessment, assess
from site_client.division import divide, patient_order
from site_client.patients import Attrition, Features, PatientDataset, Records, SiteData
from site_client.readiness import ReadinessReport
from site_client.selection import select
from site_client.sources.source import RecordSource, survey

__all__ = ["ExtractionResult", "Preprocessing", "check", "divide", "encode", "extract", "select", "standardise"]

Preprocessing = Literal["public_ranges", "site_standardised"]


@dataclass(frozen=True)
class ExtractionResult:
    """A site's patients, ready for training, and how they came about."""

    data: SiteData
    readiness: ReadinessReport
    attrition: Attrition


def extract(
    source: RecordSource,
    *,
    site: str,
    contract: DataContract,
    definition: CohortDefinition,
    task: TaskKind,
    preprocessing: Preprocessing = "public_ranges",
    today: dt.date,
) -> ExtractionResult:
    """Read, check, select, divide and encode a site's patients.

    Args:
        source: Where the records are.
        site: Whose they must be.
        contract: Variables, outcome and their rules.
        definition: Who is in the study, and how patients are divided.
        task: What is learned.
        preprocessing: ``public_ranges``, or ``site_standardised``: features further standardised by the site's own training mean
            and standard deviation (ddof 1).
        today: The day of extraction: later dates are in the future.

    Raises:
        RecordsError: The first problem of the readiness report, naming site, variable and remedy.
        ManifestError: The cohort definition does not fit the contract.
    """
    assessment = check(source, site=site, contract=contract, definition=definition, today=today)
    assessment.report.raise_if_failed()
    if assessment.cohort is None or assessment.division is None:
        raise InternalError("expected a cohort where readiness passed, got none")
    training, test = assessment.division
    data = SiteData(
        site=site,
        training=encode(training, contract=contract, definition=definition, task=task),
        test=encode(test, contract=contract, definition=definition, task=task),
    )
    if preprocessing == "site_standardised":
        data = standardise(data)
    return ExtractionResult(data=data, readiness=assessment.report, attrition=assessment.cohort.attrition)


def check(
    source: RecordSource, *, site: str, contract: DataContract, definition: CohortDefinition, today: dt.date
) -> Assessment:
    """The readiness report of a site, and its cohort if the records are ready. Arguments as in :func:`extract`.

    Raises:
        RecordsError: Nothing can be read at all, or the source is another site's.
        ManifestError: The cohort definition does not fit the contract.
    """
    definition.check_against(contract)
    found = survey(source, contract, today=today)
    if found.records.site != site:
        raise MappingError(
            f"expected the records of site {site!r}, got those of {found.records.site!r}",
            site=site,
            remedy="use the mapping of this site, or correct `site` in it",
        )
    return assess(found, contract=contract, definition=definition)


def encode(records: Records, *, contract: DataContract, definition: CohortDefinition, task: TaskKind) -> PatientDataset:
    """Encode selected records by public facts only, patients in keyed-hash order.

    Args:
        records: ``[R]``, as :func:`select` and :func:`divide` left them.
        contract: Supplies ranges, levels and imputed constants.
        definition: Supplies ``split_key``.
        task: What is learned.

    Returns:
        R records of P patients; a patient's records are adjacent, by date.
    """
    rows, patient_index = patient_order(records, split_key=definition.split_key)
    ordered = records.rows(rows)
    return PatientDataset(
        features=_features(ordered, contract),
        outcomes=_outcomes(ordered, contract, task),
        patient_index=patient_index,
        feature_names=feature_names(contract),
    )


def _features(records: Records, contract: DataContract) -> Features:
    """``[R, F]``: in memory, or streamed where there are arrays."""
    if not any(isinstance(variable, Image | Signal | Mask) for variable in contract.variables):
        return encode_features(contract, records.values)
    return StreamedRows([_block(variable, records) for variable in contract.variables])


def _outcomes(records: Records, contract: DataContract, task: TaskKind) -> Features:
    if isinstance(contract.outcome, Mask):
        return StreamedRows([_block(contract.outcome, records)])
    if task == "survival":
        return encode_times(contract, records.values)
    return encode_outcome(contract, task, records.values[contract.outcome.name])


def _block(variable: Variable, records: Records) -> Block:
    column = records.values[variable.name]
    if not isinstance(variable, Image | Signal | Mask):
        return DenseBlock(encode_variable(variable, column))
    if np.isnan(column).any():
        raise InternalError(f"expected records without {variable.name} to be left out before encoding")
    row = column.astype(np.int64)
    return ArrayBlock(variable, (records.arrays[variable.name],), np.zeros_like(row), row)


def standardise(data: SiteData) -> SiteData:
    """Standardise features by the mean and standard deviation (ddof 1) of the site's own training records.

    An unpaid release in a private study: manifests refuse the combination. A feature that is constant in training keeps its
    scale.
    """
    features = data.training.in_memory.astype(np.float64)
    mean = features.mean(axis=0)
    spread = features.std(axis=0, ddof=1) if len(features) > 1 else np.ones_like(mean)
    spread = np.where(spread > 0, spread, 1.0)

    def of(part: PatientDataset) -> PatientDataset:
        return replace(part, features=((part.in_memory.astype(np.float64) - mean) / spread).astype(np.float32))

    return SiteData(site=data.site, training=of(data.training), test=of(data.test))
