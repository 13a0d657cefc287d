"""From a frozen network description to a module. The same description always gives the same structure."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from federation.errors import InternalError, ManifestError, ModelRefusedError
from federation.models.intercepts import IntervalIntercepts
from federation.models.losses import fits_outputs
from federation.models.parameters import initial_parameters, load
from federation.models.spec import Activation, CnnSpec, LinearSpec, MlpSpec, ModelSpec
from federation.models.task_terms import DiscreteTimeTerms, Objective, task_of

_GROUPS = (8, 4, 2, 1)
"""Numbers of groups tried for group normalisation, in this order."""


def build_model(spec: ModelSpec, *, task: Objective, num_features: int, num_outputs: int, private: bool) -> nn.Module:
    """Build the network that ``spec`` describes.

    Args:
        spec: Architecture.
        task: Sets the number of outputs that fits.
        num_features: F, the width of the encoded records.
        num_outputs: K: 1, or the number of classes, levels or intervals.
        private: Refuse what mixes patients.

    Returns:
        A module from ``[R, F]`` to ``[R, K]``, with the initial parameters of seed 0; load others with
        :func:`federation.models.parameters.load`.

    Raises:
        ManifestError: If features or outputs do not fit the description.
        ModelRefusedError: If the network mixes patients and ``private`` is set.
    """
    _check_sizes(task, num_features, num_outputs)
    if private and not isinstance(spec, LinearSpec) and spec.normalisation == "batch":
        raise ModelRefusedError(
            "expected a normalisation that keeps patients apart in private training, got 'batch'",
            remedy="use normalisation 'layer', 'group' or 'none'",
        )
    # Construction draws from torch's global generator; fork_rng leaves it as it was, for whoever relies on it.
    with torch.random.fork_rng(devices=[]):
        if isinstance(task, DiscreteTimeTerms) and task.effects == "proportional":
            module = _proportional(_network(spec, num_features, 1), num_outputs)
        else:
            module = _network(spec, num_features, num_outputs)
    load(module, initial_parameters(module, seed=0))
    return module


def _check_sizes(task: Objective, num_features: int, num_outputs: int) -> None:
    if num_features < 1:
        raise ManifestError(
            f"expected at least one feature, got {num_features}", remedy="add a variable to the contract"
        )
    if not fits_outputs(task, num_outputs):
        wanted = "at least 2 outputs" if task == "multiclass" else "outputs that fit"
        wanted = "1 output" if fits_outputs(task, 1) else wanted
        raise ManifestError(f"expected {wanted} for task {task_of(task)!r}, got {num_outputs}")


def _network(spec: ModelSpec, num_features: int, num_outputs: int) -> nn.Module:
    match spec:
        case LinearSpec():
            return nn.Sequential(nn.Linear(num_features, num_outputs, bias=spec.bias))
        case MlpSpec():
            return _mlp(spec, num_features, num_outputs)
        case CnnSpec():
            return _cnn(spec, num_features, num_outputs)
        case _:
            assert_never(spec)


def _proportional(network: nn.Module, num_intervals: int) -> nn.Module:
    """The same network with an intercept for each interval in place of the one of its last layer."""
    *body, last = network.children()
    if not isinstance(last, nn.Linear):
        raise InternalError(f"expected a network that ends in a linear layer, got {type(last).__name__}")
    return nn.Sequential(*body, nn.Linear(last.in_features, 1, bias=False), IntervalIntercepts(num_intervals))


def _activation(kind: Activation) -> nn.Module:
    match kind:
        case "relu":
            return nn.ReLU()
        case "tanh":
            return nn.Tanh()
        case "gelu":
            return nn.GELU()
        case _:
            assert_never(kind)


def _mlp(spec: MlpSpec, num_features: int, num_outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    width = num_features
    for hidden in spec.hidden:
        layers.append(nn.Linear(width, hidden))
        match spec.normalisation:
            case "layer":
                layers.append(nn.LayerNorm(hidden))
            case "batch":
                layers.append(nn.BatchNorm1d(hidden))
            case "none":
                pass
        layers.append(_activation(spec.activation))
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, num_outputs))


def _cnn(spec: CnnSpec, num_features: int, num_outputs: int) -> nn.Module:
    depth, height, width = spec.image_shape
    if depth * height * width != num_features:
        raise ManifestError(
            f"model.image_shape: expected channels x height x width to equal the {num_features} features, "
            f"got {depth} x {height} x {width} = {depth * height * width}",
            remedy="give the shape of one encoded record",
        )
    if min(height, width) >> len(spec.channels) < 1:
        raise ManifestError(
            f"model.channels: expected an image of at least {2 ** len(spec.channels)} pixels a side for "
            f"{len(spec.channels)} halvings, got {height} x {width}",
            remedy="use fewer convolutions",
        )
    layers: list[nn.Module] = [nn.Unflatten(1, spec.image_shape)]
    for channels in spec.channels:
        layers += [
            nn.Conv2d(depth, channels, kernel_size=3, padding=1),
            *_image_normalisation(spec, channels),
            _activation(spec.activation),
            nn.MaxPool2d(2),
        ]
        depth, height, width = channels, height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(depth * height * width, spec.hidden), _activation(spec.activation)]
    return nn.Sequential(*layers, nn.Linear(spec.hidden, num_outputs))


def _image_normalisation(spec: CnnSpec, channels: int) -> list[nn.Module]:
    match spec.normalisation:
        case "none":
            return []
        case "layer":
            return [nn.GroupNorm(1, channels)]
        case "group":
            return [nn.GroupNorm(num_groups(channels), channels)]
        case "batch":
            return [nn.BatchNorm2d(channels)]
        case _:
            assert_never(spec.normalisation)


def num_groups(channels: int) -> int:
    """Groups of a group normalisation: the most of 8, 4, 2 that leave at least two whole channels in each, else 1."""
    return next(groups for groups in _GROUPS if groups == 1 or (channels % groups == 0 and channels // groups > 1))
