"""The recurrent unit is PyTorch's own, written out; networks over time keep patients apart and fit their signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import ManifestError, ModelRefusedError
from federation.models.build import build_model
from federation.models.parameters import flatten, initial_parameters, layout_of, load
from federation.models.sequences import GatedRecurrentUnit, as_torch_gru
from federation.models.spec import Cnn1dSpec, GruSpec, ModelSpec
from federation.models.stacked.network import stacked_network
from federation.privacy.independence import check_independence

SPECS: dict[str, ModelSpec] = {
    "gru": GruSpec(kind="gru", signal_shape=(3, 12), hidden=5),
    "gru in steps": GruSpec(kind="gru", signal_shape=(3, 12), hidden=5, step_samples=4),
    "cnn1d": Cnn1dSpec(kind="cnn1d", signal_shape=(3, 12), channels=(4, 6), kernel=3),
    "cnn1d group": Cnn1dSpec(kind="cnn1d", signal_shape=(3, 12), channels=(4,), normalisation="group"),
    "cnn1d layer": Cnn1dSpec(kind="cnn1d", signal_shape=(3, 12), channels=(4,), pooling=1, normalisation="layer"),
}


def _build(spec: ModelSpec, *, private: bool = True, features: int = 36) -> nn.Module:
    return build_model(spec, task="binary", num_features=features, num_outputs=1, private=private)


def _unit(*, step_samples: int) -> GatedRecurrentUnit:
    unit = GatedRecurrentUnit(3, step_samples=step_samples, hidden=5)
    load(unit, initial_parameters(unit, seed=4) * 3)
    return unit


@pytest.mark.parametrize("step_samples", [1, 4, 6])
def test_outputs_and_gradients_are_those_of_torch(step_samples: int) -> None:
    unit = _unit(step_samples=step_samples)
    oracle = as_torch_gru(unit)
    signals = torch.from_numpy(np.random.default_rng(0).normal(size=(7, 3, 12)).astype(np.float32))
    ours = unit(signals)
    theirs = oracle(unit.steps(signals))[1][0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    pairs = [
        (unit.from_input.weight, oracle.weight_ih_l0),
        (unit.from_hidden.weight, oracle.weight_hh_l0),
        (unit.from_input.bias, oracle.bias_ih_l0),
        (unit.from_hidden.bias, oracle.bias_hh_l0),
    ]
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
        assert float(mine.grad.abs().max()) > 0.01


def test_steps_hold_the_channels_of_their_samples() -> None:
    signals = torch.arange(2 * 6, dtype=torch.float32).reshape(1, 2, 6)
    steps = GatedRecurrentUnit(2, step_samples=3, hidden=1).steps(signals)
    assert steps.tolist() == [[[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]]


@pytest.mark.parametrize("name", SPECS)
def test_records_are_kept_apart(name: str) -> None:
    check_independence(_build(SPECS[name]), (36,))


@pytest.mark.parametrize("name", SPECS)
def test_the_same_description_gives_the_same_model(name: str) -> None:
    first, second = _build(SPECS[name]), _build(SPECS[name])
    assert layout_of(first).digest == layout_of(second).digest
    assert np.array_equal(flatten(first), flatten(second))
    assert first(torch.zeros(4, 36)).shape == (4, 1)


@pytest.mark.parametrize("name", SPECS)
def test_networks_over_time_are_not_batched(name: str) -> None:
    assert stacked_network(_build(SPECS[name])) is None


def test_the_order_of_the_samples_matters() -> None:
    model = _build(SPECS["gru"])
    record = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 3, 12)).astype(np.float32))
    forwards, backwards = model(record.flatten(1)), model(record.flip(2).flatten(1))
    assert abs((forwards - backwards).item()) > 1e-4


def test_batch_normalisation_is_refused_in_private_training() -> None:
    spec = Cnn1dSpec(kind="cnn1d", signal_shape=(3, 12), normalisation="batch")
    assert any(isinstance(layer, nn.BatchNorm1d) for layer in _build(spec, private=False).modules())
    with pytest.raises(ModelRefusedError, match="batch"):
        _build(spec)


@pytest.mark.parametrize("name", ["gru", "cnn1d"])
def test_another_number_of_features_is_refused(name: str) -> None:
    with pytest.raises(ManifestError, match=r"35 features, got 3 x 12 = 36"):
        _build(SPECS[name], features=35)


def test_steps_that_do_not_divide_the_signal_are_refused() -> None:
    with pytest.raises(ManifestError, match="a divisor of the 12 samples, got 5"):
        _build(GruSpec(kind="gru", signal_shape=(3, 12), step_samples=5))


def test_more_pooling_than_samples_is_refused() -> None:
    with pytest.raises(ManifestError, match="at least 64 samples"):
        _build(Cnn1dSpec(kind="cnn1d", signal_shape=(3, 12), channels=(2, 2, 2), pooling=4))


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ManifestError, match="odd kernel"):
        Cnn1dSpec.from_data({"kind": "cnn1d", "signal_shape": [3, 12], "kernel": 4}, error=ManifestError)
