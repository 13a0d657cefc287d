"""One builder, every architecture; what does not fit is refused before any training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from federation.errors import ManifestError, ModelRefusedError
from federation.models.build import build_model, num_groups
from federation.models.parameters import flatten, initial_parameters, layout_of
from federation.models.spec import CnnSpec, LinearSpec, MlpSpec

SPECS = {
    "linear": (LinearSpec(kind="linear"), 12),
    "no bias": (LinearSpec(kind="linear", bias=False), 12),
    "mlp": (MlpSpec(kind="mlp", hidden=(8, 4)), 12),
    "mlp layer": (MlpSpec(kind="mlp", hidden=(8,), activation="relu", normalisation="layer"), 12),
    "mlp batch": (MlpSpec(kind="mlp", hidden=(8,), activation="gelu", normalisation="batch"), 12),
    "cnn": (CnnSpec(kind="cnn", image_shape=(1, 8, 9), channels=(4, 6), hidden=5), 72),
    "cnn layer": (CnnSpec(kind="cnn", image_shape=(2, 5, 5), channels=(4,), normalisation="layer"), 50),
    "cnn group": (CnnSpec(kind="cnn", image_shape=(1, 8, 8), channels=(4, 8), normalisation="group"), 64),
    "cnn batch": (CnnSpec(kind="cnn", image_shape=(1, 8, 8), channels=(4,), normalisation="batch"), 64),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 3), ("regression", 1)])
def test_every_architecture_gives_a_row_of_outputs_for_each_record(name: str, task: str, outputs: int) -> None:
    spec, features = SPECS[name]
    model = build_model(spec, task=task, num_features=features, num_outputs=outputs, private=False)
    assert (flatten(model) == initial_parameters(model, seed=0)).all()
    assert model(torch.zeros(7, features)).shape == (7, outputs)


@pytest.mark.parametrize("name", SPECS)
def test_the_same_description_gives_the_same_structure(name: str) -> None:
    spec, features = SPECS[name]
    first, second = (
        build_model(spec, task="binary", num_features=features, num_outputs=1, private=False) for _ in range(2)
    )
    assert layout_of(first).digest == layout_of(second).digest


def test_normalisation_is_the_one_that_was_asked_for() -> None:
    def kinds(name: str) -> set[type[nn.Module]]:
        spec, features = SPECS[name]
        return {
            type(layer)
            for layer in build_model(spec, task="binary", num_features=features, num_outputs=1, private=False).modules()
        }

    assert nn.LayerNorm in kinds("mlp layer")
    assert nn.GroupNorm in kinds("cnn layer") & kinds("cnn group")
    assert nn.BatchNorm1d in kinds("mlp batch")
    assert nn.BatchNorm2d in kinds("cnn batch")
    assert {nn.ReLU} <= kinds("cnn")


@pytest.mark.parametrize("name", ["mlp batch", "cnn batch"])
def test_batch_normalisation_is_refused_in_private_training(name: str) -> None:
    spec, features = SPECS[name]
    with pytest.raises(ModelRefusedError, match="batch"):
        build_model(spec, task="binary", num_features=features, num_outputs=1, private=True)


def test_features_that_do_not_make_the_image_are_refused() -> None:
    spec, _ = SPECS["cnn"]
    with pytest.raises(ManifestError, match=r"71 features, got 1 x 8 x 9 = 72"):
        build_model(spec, task="binary", num_features=71, num_outputs=1, private=False)


def test_more_halvings_than_pixels_are_refused() -> None:
    spec = CnnSpec(kind="cnn", image_shape=(1, 4, 4), channels=(2, 2, 2))
    with pytest.raises(ManifestError, match="at least 8 pixels"):
        build_model(spec, task="binary", num_features=16, num_outputs=1, private=False)


@pytest.mark.parametrize(("task", "outputs"), [("binary", 2), ("regression", 3), ("multiclass", 1), ("binary", 0)])
def test_outputs_that_do_not_fit_the_task_are_refused(task: str, outputs: int) -> None:
    with pytest.raises(ManifestError, match="output"):
        build_model(LinearSpec(kind="linear"), task=task, num_features=3, num_outputs=outputs, private=False)


def test_no_feature_is_refused() -> None:
    with pytest.raises(ManifestError, match="at least one feature"):
        build_model(LinearSpec(kind="linear"), task="binary", num_features=0, num_outputs=1, private=False)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    build_model(SPECS["mlp"][0], task="binary", num_features=12, num_outputs=1, private=True)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (8, 4), (12, 4), (16, 8), (32, 8)]
)
def test_groups_divide_the_channels_with_two_in_each(channels: int, groups: int) -> None:
    assert num_groups(channels) == groups
