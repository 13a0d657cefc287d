"""The measured work is one document from which every process makes the same work."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.benchmarks.workload import CNN, CNN_FEATURES, NOISE_MULTIPLIER, WIDE_MLP, Workload
from federation.errors import InvalidInputError
from federation.models.build import build_model
from federation.privacy.promise import PatientLevelPrivacy


def _size(workload: Workload) -> int:
    model = build_model(workload.model, task="binary", num_features=workload.num_features, num_outputs=1, private=False)
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_copy_from_the_document_is_the_same_work() -> None:
    workload = Workload(num_sites=2, num_patients=20, rounds=2)
    copy = Workload.from_json(workload.model_dump_json(), error=InvalidInputError)
    assert copy == workload
    assert copy.manifest().digest == workload.manifest().digest
    for one, other in zip(workload.data, copy.data, strict=True):
        np.testing.assert_array_equal(one.training.features, other.training.features)
    np.testing.assert_array_equal(workload.order("site-1", 1), copy.order("site-1", 1))


def test_sites_and_epochs_have_orders_of_their_own() -> None:
    workload = Workload(num_sites=2, num_patients=50)
    orders = {(site, epoch): workload.order(site, epoch) for site in workload.sites for epoch in range(2)}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len({order.tobytes() for order in orders.values()}) == 4


def test_a_round_is_an_epoch_unless_steps_are_given() -> None:
    assert Workload(num_patients=2000, batch_size=64).local_steps == 32
    assert Workload(num_patients=2000, batch_size=64, steps=3).local_steps == 3


def test_the_models_have_the_sizes_that_the_goals_name() -> None:
    assert _size(Workload()) == 2049
    assert _size(Workload(model=WIDE_MLP)) == 1_033_001
    assert _size(Workload(model=CNN, num_features=CNN_FEATURES)) == 105_281


@pytest.mark.parametrize("steps", [None, 3])
def test_the_private_study_keeps_its_promise_with_the_fixed_noise(steps: int | None) -> None:
    manifest = Workload(num_sites=2, num_patients=256, batch_size=16, rounds=2, steps=steps, private=True).manifest()
    assert isinstance(manifest.privacy, PatientLevelPrivacy)
    assert manifest.mechanism("site-0").noise_multiplier == NOISE_MULTIPLIER
    assert manifest.mechanism("site-0").steps == 2 * (16 if steps is None else steps)
