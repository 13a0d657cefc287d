"""From a module to a stacked network, if every layer of it is covered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from federation.models.hazard_layers import IntervalIntercepts, RelativeHazard
from federation.models.losses import record_loss_gradients
from federation.models.stacked.convolution import ConvolutionLayer
from federation.models.stacked.layers import (
    ActivationLayer,
    InterceptsLayer,
    Layer,
    LinearLayer,
    MaxPoolLayer,
    NormalisationLayer,
    ReshapeLayer,
)
from federation.models.stacked.sinks import GradientSink, Span
from federation.models.task_terms import Objective


@dataclass(frozen=True)
class StackedNetwork:
    """A network whose parameters are given with every call, for many sites at once.

    Args:
        layers: In order.
        num_parameters: D, in the layout of :mod:`federation.models.parameters`.
        first_with_parameters: Position of the first layer that has any: gradients need go back no further.
    """

    layers: tuple[Layer, ...]
    num_parameters: int
    first_with_parameters: int

    def outputs(self, theta: Tensor, features: Tensor) -> Tensor:
        """What the network says.

        Args:
            theta: ``[S, D]`` float32.
            features: ``[S, B, F]`` float32.

        Returns:
            ``[S, B, K]``.
        """
        values = features
        for layer in self.layers:
            values, _ = layer.forward(theta, values)
        return values

    def loss_gradients(
        self,
        theta: Tensor,
        features: Tensor,
        outcomes: Tensor,
        *,
        task: Objective,
        sink: GradientSink,
        weights: Tensor | None = None,
    ) -> None:
        """Hand the gradients of every record's own loss to a sink.

        Args:
            theta: ``[S, D]`` float32.
            features: ``[S, B, F]`` float32.
            outcomes: ``[S, B]`` float32, as in :func:`federation.models.losses.record_losses`.
            task: Sets the loss.
            sink: Takes the gradients.
            weights: ``[S, B]`` float32 factors of the losses, such as one over the records of a batch, or 0; ``None``: 1.
        """
        caches: list[object] = []
        values = features
        for layer in self.layers:
            values, cache = layer.forward(theta, values)
            caches.append(cache)
        gradient: Tensor | None = record_loss_gradients(task, values, outcomes)
        if weights is not None:
            gradient = gradient * weights.unsqueeze(2)
        for number in range(len(self.layers) - 1, self.first_with_parameters - 1, -1):
            if gradient is None:
                break
            wanted = number > self.first_with_parameters
            gradient = self.layers[number].backward(theta, caches[number], gradient, sink, wants_input=wanted)


def stacked_network(module: nn.Module) -> StackedNetwork | None:
    """The same network, stacked; ``None`` if it has a layer that is not covered exactly.

    Layers are recognised by their exact type: a subclass may compute something else.

    Args:
        module: Sequences of the layers that :mod:`federation.models.build` uses. Its values do not matter.
    """
    leaves = list(_leaves(module))
    spans = _spans(module)
    if spans is None or any(True for _ in module.buffers()):
        return None
    layers: list[Layer] = []
    for leaf in leaves:
        make = _MAKERS.get(type(leaf))
        made = None if make is None else make(leaf, spans)
        if made is None:
            return None
        layers.append(made)
    with_parameters = [number for number, leaf in enumerate(leaves) if any(True for _ in leaf.parameters())]
    used = sum(parameter.numel() for leaf in leaves for parameter in leaf.parameters())
    total = sum(span.size for span in spans.values())
    if not with_parameters or used != total:
        return None
    return StackedNetwork(_pooled_first(layers), num_parameters=total, first_with_parameters=with_parameters[0])


def _pooled_first(layers: list[Layer]) -> tuple[Layer, ...]:
    """Pooling before a rectifier that stands before it: the same values and gradients on a quarter of the pixels.

    The largest of rectified values is the rectified largest. Where it is zero no gradient goes back either way, and where it is
    not both choose the same pixel.
    """
    ordered = list(layers)
    for number, (layer, following) in enumerate(pairwise(layers)):
        if layer == ActivationLayer("relu") and isinstance(following, MaxPoolLayer):
            ordered[number : number + 2] = following, layer
    return tuple(ordered)


_Spans = dict[int, Span]
"""Identity of a parameter to its place."""


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for child in module:
            yield from _leaves(child)
    else:
        yield module


def _spans(module: nn.Module) -> _Spans | None:
    spans: _Spans = {}
    start = 0
    for parameter in module.parameters():
        if parameter.dtype != torch.float32 or not parameter.requires_grad:
            return None
        spans[id(parameter)] = Span(start, tuple(parameter.shape))
        start += parameter.numel()
    return spans


def _optional(parameter: Tensor | None, spans: _Spans) -> Span | None:
    return None if parameter is None else spans[id(parameter)]


def _linear(leaf: nn.Module, spans: _Spans) -> Layer | None:
    if not isinstance(leaf, nn.Linear):
        return None
    bias = dict(leaf.named_parameters()).get("bias")
    return LinearLayer(spans[id(leaf.weight)], _optional(bias, spans))


def _convolution(leaf: nn.Module, spans: _Spans) -> Layer | None:
    if not isinstance(leaf, nn.Conv2d):
        return None
    size = leaf.kernel_size[0]
    plain = (
        leaf.kernel_size == (size, size)
        and size % 2 == 1
        and leaf.padding == (size // 2, size // 2)
        and leaf.stride == (1, 1)
        and leaf.dilation == (1, 1)
        and leaf.groups == 1
        and leaf.padding_mode == "zeros"
    )
    return ConvolutionLayer(spans[id(leaf.weight)], _optional(leaf.bias, spans), size) if plain else None


def _layer_norm(leaf: nn.Module, spans: _Spans) -> Layer | None:
    if not isinstance(leaf, nn.LayerNorm) or len(leaf.normalized_shape) != 1:
        return None
    named = dict(leaf.named_parameters())
    if len(named) == 1:
        return None
    scale, shift = _optional(named.get("weight"), spans), _optional(named.get("bias"), spans)
    return NormalisationLayer(scale, shift, groups=1, epsilon=leaf.eps)


def _group_norm(leaf: nn.Module, spans: _Spans) -> Layer | None:
    if not isinstance(leaf, nn.GroupNorm):
        return None
    named = dict(leaf.named_parameters())
    scale, shift = _optional(named.get("weight"), spans), _optional(named.get("bias"), spans)
    return NormalisationLayer(scale, shift, groups=leaf.num_groups, epsilon=leaf.eps)


def _max_pool(leaf: nn.Module, spans: _Spans) -> Layer | None:
    del spans
    if not isinstance(leaf, nn.MaxPool2d) or not isinstance(leaf.kernel_size, int):
        return None
    plain = leaf.stride == leaf.kernel_size and leaf.padding == 0 and leaf.dilation == 1 and not leaf.ceil_mode
    return MaxPoolLayer(leaf.kernel_size) if plain and not leaf.return_indices else None


def _unflatten(leaf: nn.Module, spans: _Spans) -> Layer | None:
    del spans
    if not isinstance(leaf, nn.Unflatten) or leaf.dim != 1:
        return None
    return ReshapeLayer(tuple(int(side) for side in leaf.unflattened_size))


def _flatten(leaf: nn.Module, spans: _Spans) -> Layer | None:
    del spans
    whole = isinstance(leaf, nn.Flatten) and leaf.start_dim == 1 and leaf.end_dim == -1
    return ReshapeLayer((-1,)) if whole else None


def _gelu(leaf: nn.Module, spans: _Spans) -> Layer | None:
    del spans
    return ActivationLayer("gelu") if isinstance(leaf, nn.GELU) and leaf.approximate == "none" else None


def _intercepts(leaf: nn.Module, spans: _Spans) -> Layer | None:
    return InterceptsLayer(spans[id(leaf.shift)]) if isinstance(leaf, IntervalIntercepts) else None


_MAKERS: dict[type[nn.Module], Callable[[nn.Module, _Spans], Layer | None]] = {
    nn.Linear: _linear,
    RelativeHazard: _linear,
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.MaxPool2d: _max_pool,
    nn.Unflatten: _unflatten,
    nn.Flatten: _flatten,
    nn.ReLU: lambda _leaf, _spans: ActivationLayer("relu"),
    nn.Tanh: lambda _leaf, _spans: ActivationLayer("tanh"),
    nn.GELU: _gelu,
    IntervalIntercepts: _intercepts,
}
