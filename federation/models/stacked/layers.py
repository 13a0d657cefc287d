"""Layers of a stacked network: what each computes, and what it hands back.

Axis names: S sites, B records of a site, C channels, D parameters. All kernels are float32 and treat a site's records with that
site's own parameters only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from federation.models.stacked.sinks import GradientSink, Span
from federation.models.stacked.tanh import tanh_

_ATEN = torch.ops.aten

Cache = Any
"""What a layer keeps from forward for backward; only that layer looks into it."""


def pixels_together(images: Tensor) -> Tensor:
    """The same images ``[R, C, H, W]`` with a pixel's channels next to each other in memory; copied where they are not.

    Kernels of a CPU are faster on it: pooling, which looks at every value by itself otherwise, four times.
    """
    if images.shape[1] == 1:  # both ways at once: say which
        records, _, height, width = images.shape
        return images.reshape(records, height, width, 1).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


class Layer(Protocol):
    """One step of a stacked network."""

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """Outputs for ``[S, B, ...]`` inputs under parameters ``[S, D]``, and what backward needs."""
        ...

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """Hand the parameters' gradients to the sink; return that of the inputs if it is wanted."""
        ...


@dataclass(frozen=True)
class LinearLayer:
    """``x W^T + b``."""

    weight: Span
    bias: Span | None

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """``[S, B, in]`` to ``[S, B, out]``."""
        transposed = self.weight.view(theta).transpose(1, 2)
        if self.bias is None:
            return torch.bmm(inputs, transposed), inputs
        return torch.baddbmm(self.bias.view(theta).unsqueeze(1), inputs, transposed), inputs

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """A record's gradient is the outer product of ``gradient`` and inputs; it is never written out here."""
        sink.product(self.weight, self.bias, inputs=cache, outputs=gradient)
        return torch.bmm(gradient, self.weight.view(theta)) if wants_input else None


@dataclass(frozen=True)
class ActivationLayer:
    """An element-wise non-linearity."""

    kind: Literal["relu", "tanh", "gelu"]

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """Same shape."""
        del theta
        if self.kind == "gelu":
            return torch.nn.functional.gelu(inputs), inputs
        outputs = tanh_(inputs.clone()) if self.kind == "tanh" else torch.relu(inputs)
        return outputs, outputs

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """Has no parameters."""
        del theta, sink
        if not wants_input:
            return None
        match self.kind:
            case "tanh":
                return _ATEN.tanh_backward(gradient, cache)
            case "relu":
                return _ATEN.threshold_backward(gradient, cache, 0)
            case "gelu":
                return _ATEN.gelu_backward(gradient, cache)


@dataclass(frozen=True)
class ReshapeLayer:
    """Another shape of a record."""

    shape: tuple[int, ...]

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """``[S, B, ...]`` to ``[S, B, *shape]``."""
        del theta
        return inputs.reshape(*inputs.shape[:2], *self.shape), inputs.shape

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """Back to the shape of the inputs."""
        del theta, sink
        return gradient.reshape(cache) if wants_input else None


@dataclass(frozen=True)
class NormalisationLayer:
    """Layer normalisation of vectors ``[S, B, C]``, or group normalisation of images ``[S, B, C, H, W]``.

    Args:
        scale: ``[C]``, or ``None`` without parameters.
        shift: ``[C]``, or ``None`` without parameters.
        groups: Channels are normalised in so many groups; 1 for a vector.
        epsilon: Added to the variance.
    """

    scale: Span | None
    shift: Span | None
    groups: int
    epsilon: float

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """Same shape."""
        flat, sizes = self._flat(inputs)
        plain, mean, inverse = torch.native_group_norm(flat, None, None, *sizes, self.groups, self.epsilon)
        plain = plain.view(inputs.shape)
        outputs = plain
        if self.scale is not None and self.shift is not None:
            outputs = torch.addcmul(_beside(self.shift, theta, inputs), plain, _beside(self.scale, theta, inputs))
        return outputs, (inputs, plain, mean, inverse)

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """The gradients of scale and shift are short vectors, one for each record."""
        inputs, plain, mean, inverse = cache
        if self.scale is not None and self.shift is not None:
            pixels = tuple(range(3, inputs.ndim))
            scaled = gradient * plain
            sink.rows(self.scale, scaled.sum(dim=pixels) if pixels else scaled)
            sink.rows(self.shift, gradient.sum(dim=pixels) if pixels else gradient)
            gradient = gradient * _beside(self.scale, theta, inputs)
        if not wants_input:
            return None
        flat, sizes = self._flat(inputs)
        back, _, _ = _ATEN.native_group_norm_backward(
            gradient.reshape(flat.shape).contiguous(), flat, mean, inverse, None, *sizes, self.groups,
            [True, False, False],  # only that of the inputs
        )  # fmt: skip
        return back.view(inputs.shape)

    def _flat(self, inputs: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Records as one axis ``[S B, C, pixels]``, and their numbers."""
        records, channels = inputs.shape[0] * inputs.shape[1], inputs.shape[2]
        pixels = math.prod(inputs.shape[3:])
        return inputs.reshape(records, channels, pixels).contiguous(), (records, channels, pixels)


def _beside(span: Span, theta: Tensor, images: Tensor) -> Tensor:
    """A site's ``[C]`` parameters, shaped to meet ``[S, B, C, ...]``."""
    values = span.view(theta)
    return values.reshape(values.shape[0], 1, values.shape[1], *(1 for _ in images.shape[3:]))


@dataclass(frozen=True)
class MaxPoolLayer:
    """The largest of every square of pixels."""

    size: int

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """``[S, B, C, H, W]`` to ``[S, B, C, H // size, W // size]``."""
        del theta
        flat = inputs.flatten(0, 1)
        if not flat.is_cuda:
            flat = pixels_together(flat)
        outputs, places = _ATEN.max_pool2d_with_indices(flat, [self.size, self.size])
        return outputs.unflatten(0, inputs.shape[:2]), (flat, places)

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """To where the largest were."""
        del theta, sink
        if not wants_input:
            return None
        flat, places = cache
        window = [self.size, self.size]
        back = _ATEN.max_pool2d_with_indices_backward(
            gradient.flatten(0, 1),
            flat,
            window,
            window,
            [0, 0],
            [1, 1],
            ceil_mode=False,
            indices=places,
        )
        return back.unflatten(0, gradient.shape[:2])


@dataclass(frozen=True)
class InterceptsLayer:
    """The same number for every interval, plus the interval's own: :mod:`federation.models.hazard_layers`."""

    shift: Span

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """``[S, B, 1]`` to ``[S, B, K]``, K intervals."""
        return inputs + self.shift.view(theta).unsqueeze(1), None

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """A record's gradient of the intercepts is that of its outputs."""
        del theta, cache
        sink.rows(self.shift, gradient)
        return gradient.sum(dim=2, keepdim=True) if wants_input else None
