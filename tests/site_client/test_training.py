"""Plain training: batches, optimiser, corrections, and what cannot be trained."""

from __future__ import annotations

import copy
from itertools import chain

import numpy as np
import pytest
import torch
from torch.nn import functional

from federation.errors import CohortTooSmallError, ModelRefusedError, NonFiniteModelError
from federation.models.parameters import flatten, load
from federation.models.spec import MlpSpec
from site_client.patients import PatientDataset
from site_client.training import _mini_batches
from tests.site_client.training_cases import dataset, joined, model, schedule, streams, train


def _batches(patients: int, *, steps: int, batch_size: int, round_number: int = 1) -> list[list[int]]:
    chosen = schedule(steps=steps, batch_size=batch_size)
    return [
        batch.tolist()
        for batch in _mini_batches(patients, schedule=chosen, round_number=round_number, streams=streams())
    ]


def test_an_epoch_sees_every_patient_once_and_keeps_its_last_smaller_batch() -> None:
    batches = _batches(10, steps=6, batch_size=4)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    assert sorted(chain(*batches[:3])) == sorted(chain(*batches[3:])) == list(range(10))
    assert batches[:3] != batches[3:], "every epoch has its own order"


def test_epochs_go_on_from_round_to_round() -> None:
    # FLamby's loader keeps its place: three rounds of four steps are twelve steps of one sequence.
    rounds = [_batches(10, steps=4, batch_size=4, round_number=r) for r in (1, 2, 3)]
    assert list(chain(*rounds)) == _batches(10, steps=12, batch_size=4)


def test_a_site_smaller_than_a_batch_uses_all_its_patients() -> None:
    assert _batches(3, steps=2, batch_size=64) == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    "optimiser",
    [
        {},
        {"momentum": 0.9},
        {"weight_decay": 0.1},
        {"kind": "adam", "beta_1": 0.8, "beta_2": 0.95},
        {"kind": "adam", "weight_decay": 0.1},
    ],
    ids=str,
)
def test_equals_a_plain_loop_in_pytorch(optimiser: dict[str, object]) -> None:
    data = joined(dataset(9, records=2), dataset(4, records=5, seed=3))
    chosen = schedule(steps=5, batch_size=4, rate=0.2, **optimiser)
    result = train(data, mechanism=None, schedule=chosen)
    reference = copy.deepcopy(model())
    if optimiser.get("kind") == "adam":
        betas = (chosen.optimiser.beta_1, chosen.optimiser.beta_2)
        stepper = torch.optim.Adam(
            reference.parameters(), lr=0.2, betas=betas, weight_decay=chosen.optimiser.weight_decay
        )
    else:
        stepper = torch.optim.SGD(
            reference.parameters(),
            lr=0.2,
            momentum=chosen.optimiser.momentum,
            weight_decay=chosen.optimiser.weight_decay,
        )
    for batch in _mini_batches(13, schedule=chosen, round_number=1, streams=streams()):
        rows = np.isin(data.patient_index, batch)
        stepper.zero_grad()
        outputs = reference(torch.tensor(data.features[rows]))[:, 0]
        functional.binary_cross_entropy_with_logits(outputs, torch.tensor(data.outcomes[rows])).backward()
        stepper.step()
    np.testing.assert_allclose(result.parameters, flatten(reference), rtol=1e-5, atol=1e-7)
    assert result.num_steps == 5
    assert result.event is None


def test_the_learning_rate_decays_by_round() -> None:
    data, start = dataset(8), flatten(model())
    moved = [
        train(data, mechanism=None, round_number=r, schedule=schedule(steps=1, rate=0.5, decay=0.5)).parameters.astype(
            float
        )
        - start
        for r in (1, 2, 3)
    ]
    np.testing.assert_allclose(moved[1] / moved[0], 0.5, rtol=1e-3)
    np.testing.assert_allclose(moved[2] / moved[0], 0.25, rtol=1e-3)


def test_the_optimiser_starts_afresh_every_round() -> None:
    # Adam's first step is the learning rate in every coordinate; with an old second moment it would not be.
    data, start = dataset(8), model()
    for round_number in (1, 2):
        before = flatten(start)
        after = train(
            data,
            start=start,
            mechanism=None,
            round_number=round_number,
            schedule=schedule(steps=1, kind="adam", rate=0.01),
        ).parameters
        np.testing.assert_allclose(np.abs(after - before), 0.01, rtol=1e-3)
        load(start, after * 3)


def test_a_correction_is_added_to_every_gradient() -> None:
    data, start = dataset(20), torch.from_numpy(flatten(model()))
    plain = train(data, mechanism=None).parameters
    pulled = train(data, mechanism=None, correction=lambda g, p: g + 10.0 * (p - start) / 10).parameters
    same = train(data, mechanism=None, correction=lambda g, p: g).parameters
    np.testing.assert_array_equal(plain, same)
    assert np.linalg.norm(pulled - start.numpy()) < np.linalg.norm(plain - start.numpy())


def test_training_is_reproducible_and_follows_its_streams() -> None:
    first, second = (train(dataset(30), mechanism=None).parameters for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, train(dataset(30), mechanism=None, streams=streams(2)).parameters)


def test_running_statistics_are_trained_and_returned_and_have_no_gradient() -> None:
    spec = MlpSpec(kind="mlp", hidden=(3,), normalisation="batch")
    start = model(spec, private=False)
    seen: list[torch.Tensor] = []

    def correction(gradient: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        seen.append(gradient)
        assert gradient.shape == parameters.shape
        return gradient + 1

    result = train(dataset(20), start=start, mechanism=None, correction=correction).parameters
    assert len(result) == len(flatten(start))
    assert not np.any(result[-6:] == flatten(start)[-6:])
    assert all(not gradient[-6:].any() for gradient in seen)


def test_batch_normalisation_of_a_single_record_is_refused() -> None:
    spec = MlpSpec(kind="mlp", hidden=(3,), normalisation="batch")
    with pytest.raises(ModelRefusedError, match="at least two records"):
        train(dataset(9), start=model(spec, private=False), mechanism=None, schedule=schedule(steps=2, batch_size=8))


def test_no_patient_is_refused() -> None:
    with pytest.raises(CohortTooSmallError, match="at least one training patient"):
        train(dataset(0), mechanism=None)


def test_one_patient_trains() -> None:
    assert np.isfinite(train(dataset(1), mechanism=None).parameters).all()


def test_divergence_is_an_error_that_shows_no_value() -> None:
    data = dataset(8)
    huge = PatientDataset(data.features * 1e30, data.outcomes, data.patient_index, data.feature_names)
    with pytest.raises(NonFiniteModelError, match="round 1") as failure:
        train(huge, mechanism=None, schedule=schedule(steps=4, rate=1e30))
    assert failure.value.remedy


def test_read_only_records_are_trained_on_without_a_copy_of_the_whole() -> None:
    data = dataset(12)
    data.features.setflags(write=False)
    data.outcomes.setflags(write=False)
    for chosen in ({"mechanism": None}, {}):
        assert np.isfinite(train(data, **chosen).parameters).all()
