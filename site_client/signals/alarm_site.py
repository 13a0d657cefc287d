"""A site's part in sums about alarms: the model's score of every test window, with its time and its patient's onset.

Scores and times stay here; what leaves is the vector of counts of :class:`~federation.statistics.alarms.AlarmStep`, masked in a
secure sum.

Axis names: R windows.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from federation.errors import PrivacyRefusedError, RecordsError
from federation.statistics.alarms import AlarmStep
from federation.statistics.requests import Selection, StepRequest
from federation.statistics.step import Columns
from federation.statistics.wide_sums import Words
from federation.study.model_file import StudyModel
from site_client.arrays.store import RECORDS_FILE, read_store
from site_client.division import patient_order
from site_client.evaluation import predict
from site_client.extraction import check, encode
from site_client.paid_preparation import prepared_dataset
from site_client.sources.source import RecordSource
from site_client.statistics.site import StatisticsSite

_SECONDS: Final = 3600.0


@dataclass
class AlarmSite(StatisticsSite):
    """Answers steps about alarms and no others, over all test windows and no selection of them.

    Args:
        windows: Columns of an alarm step.
    """

    windows: Columns = field(default_factory=lambda: Columns(values={}, records=0), repr=False)

    def _words(self, request: StepRequest) -> Words:
        if not isinstance(request.step, AlarmStep):
            raise PrivacyRefusedError(
                "expected a step about alarms, got another",
                remedy="ask the site's statistics for other analyses",
                reason="step",
            )
        return super()._words(request)

    def _columns(self, selection: Selection, *, is_private: bool = False) -> Columns:
        if is_private or selection != Selection():
            raise PrivacyRefusedError(
                "expected all test windows without noise, got a selection",
                remedy="ask without a selection",
                reason="selection",
            )
        return self.windows


def alarm_columns(
    model: StudyModel, source: RecordSource, *, store: Path, variable: str, site: str, today: dt.date
) -> Columns:
    """Scores of the site's test windows, with times from the store's table.

    Args:
        model: Of the study.
        source: Reads the store.
        store: Folder of the store, for the times of windows.
        variable: The contract's signal.
        site: Whose it is.
        today: The day of extraction.

    Raises:
        RecordsError: If the records do not meet the contract, or the store has no times.
    """
    manifest = model.manifest
    assessment = check(source, site=site, contract=manifest.contract, definition=manifest.cohort, today=today)
    assessment.report.raise_if_failed()
    if assessment.division is None:
        raise RecordsError("expected a cohort, got none", site=site, remedy="see the readiness report")
    _, records = assessment.division
    dataset = encode(records, contract=manifest.contract, definition=manifest.cohort, task=manifest.task)
    order, patients = patient_order(records, split_key=manifest.cohort.split_key)
    times = _times(store, variable, site)
    rows = records.values[variable][order].astype(np.int64).tolist()
    score = predict(model.module(), prepared_dataset(dataset, model.prepared), task=manifest.objective).astype(
        np.float64
    )
    return Columns(
        values={
            "patient": patients.astype(np.float64),
            "end_hour": np.array([times[row][0] for row in rows], dtype=np.float64),
            "score": score,
            "onset_hour": np.array([times[row][1] for row in rows], dtype=np.float64),
        },
        records=len(rows),
    )


def _times(store: Path, variable: str, site: str) -> dict[int, tuple[float, float]]:
    """Row of the array's file to the window's end and its patient's onset, in hours; without an onset infinite."""
    read_store(store, site=site)
    found: dict[int, tuple[float, float]] = {}
    try:
        with (store / RECORDS_FILE).open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                onset = line["onset_seconds"]
                end = float(line["window_end_seconds"]) / _SECONDS
                found[int(line[variable])] = (end, float(onset) / _SECONDS if onset else math.inf)
    except (KeyError, ValueError, OSError) as failure:
        kind = type(failure).__name__
    else:
        return found
    raise RecordsError(
        f"expected a store with the times of its windows, got {kind}",
        site=site,
        remedy="import the recordings with `cohortium site signals import`",
    )
