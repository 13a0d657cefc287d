"""A released model on the site's own patients. Everything stays here.

A site that took part scores its test patients, whom the model has never seen; any other site scores all of its patients who meet
the study's cohort definition.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from federation.data.contract import DataContract, TimeToEvent
from federation.data.encoding import decode_outcome
from federation.documents import Document
from federation.errors import CohortTooSmallError, InternalError
from federation.study.manifest import StudyManifest
from federation.study.model_file import StudyModel
from site_client.division import divide, patient_order
from site_client.evaluation import evaluate, predict
from site_client.extraction import check, encode
from site_client.paid_preparation import prepared_dataset
from site_client.patients import PatientDataset, Records
from site_client.sources.source import RecordSource

Whom = Literal["test", "all"]


class LocalPerformance(Document):
    """How the model does here. For the site's own eyes: exact figures on single patients, without noise."""

    site: str
    study: str
    manifest_digest: str
    patients_scored: Whom
    patients: int
    records: int
    metrics: dict[str, float]
    """As the study computes them, so that they compare; ``auroc`` then counts scores of one bin as equal. ``auroc_by_rank`` does
    not."""


@dataclass(frozen=True)
class LocalScores:
    """Performance, and the scores behind it.

    Attributes:
        performance: Over all scored records.
        patient_keys: ``[R]``.
        scores: ``[R]`` probability, count, log relative hazard or prediction in the outcome's unit; ``[R, K]`` class probabilities,
            quantiles in the outcome's unit, or probabilities to be event-free at each edge.
        outcomes: ``[R]`` in the contract's terms; ``[R, 2]`` time from entry and event, of an outcome in time.
    """

    performance: LocalPerformance
    patient_keys: NDArray[np.str_] = field(repr=False)
    scores: NDArray[np.float64] = field(repr=False)
    outcomes: NDArray[np.float64] = field(repr=False)


def score_site(
    model: StudyModel, source: RecordSource, *, site: str, whom: Whom | None = None, today: dt.date
) -> LocalScores:
    """Score a site's patients.

    Args:
        model: Of a release that was checked.
        source: The site's records.
        site: Whose they must be.
        whom: ``test``: only those whom the study's division holds out; without: those if the site took part, otherwise all.
        today: The day of extraction: later dates are in the future.

    Raises:
        RecordsError: If the records do not meet the study's contract, or nobody is left to score.
    """
    manifest = model.manifest
    chosen: Whom = whom or ("test" if site in {entry.site for entry in manifest.roster} else "all")
    records = _cohort(manifest, source, site=site, today=today)
    if chosen == "test":
        _, records = divide(records, definition=manifest.cohort)
    if not len(records):
        raise CohortTooSmallError(
            "expected patients to score, got none", site=site, remedy="see `cohortium site data check` for who is left"
        )
    dataset = encode(records, contract=manifest.contract, definition=manifest.cohort, task=manifest.task)
    return _scored(model, prepared_dataset(dataset, model.prepared), records, site=site, whom=chosen)


def scores_csv(scores: LocalScores, manifest: StudyManifest) -> str:
    """Scores as CSV, one line a record: patient key, score or one column for each level, outcome. Identifies patients."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    outcome = manifest.contract.outcome
    outcomes = scores.outcomes if scores.outcomes.ndim > 1 else scores.outcomes[:, None]
    outcome_names = [outcome.name, outcome.event] if isinstance(outcome, TimeToEvent) else [outcome.name]
    columns = scores.scores if scores.scores.ndim > 1 else scores.scores[:, None]
    names = ["score"] if scores.scores.ndim == 1 else [f"score_{level}" for level in range(columns.shape[1])]
    writer.writerow([manifest.contract.patient_key, *names, *outcome_names])
    for key, row, truth in zip(scores.patient_keys, columns, outcomes, strict=True):
        writer.writerow([key, *(repr(float(value)) for value in (*row, *truth))])
    return text.getvalue()


def _cohort(manifest: StudyManifest, source: RecordSource, *, site: str, today: dt.date) -> Records:
    assessment = check(source, site=site, contract=manifest.contract, definition=manifest.cohort, today=today)
    assessment.report.raise_if_failed()
    if assessment.cohort is None:
        raise InternalError("expected a cohort where readiness passed, got none")
    return assessment.cohort.records


def _scored(model: StudyModel, dataset: PatientDataset, records: Records, *, site: str, whom: Whom) -> LocalScores:
    manifest, module = model.manifest, model.module()
    contract = manifest.contract
    sums = evaluate(module, dataset, task=manifest.objective, score_bins=manifest.evaluation.score_bins)
    said = predict(module, dataset, task=manifest.objective).astype(np.float64)
    order, _ = patient_order(records, split_key=manifest.cohort.split_key)
    return LocalScores(
        performance=LocalPerformance(
            site=site,
            study=manifest.study,
            manifest_digest=manifest.digest,
            patients_scored=whom,
            patients=dataset.num_patients,
            records=dataset.num_records,
            metrics=sums.derive() | _by_rank(manifest, said, dataset.outcomes),
        ),
        patient_keys=records.patient_keys[order],
        scores=decode_outcome(contract, said) if manifest.task in {"regression", "quantile"} else said,
        outcomes=_outcomes(contract, records)[order],
    )


def _outcomes(contract: DataContract, records: Records) -> NDArray[np.float64]:
    outcome = contract.outcome
    if not isinstance(outcome, TimeToEvent):
        return records.values[outcome.name]
    entry = 0.0 if outcome.entry is None else records.values[outcome.entry]
    return np.stack([records.values[outcome.name] - entry, records.values[outcome.event]], axis=1)


def _by_rank(manifest: StudyManifest, scores: NDArray[np.float64], outcomes: NDArray[np.float32]) -> dict[str, float]:
    """Area under the curve from the ranks of all scores (Mann & Whitney 1947); empty with one outcome class."""
    positive = outcomes > 0
    if manifest.task != "binary" or positive.all() or not positive.any():
        return {}
    number, others = int(positive.sum()), int((~positive).sum())
    ranks = np.asarray(rankdata(scores), dtype=np.float64)
    return {"auroc_by_rank": float((ranks[positive].sum() - number * (number + 1) / 2) / (number * others))}
