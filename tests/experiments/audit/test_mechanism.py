"""The audit of one release passes the step as it is, and fails each planted fault."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.audit import mechanism as audited
from experiments.audit.mechanism import audit_mechanism, claim_of_one_release
from federation.errors import InternalError
from federation.privacy.clipping import clip, to_grid
from federation.privacy.noise import noisy_mean
from federation.privacy.randomness import seeded_streams
from site_client import dp_step, kernel_step, patient_gradients
from tests.experiments.audit.audited_study import DELTA, one_release


def _audit(mechanism, *, samples=20_000, seed=1):
    return audit_mechanism(
        mechanism,
        delta=DELTA,
        manifest_digest="sha256:0",
        streams=seeded_streams(seed, provenance="synthetic"),
        seeded=True,
        samples=samples,
    )


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_step_as_it_is_passes(epsilon: float) -> None:
    found = _audit(one_release(epsilon))
    assert found.passed
    assert 0.7 * epsilon < found.lower_bound_epsilon <= epsilon
    assert found.exact_epsilon == pytest.approx(epsilon)
    assert found.claimed_epsilon == claim_of_one_release(one_release(epsilon), delta=DELTA) > epsilon
    assert found.samples == 20_000


def test_the_same_seed_gives_the_same_bound_and_another_one_does_not() -> None:
    first, again, other = (_audit(one_release(2.0), samples=2000, seed=seed).lower_bound_epsilon for seed in (1, 1, 2))
    assert first == again != other


def test_all_releases_are_drawn_afresh_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "_RELEASES_AT_ONCE", 64)
    found = _audit(one_release(8.0), samples=2000)
    assert found.passed
    assert found.lower_bound_epsilon > 5, "a repeated block would leave too few distinct scores"


def _less_noise(total, *, mechanism, generator):
    return noisy_mean(
        total,
        mechanism=mechanism.model_copy(update={"noise_multiplier": mechanism.noise_multiplier / 2}),
        generator=generator,
    )


def _noise_for_one_step_reused(total, *, mechanism, generator):
    one = noisy_mean(np.zeros(8), mechanism=mechanism, generator=generator)
    scale = mechanism.clipping_norm * 2.0**-24 / mechanism.divisor
    return total * scale + np.tile(one, total.size // 8) * 0.1


@pytest.mark.parametrize("fault", [_less_noise, _noise_for_one_step_reused])
def test_faults_of_the_noise_are_caught(fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "noisy_mean", fault)
    assert not _audit(one_release(2.0)).passed


def _unclipped(gradients, *, clipping_norm, **_):
    return to_grid(gradients.copy(), clipping_norm=clipping_norm).sum(axis=0)


def _clipped_by_coordinate(gradients, *, clipping_norm, **_):
    return to_grid(np.clip(gradients, -clipping_norm, clipping_norm), clipping_norm=clipping_norm).sum(axis=0)


def _clipped_to_twice_the_norm(gradients, *, clipping_norm, **_):
    return to_grid(clip(gradients, clipping_norm=2 * clipping_norm), clipping_norm=clipping_norm).sum(axis=0)


def _through_opacus(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(patient_gradients, "stacked_network", lambda _: None)


@pytest.mark.parametrize("fault", [_unclipped, _clipped_by_coordinate, _clipped_to_twice_the_norm])
def test_faults_of_the_clip_are_caught(fault, monkeypatch: pytest.MonkeyPatch) -> None:
    _through_opacus(monkeypatch)
    monkeypatch.setattr(dp_step, "clipped_sum", fault)
    assert not _audit(one_release(2.0)).passed


@pytest.mark.parametrize("times", [2.0, 12.0])
def test_faults_of_the_clip_in_kernels_are_caught(times: float, monkeypatch: pytest.MonkeyPatch) -> None:
    original = kernel_step.clipping_factors
    monkeypatch.setattr(kernel_step, "clipping_factors", lambda norms, bound: original(norms, times * bound))
    assert not _audit(one_release(2.0)).passed


def test_a_clip_by_record_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_record(self, rows, owners):
        return self._record_gradients(rows).double().numpy()

    _through_opacus(monkeypatch)
    # Every record is its own owner: three records of one patient are three times the clipping norm.
    monkeypatch.setattr(dp_step.PatientGradients, "_sum_by_owner", by_record)
    assert not _audit(one_release(2.0)).passed


def test_a_clip_by_record_in_kernels_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        kernel_step, "_same_patient", lambda _owners, records: torch.eye(records, dtype=torch.float64).unsqueeze(0)
    )
    assert not _audit(one_release(2.0)).passed


def test_a_canary_without_influence_is_no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    _through_opacus(monkeypatch)
    monkeypatch.setattr(dp_step, "clipped_sum", lambda gradients, *, clipping_norm, **_: np.zeros(gradients.shape[1]))
    with pytest.raises(InternalError, match="canary"):
        _audit(one_release(2.0))
