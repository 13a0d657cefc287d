"""Membership inference with 64 shadow models on models that could remember their patients (security.md, test 17)."""

from __future__ import annotations

import pytest

from experiments.audit.membership import audit_membership
from federation.privacy.noise import noisy_mean
from site_client import training
from tests.experiments.audit.audited_study import subject, wide_data, wide_manifest
from tests.small_study import SITES

pytestmark = [pytest.mark.statistical, pytest.mark.slow]


def test_acceptance_of_membership_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    study = wide_manifest(features=2000)
    sites = tuple(wide_data(study, site, training=60, test=350) for site in SITES)
    found = audit_membership(subject(study, sites=sites), num_shadow_models=64)
    assert found.passed
    first = found.rates[0]
    assert (first.false_positives, first.others) == (1, 1050), "0.1% of 1,050"
    assert first.true_rate_lower <= first.allowed < 0.05

    def noiseless(total, *, mechanism, generator):
        return noisy_mean(total, mechanism=mechanism.model_copy(update={"noise_multiplier": 1e-9}), generator=generator)

    monkeypatch.setattr(training, "noisy_mean", noiseless)
    leaking = audit_membership(subject(study, sites=sites), num_shadow_models=64)
    assert not leaking.passed
    assert leaking.rates[0].true_rate_lower > leaking.rates[0].allowed
