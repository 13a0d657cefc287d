from __future__ import annotations

import numpy as np
import pytest

from experiments.audit.membership import _epsilon_of, _standardised, attack_rates, audit_membership
from experiments.audit.shadow_training import train_study
from federation.errors import InvalidInputError
from federation.privacy.noise import noisy_mean
from federation.privacy.randomness import seeded_streams
from site_client import training
from tests.experiments.audit.audited_study import audited_manifest, subject, wide_data, wide_manifest
from tests.small_study import SITES, contract, manifest, private, site_data

CLAIM = {"epsilon": 1.0, "delta": 1e-5, "confidence": 0.95}


def _noiseless(total, *, mechanism, generator):
    return noisy_mean(total, mechanism=mechanism.model_copy(update={"noise_multiplier": 1e-9}), generator=generator)


def _overfitted(number=40):
    study = wide_manifest()
    return study, tuple(wide_data(study, site, training=number, test=number) for site in SITES)


def test_a_private_model_passes_and_one_without_noise_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    study, sites = _overfitted()
    private_model = audit_membership(subject(study, sites=sites), num_shadow_models=4)
    assert private_model.passed
    assert private_model.lower_bound_epsilon < 0.5
    assert (private_model.samples, private_model.num_shadow_models) == (240, 4)
    monkeypatch.setattr(training, "noisy_mean", _noiseless)
    assert not audit_membership(subject(study, sites=sites), num_shadow_models=4).passed


def test_the_released_model_itself_is_attacked_if_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    study, sites = _overfitted()
    with monkeypatch.context() as patch:
        patch.setattr(training, "noisy_mean", _noiseless)
        leaking = train_study(
            study, {site.site: site.training for site in sites}, streams=seeded_streams(99, provenance="synthetic")
        )
        found = audit_membership(subject(study, sites=sites), num_shadow_models=4, released=leaking)
    assert not found.passed


def test_perfect_recognition_is_refuted_and_chance_is_not() -> None:
    is_member = np.arange(4000) % 2 == 0
    perfect = attack_rates(is_member.astype(float), is_member, **CLAIM)
    assert [rate.false_positives for rate in perfect] == [2, 20, 200]
    assert all(rate.true_positives == 2000 and rate.true_rate_lower > rate.allowed for rate in perfect)
    chance = attack_rates(np.random.default_rng(0).normal(size=4000), is_member, **CLAIM)
    assert all(rate.true_rate_lower <= rate.allowed for rate in chance)
    assert max(_epsilon_of(rate, delta=1e-5) for rate in chance) < 0.3


def test_thresholds_are_the_others_scores() -> None:
    is_member = np.array([True] * 30 + [False] * 100)
    scores = np.concatenate([np.full(30, 95.5), np.arange(100.0)])
    rates = attack_rates(scores, is_member, **CLAIM)
    # 0.1% and 1% of 100 others are 0 and 1: thresholds 99 and 98; 10% are 10: threshold 89.
    assert [(rate.false_positives, rate.true_positives) for rate in rates] == [(0, 0), (1, 0), (10, 30)]
    assert rates[2].false_rate == 0.1
    assert rates[2].true_rate == 1
    assert rates[2].true_rate_upper == 1


def test_the_claim_allows_more_with_epsilon_and_never_more_than_everything() -> None:
    is_member = np.arange(2000) % 2 == 0
    scores = np.arange(2000.0)
    allowed = [
        attack_rates(scores, is_member, epsilon=epsilon, delta=1e-5, confidence=0.95)[0].allowed
        for epsilon in (0.5, 2.0, 1000.0)
    ]
    assert allowed[0] < allowed[1] < allowed[2] == 1


def test_the_bound_exceeds_the_claim_exactly_where_the_rate_exceeds_what_is_allowed() -> None:
    is_member = np.arange(2000) % 2 == 0
    for shift in np.linspace(0, 3, 13):
        scores = np.random.default_rng(1).normal(size=2000) + shift * is_member
        for rate in attack_rates(scores, is_member, **CLAIM):
            assert (_epsilon_of(rate, delta=1e-5) > 1.0) == (rate.true_rate_lower > rate.allowed)


def test_confidence_is_compared_with_models_that_left_the_patient_out() -> None:
    confidences = np.array([[1.0, 10.0, 5.0], [3.0, 99.0, 7.0], [99.0, 12.0, 9.0]])
    seen = np.array([[False, False, True], [False, True, True], [True, False, True]])
    found = _standardised(np.array([4.0, 11.0, 7.0]), confidences, seen)
    spread = np.sqrt((1 + 1 + 1 + 1) / 2)
    np.testing.assert_allclose(found, [2 / spread, 0.0, 0.0])


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_are_attacked_too(task: str) -> None:
    outcome = {
        "multiclass": {"name": "care", "kind": "categorical", "levels": ["a", "b", "c"]},
        "regression": {"name": "days", "kind": "continuous", "unit": "day", "minimum": 0, "maximum": 60},
    }[task]
    study = manifest(task=task, contract=contract() | {"outcome": outcome}, privacy=private())
    found = audit_membership(subject(study), num_shadow_models=2)
    assert found.passed
    assert sum(rate.true_positives for rate in found.rates) > 0


def test_too_few_models_or_patients_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="shadow"):
        audit_membership(subject(), num_shadow_models=1)
    few = tuple(site_data(site, number=2) for site in SITES)
    with pytest.raises(InvalidInputError, match="training and test patients"):
        audit_membership(subject(audited_manifest(), sites=few), num_shadow_models=2)
