"""Reading prepared studies in tests."""

from __future__ import annotations

import datetime as dt

import numpy as np

from experiments.studies.catalogue import PreparedStudy
from federation.data.contract import ImputeMissing
from site_client.patients import Records

TODAY = dt.date(2025, 6, 1)


def read_all(study: PreparedStudy) -> dict[str, Records]:
    return {site.site: site.source.read(study.definition.contract, today=TODAY) for site in study.sites}


def usable(study: PreparedStudy, records: Records) -> np.ndarray:
    """Rows on which nothing is missing that the contract does not impute."""
    rows = np.ones(len(records), dtype=bool)
    for variable in study.definition.contract.columns:
        if not isinstance(variable.missing, ImputeMissing):
            rows &= ~np.isnan(records.values[variable.name])
    return rows
