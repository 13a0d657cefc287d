"""The flat vector is the model."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from federation.errors import InvalidInputError, ManifestError
from federation.models.build import build_model
from federation.models.parameters import flat_copy, flatten, initial_parameters, layout_of, load
from federation.models.spec import CnnSpec, LinearSpec, MlpSpec


def _mlp(hidden: tuple[int, ...], features: int = 3, normalisation: str = "none") -> nn.Module:
    spec = MlpSpec(kind="mlp", hidden=hidden, normalisation=normalisation)
    return build_model(spec, task="binary", num_features=features, num_outputs=1, private=False)


@given(
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    features=st.integers(1, 4),
    normalisation=st.sampled_from(["none", "layer", "batch"]),
    seed=st.integers(0, 2**53 - 1),
)
def test_load_and_flatten_are_inverse(hidden: tuple[int, ...], features: int, normalisation: str, seed: int) -> None:
    model = _mlp(hidden, features, normalisation)
    layout = layout_of(model)
    vector = np.random.default_rng(seed).uniform(0.1, 2, layout.num_parameters).astype(np.float32)
    load(model, vector)
    np.testing.assert_array_equal(flatten(model), vector)
    other = _mlp(hidden, features, normalisation)
    load(other, flatten(model))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_flatten_is_a_copy() -> None:
    model = _mlp((2,))
    before = flatten(model)
    kept = before.copy()
    load(model, np.zeros_like(before))
    np.testing.assert_array_equal(before, kept)
    vector = np.ones_like(before)
    load(model, vector)
    vector[:] = 7
    np.testing.assert_array_equal(flatten(model), np.ones_like(before))


def test_layout_says_what_is_where() -> None:
    layout = layout_of(_mlp((2,), features=3))
    assert layout.names == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert layout.shapes == ((2, 3), (2,), (1, 2), (1,))
    assert layout.num_parameters == layout.num_trainable == 11
    assert layout.digest.startswith("sha256:")
    assert layout.digest == layout_of(_mlp((2,), features=3)).digest
    assert layout.digest != layout_of(_mlp((3,), features=3)).digest


def test_running_statistics_travel_behind_the_trainable_parameters() -> None:
    model = _mlp((2,), normalisation="batch")
    layout = layout_of(model)
    assert layout.names[-2:] == ("1.running_mean", "1.running_var")
    assert layout.num_trainable == layout.num_parameters - 4
    model.train()(torch.randn(16, 3))
    moved = flatten(model)
    other = _mlp((2,), normalisation="batch")
    load(other, moved)
    records = torch.randn(5, 3)
    assert torch.equal(model.eval()(records), other.eval()(records))


def test_a_running_variance_pushed_below_zero_is_put_back() -> None:
    model = _mlp((2,), normalisation="batch")
    vector = flatten(model)
    vector[-2:] = -0.5
    load(model, vector)
    assert torch.isfinite(model.eval()(torch.zeros(1, 3))).all()


@pytest.mark.parametrize("shape", [(10,), (12,), (11, 1), (0,)])
def test_a_vector_of_another_length_is_refused_and_changes_nothing(shape: tuple[int, ...]) -> None:
    model = _mlp((2,))
    before = flatten(model)
    with pytest.raises(InvalidInputError, match="11 parameters"):
        load(model, np.zeros(shape, dtype=np.float32))
    np.testing.assert_array_equal(flatten(model), before)


def test_initial_values_have_torchs_bounds() -> None:
    linear = build_model(LinearSpec(kind="linear"), task="multiclass", num_features=400, num_outputs=50, private=False)
    values = initial_parameters(linear, seed=1)
    bound = 1 / math.sqrt(400)
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.999 * bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    theirs = torch.cat([parameter.reshape(-1) for parameter in nn.Linear(400, 50).parameters()])
    assert theirs.abs().max().item() == pytest.approx(bound, rel=0.001)


def test_convolutions_count_the_kernel_in_the_fan_in_and_norms_start_neutral() -> None:
    spec = CnnSpec(kind="cnn", image_shape=(2, 8, 8), channels=(64,), normalisation="group", hidden=3)
    model = build_model(spec, task="binary", num_features=128, num_outputs=1, private=True)
    load(model, initial_parameters(model, seed=2))
    convolution, norm = model[1], model[2]
    assert convolution.weight.abs().max().item() == pytest.approx(1 / math.sqrt(2 * 9), rel=0.01)
    assert convolution.bias.abs().max().item() == pytest.approx(1 / math.sqrt(2 * 9), rel=0.1)
    assert torch.equal(norm.weight, torch.ones(64))
    assert torch.equal(norm.bias, torch.zeros(64))


def test_initial_values_depend_on_the_public_seed_only() -> None:
    first = initial_parameters(_mlp((4,)), seed=5)
    torch.manual_seed(1)
    np.random.seed(1)
    np.testing.assert_array_equal(initial_parameters(_mlp((4,)), seed=5), first)
    assert not np.any(initial_parameters(_mlp((4,)), seed=6) == first)


def test_layers_without_a_rule_are_refused() -> None:
    with pytest.raises(ManifestError, match="weight"):
        initial_parameters(nn.Bilinear(2, 2, 1), seed=0)


def test_a_flat_copy_is_stepped_by_its_vector_and_leaves_the_model_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    before = flatten(model)
    copied, theta = flat_copy(model)
    np.testing.assert_array_equal(flatten(copied), before)
    theta += 1.0
    trainable = theta.numel()
    np.testing.assert_array_equal(flatten(copied)[:trainable], before[:trainable] + 1)
    copied(torch.ones(4, 3))  # running statistics move in the copy only
    np.testing.assert_array_equal(flatten(model), before)
    assert all(parameter.requires_grad for parameter in copied.parameters())


FLAT_COPIED = {
    "plain layers": lambda: nn.Sequential(
        nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.Tanh()), nn.Linear(4, 1, bias=False)
    ),
    "images": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 2, 3, padding=1),
        nn.GroupNorm(1, 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    ),
    "other layers": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.0), nn.Linear(4, 1)),
    "no affine": lambda: nn.Sequential(nn.LayerNorm(4, elementwise_affine=False), nn.GELU(), nn.Linear(4, 1)),
}


@pytest.mark.parametrize("name", FLAT_COPIED)
def test_a_flat_copy_is_a_deep_copy(name: str) -> None:
    model = FLAT_COPIED[name]().train()
    copied, theta = flat_copy(model)
    assert repr(copied) == repr(model)
    assert [key for key, _ in copied.named_parameters()] == [key for key, _ in model.named_parameters()]
    theirs = {id(tensor) for tensor in [*model.parameters(), *model.buffers()]}
    assert not theirs & {id(tensor) for tensor in [*copied.parameters(), *copied.buffers()]}
    assert {id(layer) for layer in model.modules()}.isdisjoint(id(layer) for layer in copied.modules())
    before = flatten(model)
    records = torch.randn(8, 16 if name == "images" else 4, generator=torch.Generator().manual_seed(0))
    expected = copy.deepcopy(model)(records)
    torch.testing.assert_close(copied(records), expected, rtol=0, atol=0)
    theta.zero_()
    copied.eval()
    next(copied.children()).register_forward_hook(lambda *_: None)
    copied.register_buffer("one more", torch.zeros(1))
    assert all(layer.training for layer in model.modules())
    assert not any(layer._forward_hooks for layer in model.modules())
    assert "one more" not in dict(model.named_buffers())
    np.testing.assert_array_equal(flatten(model)[: theta.numel()], before[: theta.numel()])


def test_a_flat_copy_keeps_hooks_and_shared_parameters() -> None:
    first = nn.Linear(4, 4)
    model = nn.Sequential(first, nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = first.weight
    called: list[int] = []
    model[1].register_forward_hook(lambda *_: called.append(1))
    copied, _ = flat_copy(model)
    assert copied[0].weight is copied[2].weight
    copied(torch.ones(1, 4))
    assert called == [1]
