"""The one-run audit on a setting built for it: 5,000 canaries, epsilon 8, every patient drawn in each of eight steps."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.audit.one_run import audit_one_run
from federation.privacy.accounting import spent
from federation.privacy.clipping import to_grid
from federation.privacy.noise import noisy_mean
from site_client import dp_step, patient_gradients, training
from tests.experiments.audit.audited_study import DELTA, audited_manifest, subject
from tests.small_study import contract


def test_the_bound_is_within_the_claim_and_not_empty() -> None:
    found = audit_one_run(subject(seed=3))
    study = audited_manifest()
    assert found.passed
    assert 3 <= found.lower_bound_epsilon <= found.claimed_epsilon <= 8
    assert found.claimed_epsilon == spent(study.mechanism("north"), rounds_done=4, delta=DELTA).epsilon
    assert (found.samples, found.manifest_digest, found.seeded) == (5000, study.digest, True)
    assert found.num_guesses is not None
    assert found.num_correct is not None
    assert found.num_correct <= found.num_guesses


def test_training_without_clipping_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(gradients, *, clipping_norm, **_):
        return to_grid(gradients.copy(), clipping_norm=clipping_norm).sum(axis=0)

    for module in (patient_gradients, training):
        monkeypatch.setattr(module, "stacked_network", lambda _: None)
    monkeypatch.setattr(dp_step, "clipped_sum", unclipped)
    found = audit_one_run(subject())
    assert found.lower_bound_epsilon > 8
    assert not found.passed


def test_training_with_a_quarter_of_the_noise_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    def quieter(total, *, mechanism, generator):
        less = mechanism.model_copy(update={"noise_multiplier": mechanism.noise_multiplier / 4})
        return noisy_mean(total, mechanism=less, generator=generator)

    monkeypatch.setattr(training, "noisy_mean", quieter)
    assert not audit_one_run(subject()).passed


def test_training_that_draws_everyone_whatever_was_promised_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    promised = audited_manifest(epsilon=2.0, probability=0.125, rounds=2, steps=4)
    assert audit_one_run(subject(promised), num_canaries=2000).passed

    def everyone(num_patients, *, numerator, generator):
        return np.arange(num_patients)

    monkeypatch.setattr(training, "poisson_sample", everyone)
    assert not audit_one_run(subject(promised), num_canaries=2000).passed


def test_several_classes_are_audited_too() -> None:
    study = audited_manifest().model_dump(mode="json") | {"task": "multiclass"}
    study["contract"] = contract() | {"outcome": {"name": "care", "kind": "categorical", "levels": ["a", "b", "c"]}}
    found = audit_one_run(subject(type(audited_manifest()).from_data(study)), num_canaries=2000)
    assert found.passed
    assert found.lower_bound_epsilon > 1


def test_progress_names_rounds_and_stays_short() -> None:
    said: list[str] = []
    study = audited_manifest(rounds=40, steps=1)
    audit_one_run(subject(study, report=said.append), num_canaries=20)
    assert said[0] == "canaries: round 1 of 40"
    assert 9 <= len(said) <= 11
