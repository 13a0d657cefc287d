"""A record's gradient and score must not depend, in any bit, on how many records go through the model beside it.

Kernels treat the last rows of a batch in another order of operations. Whoever chooses the parameters can blow the last
bits up: the first two tests are such choices, which break the declared sensitivity many times over.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from federation.models.build import build_model
from federation.models.parameters import flatten, load
from federation.models.spec import Cnn1dSpec, CnnSpec, GruSpec, LinearSpec, MlpSpec, ModelSpec
from federation.models.stacked.network import stacked_network
from site_client.dp_step import PatientGradients
from site_client.evaluation import predict
from site_client.kernel_step import KernelGradients
from site_client.patients import PatientDataset

BINS = 200
SPECS: dict[str, ModelSpec] = {
    "linear": LinearSpec(kind="linear"),
    "relu": MlpSpec(kind="mlp", hidden=(16, 16), activation="relu", normalisation="none"),
    "tanh of odd width": MlpSpec(kind="mlp", hidden=(64, 33), activation="tanh", normalisation="layer"),
    "gelu": MlpSpec(kind="mlp", hidden=(7, 1), activation="gelu", normalisation="none"),
    "cnn": CnnSpec(kind="cnn", image_shape=(1, 8, 8), channels=(4, 8), normalisation="group"),
    "cnn over time": Cnn1dSpec(kind="cnn1d", signal_shape=(2, 32), channels=(4, 8), normalisation="group"),
    "gru": GruSpec(kind="gru", signal_shape=(2, 32), hidden=7, step_samples=4),
}
UNCOVERED = {"cnn over time", "gru"}
"""By the kernels: these go through Opacus alone."""


def _data(patients: int, width: int, *, seed: int = 0, most: int = 1) -> PatientDataset:
    generator = np.random.default_rng(seed)
    index = np.repeat(np.arange(patients), generator.integers(1, most + 1, patients))
    features = generator.normal(size=(len(index), width)).astype(np.float32)
    outcomes = generator.integers(0, 2, len(index)).astype(np.float32)
    return PatientDataset(features, outcomes, index, tuple(f"x{number}" for number in range(width)))


def _model(spec: ModelSpec, width: int, *, task: str = "binary") -> nn.Module:
    outputs = 3 if task == "multiclass" else 1
    return build_model(spec, task=task, num_features=width, num_outputs=outputs, private=True)


def _histogram(model: nn.Module, data: PatientDataset) -> np.ndarray:
    said = predict(model, data, task="binary").astype(np.float64)
    return np.bincount((said * BINS).astype(np.int64), minlength=BINS + 1)


def test_no_choice_of_parameters_moves_the_scores_of_others() -> None:
    # Weights of zero, and a bias at the edge of a bin: every record has the same score, but for its last bit.
    model, data = _model(LinearSpec(kind="linear"), 20), _data(64, 20)
    fewer = data.patients(np.arange(63))
    for edge in np.arange(1, BINS) / BINS:
        bias = np.float32(np.log(edge / (1 - edge)))
        for _ in range(3):
            load(model, np.concatenate([np.zeros(20, np.float32), [bias]]))
            moved = _histogram(model, data) - _histogram(model, fewer)
            assert np.abs(moved).sum() == 1, f"one patient of one record moves the histogram by {moved[moved != 0]}"
            bias = np.nextafter(bias, np.float32(np.inf))


WAYS = ("kernels", "Opacus")


def _gradients(way: str, model: nn.Module, data: PatientDataset, *, task: str, records: int = 32):
    """Either way of making clipped sums, as a context."""
    if way == "Opacus":
        return PatientGradients(model, data, task=task, pass_records=records)
    network, theta = stacked_network(model), torch.from_numpy(flatten(model)).unsqueeze(0)
    assert network is not None
    return nullcontext(KernelGradients(model, network, theta, data, task=task, pass_records=records))


@pytest.mark.parametrize("way", WAYS)
def test_no_choice_of_parameters_moves_the_gradients_of_others(way: str) -> None:
    # All units of the second layer at the kink of their activation, up to rounding.
    model, generator = _model(SPECS["relu"], 5).train(), np.random.default_rng(0)
    data = _data(4, 5)
    for _ in range(40):
        first = generator.normal(size=16).astype(np.float32)
        second = (1e6 * generator.normal(size=(16, 16))).astype(np.float32)
        kink = -(second.astype(np.float64) @ np.maximum(first, 0)).astype(np.float32)
        parts = (np.zeros((16, 5)), first, second, kink, np.full((1, 16), -3.0), np.zeros(1))
        load(model, np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32))
        with _gradients(way, model, data, task="binary") as gradients:
            more, fewer = (gradients.clipped_sum(np.arange(count), clipping_norm=1.0) for count in (4, 3))
        assert np.linalg.norm(more - fewer) <= 2**24, "one patient moves the sum by more than the clipping norm"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("records", [32, 256])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("name", SPECS)
def test_the_sum_over_patients_is_the_sum_of_each_alone(name: str, task: str, records: int, way: str) -> None:
    if way == "kernels" and name in UNCOVERED:
        assert stacked_network(_model(SPECS[name], 64)) is None
        return
    # To the last grid step: then one patient moves it by at most the clipping norm, whoever else is drawn. The kernels cut
    # the sum to the grid, not each patient: there it is one grid step for each.
    data, generator = _data(60, 64, seed=1, most=4), np.random.default_rng(2)
    model = _model(SPECS[name], 64, task=task).train()
    with _gradients(way, model, data, task=task, records=records) as gradients:
        alone = np.stack([gradients.clipped_sum(np.array([n]), clipping_norm=0.5) for n in range(60)])
        for _ in range(15):
            drawn = np.flatnonzero(generator.uniform(size=60) < generator.uniform())
            together = gradients.clipped_sum(drawn, clipping_norm=0.5)
            most = len(drawn) if way == "kernels" else 0
            np.testing.assert_allclose(together, alone[drawn].sum(axis=0), rtol=0, atol=most)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("name", SPECS)
def test_a_score_is_the_same_beside_any_others(name: str, task: str) -> None:
    model, data = _model(SPECS[name], 64, task=task), _data(150, 64, seed=3)
    whole = predict(model, data, task=task)
    for count in (1, 2, 3, 5, 17, 63, 64, 65, 127, 149):
        kept = np.sort(np.random.default_rng(count).permutation(150)[:count])
        np.testing.assert_array_equal(predict(model, data.patients(kept), task=task), whole[kept])


def test_the_first_test_would_notice_scores_that_move() -> None:
    data = _data(64, 20)
    model = _model(LinearSpec(kind="linear"), 20)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(0.3)
    moved = _histogram(model, data) - _histogram(model, data.patients(np.arange(63)))
    assert np.abs(moved).sum() == 1
    with torch.no_grad():
        model[0].bias.fill_(2.3)
    assert np.abs(_histogram(model, data) - moved).sum() > 60
