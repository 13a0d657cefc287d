"""Audit of paid counts, of an evaluation or of preparation: noisy counts of two data sets that differ by one patient."""

from __future__ import annotations

from typing import Final

import numpy as np

from experiments.audit.gaussian_dp import FloatArray, gaussian_bound
from federation.data.contract import DataContract
from federation.data.encoding import feature_names
from federation.data.preparation import PreparationSpec
from federation.privacy.accounting import epsilon_of
from federation.privacy.audit_result import AuditResult
from federation.privacy.discrete import noisy_counts
from federation.privacy.events import DiscreteGaussian
from federation.privacy.randomness import RandomStreams
from federation.study.agreements import EvaluationNoise
from site_client.paid_preparation import preparation_counts
from site_client.patients import PatientDataset

_RELEASES_AT_ONCE: Final = 2**15
_OTHERS: Final = 20
"""Count of everybody else in the canary's cell."""


def audit_counts(
    noise: EvaluationNoise,
    event: DiscreteGaussian,
    *,
    delta: float,
    manifest_digest: str,
    streams: RandomStreams,
    seeded: bool,
    samples: int = 200_000,
    confidence: float = 0.95,
) -> AuditResult:
    """Attack single evaluations and bound their epsilon from below.

    The canary has as many records as may count, all in one cell of every table: it moves the counts as far as a patient
    can, by the manifest's own rules and not by the sensitivity that was charged for.

    Args:
        noise: What the manifest says of records and tables.
        event: What the ledger is charged for one evaluation.
        delta: Of the promise.
        manifest_digest: Of the study.
        streams: Of the noise.
        seeded: Whether they come from a known seed.
        samples: Independent evaluations with, and as many without, the canary; at least 200.
        confidence: Of the bound.

    Raises:
        InvalidInputError: If there are too few samples.
    """
    return _audit_cells(
        1 + len(noise.subgroups),
        moved=noise.max_records_per_patient,
        attacked="the noisy counts of one evaluation, with and without a canary patient",
        event=event,
        delta=delta,
        manifest_digest=manifest_digest,
        streams=streams,
        seeded=seeded,
        samples=samples,
        confidence=confidence,
    )


def audit_preparation(
    spec: PreparationSpec,
    contract: DataContract,
    *,
    delta: float,
    manifest_digest: str,
    streams: RandomStreams,
    seeded: bool,
    samples: int = 200_000,
    confidence: float = 0.95,
) -> AuditResult:
    """Attack paid preparation and bound its epsilon from below.

    The canary has the highest value of every number and the last level of every category. The cells it moves are found by the
    site's own counting, not from the sensitivity that was charged for.

    Args:
        spec: What is counted, and with how much noise.
        contract: Of the study.
        delta: Of the promise.
        manifest_digest: Of the study.
        streams: Of the noise.
        seeded: Whether they come from a known seed.
        samples: Independent releases with, and as many without, the canary; at least 200.
        confidence: Of the bound.

    Raises:
        InvalidInputError: If there are too few samples.
    """
    names = feature_names(contract)
    canary = PatientDataset(
        features=np.ones((1, len(names)), dtype=np.float32),
        outcomes=np.zeros(1, dtype=np.float32),
        patient_index=np.zeros(1, dtype=np.int64),
        feature_names=names,
    )
    moved = preparation_counts(canary, spec=spec, contract=contract)
    return _audit_cells(
        int(np.count_nonzero(moved)),
        moved=int(moved.max()),
        attacked="the noisy counts of preparation, with and without a canary patient",
        event=spec.event(contract),
        delta=delta,
        manifest_digest=manifest_digest,
        streams=streams,
        seeded=seeded,
        samples=samples,
        confidence=confidence,
    )


def _audit_cells(  # noqa: PLR0913 - the parts of an audit, all keyword-only but one
    cells: int,
    *,
    moved: int,
    attacked: str,
    event: DiscreteGaussian,
    delta: float,
    manifest_digest: str,
    streams: RandomStreams,
    seeded: bool,
    samples: int,
    confidence: float,
) -> AuditResult:
    """Attack counts of which the canary moves so many cells, each by as much."""
    absent = np.full(cells, _OTHERS, dtype=np.int64)
    present = absent + moved
    scores = [
        _sums_of_releases(counts, event=event, streams=streams.child(name), number=samples)
        for name, counts in (("present", present), ("absent", absent))
    ]
    bound = gaussian_bound(scores[0], scores[1], delta=delta, confidence=confidence)
    claimed = epsilon_of([event], delta=delta)
    return AuditResult(
        kind="mechanism",
        manifest_digest=manifest_digest,
        attacked=attacked,
        method="Gaussian-DP bound of the sum over the canary's cells (Nasr et al. 2023), Clopper-Pearson limits",
        samples=samples,
        confidence=confidence,
        lower_bound_epsilon=bound.epsilon,
        delta=delta,
        claimed_epsilon=claimed,
        seeded=seeded,
        passed=bound.epsilon <= claimed,
    )


def _sums_of_releases(
    counts: np.ndarray, *, event: DiscreteGaussian, streams: RandomStreams, number: int
) -> FloatArray:
    """``[number]`` independent releases of the same counts, each summed over the canary's cells."""
    scores = np.empty(number)
    for part, start in enumerate(range(0, number, _RELEASES_AT_ONCE)):
        size = min(_RELEASES_AT_ONCE, number - start)
        released = noisy_counts(np.tile(counts, size), mechanism=event, generator=streams.stream("noise", part))
        scores[start : start + size] = released.reshape(size, counts.size).sum(axis=1)
    return scores
