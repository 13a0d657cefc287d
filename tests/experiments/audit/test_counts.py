from __future__ import annotations

import math

import pytest

from experiments.audit import counts
from experiments.audit.counts import audit_counts
from experiments.audit.gaussian_dp import epsilon_of_mu
from federation.privacy.discrete import noisy_counts
from federation.privacy.events import DiscreteGaussian
from federation.privacy.randomness import seeded_streams
from federation.study.agreements import EvaluationNoise

NOISE = EvaluationNoise(variance=60, max_records_per_patient=3, subgroups=("sex", "ward"))
CHARGED = DiscreteGaussian(sensitivity_squared=NOISE.sensitivity_squared, variance=60)


def _audit(noise=NOISE, event=CHARGED):
    return audit_counts(
        noise,
        event,
        delta=1e-5,
        manifest_digest="sha256:0",
        streams=seeded_streams(1, provenance="synthetic"),
        seeded=True,
        samples=50_000,
    )


def test_counts_as_they_are_pass_and_the_bound_is_near() -> None:
    found = _audit()
    truth = epsilon_of_mu(math.sqrt(27 / 60), delta=1e-5)
    assert found.passed
    assert 0.85 * truth < found.lower_bound_epsilon < truth < found.claimed_epsilon


def test_less_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def quieter(values, *, mechanism, generator):
        return noisy_counts(values, mechanism=mechanism.model_copy(update={"variance": 15}), generator=generator)

    monkeypatch.setattr(counts, "noisy_counts", quieter)
    assert not _audit().passed


def test_a_charge_that_forgets_records_or_tables_is_caught() -> None:
    assert not _audit(event=CHARGED.model_copy(update={"sensitivity_squared": 3})).passed
    assert not _audit(event=CHARGED.model_copy(update={"sensitivity_squared": 9})).passed
