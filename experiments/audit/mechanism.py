"""Audit of one noisy release: the site's own step code on two data sets that differ by one canary patient.

The canary has three records with huge gradients, so a clip that is missing, taken a record instead of a patient, or
taken a coordinate shows as well as a wrong noise scale. Every patient is drawn: then one release is exactly a Gaussian
mechanism, and its true epsilon has a closed formula to compare with. The accountant's epsilon, which is the claim, is
by Rényi divergences and a little larger.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from experiments.audit.canaries import BEYOND_ANY_PREDICTION
from experiments.audit.gaussian_dp import FloatArray, epsilon_of_mu, gaussian_bound
from federation.errors import InternalError
from federation.models.build import build_model
from federation.models.spec import LinearSpec
from federation.privacy.accounting import epsilon_of
from federation.privacy.audit_result import AuditResult
from federation.privacy.events import PROBABILITY_DENOMINATOR, SubsampledGaussian
from federation.privacy.noise import noisy_mean
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams, public_streams
from site_client.patient_gradients import patient_gradients
from site_client.patients import PatientDataset

_PATIENTS: Final = 5
_CANARY_RECORDS: Final = 3
_FEATURES: Final = 7
_HUGE: Final = 1e6
"""Far beyond any clipping norm, yet finite: an infinite gradient would be left out."""
_RELEASES_AT_ONCE: Final = 2**15
"""Noise for so many releases is held in memory at a time."""


def audit_mechanism(
    mechanism: MechanismSpec,
    *,
    delta: float,
    manifest_digest: str,
    streams: RandomStreams,
    seeded: bool,
    samples: int = 200_000,
    confidence: float = 0.95,
) -> AuditResult:
    """Attack single releases and bound their epsilon from below.

    Args:
        mechanism: Clipping norm, noise multiplier and divisor are used as they are.
        delta: Of the promise.
        manifest_digest: Of the study.
        streams: Of the noise.
        seeded: Whether they come from a known seed.
        samples: Independent releases with, and as many without, the canary; at least 200.
        confidence: Of the bound.

    Raises:
        InvalidInputError: If there are too few samples.
        InternalError: If the canary does not move the sum.
    """
    absent, present = _clipped_sums(mechanism)
    direction = present - absent
    length = float(np.linalg.norm(direction))
    if length == 0:
        raise InternalError("expected the canary to move the clipped sum, got the same sum without it")
    scores = [
        _projected_releases(total, direction / length, mechanism=mechanism, streams=streams.child(name), number=samples)
        for name, total in (("present", present), ("absent", absent))
    ]
    bound = gaussian_bound(scores[0], scores[1], delta=delta, confidence=confidence)
    claimed = claim_of_one_release(mechanism, delta=delta)
    return AuditResult(
        kind="mechanism",
        manifest_digest=manifest_digest,
        attacked="one noisy release with every patient drawn, with and without a canary patient",
        method="Gaussian-DP bound of the projection on the canary's gradient (Nasr et al. 2023), Clopper-Pearson limits",
        samples=samples,
        confidence=confidence,
        lower_bound_epsilon=bound.epsilon,
        delta=delta,
        claimed_epsilon=claimed,
        exact_epsilon=epsilon_of_mu(1 / mechanism.noise_multiplier, delta=delta),
        seeded=seeded,
        passed=bound.epsilon <= claimed,
    )


def claim_of_one_release(mechanism: MechanismSpec, *, delta: float) -> float:
    """The accountant's epsilon of one release with every patient drawn: the claim that the bound is held against."""
    event = SubsampledGaussian(
        noise_multiplier=mechanism.noise_multiplier, sampling_numerator=PROBABILITY_DENOMINATOR, steps=1
    )
    return epsilon_of([event], delta=delta)


def _clipped_sums(mechanism: MechanismSpec) -> tuple[FloatArray, FloatArray]:
    """``[D]`` sums over all patients without and with the canary, by the code that sums them at a site."""
    patients = _patients()
    network = build_model(LinearSpec(kind="linear"), task="binary", num_features=_FEATURES, num_outputs=1, private=True)
    with patient_gradients(network, patients, task="binary", mechanism=mechanism) as gradients:
        everyone = np.arange(patients.num_patients)
        return (
            gradients.clipped_sum(everyone[:-1], clipping_norm=mechanism.clipping_norm),
            gradients.clipped_sum(everyone, clipping_norm=mechanism.clipping_norm),
        )


def _patients() -> PatientDataset:
    """Ordinary patients of one record each; the last patient is the canary."""
    stream = public_streams("audit/mechanism", 0).stream("patients")
    features = stream.standard_normal((_PATIENTS + _CANARY_RECORDS, _FEATURES)).astype(np.float32)
    outcomes = (np.arange(len(features)) % 2).astype(np.float32)
    features[_PATIENTS:] = _HUGE * np.sign(features[_PATIENTS])
    outcomes[_PATIENTS:] = BEYOND_ANY_PREDICTION
    index = np.concatenate([np.arange(_PATIENTS), np.full(_CANARY_RECORDS, _PATIENTS)])
    return PatientDataset(
        features=features,
        outcomes=outcomes,
        patient_index=index.astype(np.int64),
        feature_names=tuple(f"x{number}" for number in range(_FEATURES)),
    )


def _projected_releases(
    total: FloatArray, direction: FloatArray, *, mechanism: MechanismSpec, streams: RandomStreams, number: int
) -> FloatArray:
    """``[number]`` independent releases of the same sum, each projected on the canary's direction.

    The coordinates of a release have independent noise, so many releases are one release of the sum repeated.
    """
    scores = np.empty(number)
    for part, start in enumerate(range(0, number, _RELEASES_AT_ONCE)):
        size = min(_RELEASES_AT_ONCE, number - start)
        released = noisy_mean(np.tile(total, size), mechanism=mechanism, generator=streams.stream("noise", part))
        scores[start : start + size] = released.reshape(size, total.size) @ direction
    return scores
