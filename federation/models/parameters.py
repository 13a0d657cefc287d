"""A model's values as one flat float32 vector, which is what travels, is averaged and is checkpointed.

The vector holds the trainable parameters in the module's order, then floating-point buffers (the running statistics of
batch normalisation, in plain training), so that two sites with equal vectors predict equally.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from federation.errors import InvalidInputError, ManifestError
from federation.models.hazard_layers import START, IntervalIntercepts, RelativeHazard
from federation.privacy.independence import BATCH_NORM, INSTANCE_NORM
from federation.privacy.randomness import RandomStreams, public_streams

Vector = NDArray[np.float32]

_REGISTERED: Final = frozenset({"_parameters", "_buffers", "_modules"})
_PLAIN: Final[frozenset[type[nn.Module]]] = frozenset(
    {nn.Sequential, nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.MaxPool2d}
    | {nn.Flatten, nn.Unflatten, nn.ReLU, nn.Tanh, nn.GELU}
)
"""Exactly these hold registered tensors, and settings that nobody changes in place."""


@dataclass(frozen=True)
class ParameterLayout:
    """What each part of the flat vector is.

    Args:
        names: Of parameters, then of buffers.
        shapes: Of the same, in the same order.
        num_trainable: How many leading coordinates are trainable parameters.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    num_trainable: int

    @property
    def num_parameters(self) -> int:
        """D, the length of the vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def digest(self) -> str:
        """``sha256:`` and the hexadecimal digest of names and shapes; models fit each other exactly if it is equal."""
        text = json.dumps([[name, list(shape)] for name, shape in zip(self.names, self.shapes, strict=True)])
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _parts(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    buffers = [(name, buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point()]
    return [*module.named_parameters(), *buffers]


def layout_of(module: nn.Module) -> ParameterLayout:
    """The layout of the module's flat vector."""
    parts = _parts(module)
    return ParameterLayout(
        names=tuple(name for name, _ in parts),
        shapes=tuple(tuple(tensor.shape) for _, tensor in parts),
        num_trainable=sum(parameter.numel() for parameter in module.parameters()),
    )


def flatten(module: nn.Module) -> Vector:
    """The module's values, copied: ``[D]`` float32."""
    parts = [tensor.detach().reshape(-1).to(torch.float32) for _, tensor in _parts(module)]
    return torch.cat(parts).numpy()


def flat_copy(module: nn.Module) -> tuple[nn.Module, torch.Tensor]:
    """A copy whose trainable parameters are views of one vector, so that one operation steps them all.

    Args:
        module: Float32.

    Returns:
        The copy, and ``[trainable]`` float32 without history. Whoever changes that changes the copy.
    """
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])
    copies: dict[int, object] = {}
    start = 0
    for parameter in module.parameters():
        values = flat[start : start + parameter.numel()].view_as(parameter)
        copies[id(parameter)] = nn.Parameter(values, requires_grad=parameter.requires_grad)
        start += parameter.numel()
    return _copied(module, copies), flat


def _copied(module: nn.Module, copies: dict[int, object]) -> nn.Module:
    """``copy.deepcopy(module, copies)``, which takes as long as some private steps of a small network, for layers that hold little.

    Args:
        module: Not changed.
        copies: Identity of every parameter to its copy.
    """
    state: dict[str, object] = vars(module)
    held = [value for name, value in state.items() if name not in _REGISTERED]
    is_plain = type(module) in _PLAIN and not any(True for _ in module.buffers(recurse=False))
    if not is_plain or any(value and isinstance(value, dict) for value in held):  # somebody's hooks
        return copy.deepcopy(module, copies)
    copied = object.__new__(type(module))
    for name, value in state.items():
        copied.__dict__[name] = value.copy() if isinstance(value, dict | set) else value
    for name, parameter in module._parameters.items():  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the registry itself
        copied.__dict__["_parameters"][name] = None if parameter is None else copies[id(parameter)]
    for name, child in module.named_children():
        copied.__dict__["_modules"][name] = _copied(child, copies)
    return copied


def load(module: nn.Module, vector: NDArray[np.floating]) -> None:
    """Overwrite the module's values.

    Args:
        module: Changed in place.
        vector: ``[D]``, in the layout of the module.

    Raises:
        InvalidInputError: If the length differs. Nothing is changed then.
    """
    expected = layout_of(module).num_parameters
    if vector.shape != (expected,):
        raise InvalidInputError(
            f"expected a vector of {expected} parameters, got shape {vector.shape}",
            remedy="use parameters of the same model description, features and outputs",
        )
    values = torch.tensor(np.asarray(vector, dtype=np.float32))
    start = 0
    with torch.no_grad():
        for _, tensor in _parts(module):
            tensor.copy_(values[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()
        for layer in module.modules():
            # A server step with momentum can push an averaged variance below zero, where its root would be NaN.
            if isinstance(layer, BATCH_NORM) and layer.running_var is not None:
                layer.running_var.clamp_(min=0.0)


def initial_parameters(module: nn.Module, *, seed: int) -> Vector:
    """Initial values, the same for everybody who knows the public seed.

    Weights and biases of linear and convolutional layers are uniform between ± 1 / sqrt(fan in), PyTorch's default;
    normalisation starts at scale 1 and shift 0, intercepts of intervals at a rare event,
    relative hazards at 0. Nothing is drawn from a global generator.

    Args:
        module: Gives the layout; is not changed.
        seed: The manifest's ``initial_seed``.

    Returns:
        ``[D]`` float32.

    Raises:
        ManifestError: If the module holds parameters of a layer that has no rule here.
    """
    streams = public_streams("initial-parameters", seed)
    values = {
        name: value
        for prefix, layer in module.named_modules()
        for name, value in _layer_values(prefix, layer, streams).items()
    }
    layout = layout_of(module)
    missing = [name for name in layout.names if name not in values]
    if missing:
        raise ManifestError(f"expected layers with a rule for initial values, got other parameters: {missing}")
    return np.concatenate([values[name].reshape(-1) for name in layout.names]).astype(np.float32)


def _layer_values(prefix: str, layer: nn.Module, streams: RandomStreams) -> dict[str, NDArray[np.float64]]:
    own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    shapes = {f"{prefix}.{name}" if prefix else name: (name, tuple(tensor.shape)) for name, tensor in own}
    if isinstance(layer, RelativeHazard):
        return {name: np.zeros(shape) for name, (_, shape) in shapes.items()}
    if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        return {name: streams.stream(name).uniform(-bound, bound, shape) for name, (_, shape) in shapes.items()}
    if isinstance(layer, nn.LayerNorm | nn.GroupNorm | BATCH_NORM | INSTANCE_NORM):
        ones = {"weight", "running_var"}
        return {name: np.full(shape, 1.0 if short in ones else 0.0) for name, (short, shape) in shapes.items()}
    if isinstance(layer, IntervalIntercepts):
        return {name: np.full(shape, START) for name, (_, shape) in shapes.items()}
    return {}
