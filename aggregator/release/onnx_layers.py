"""The layers that a study's network can have, as nodes of an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from federation.errors import InternalError
from federation.models.intercepts import IntervalIntercepts

if TYPE_CHECKING:
    from collections.abc import Callable


class GraphBuilder(Protocol):
    """What a layer needs of the graph it is added to."""

    def constant(self, values: NDArray[Any]) -> str:
        """Name of a new constant."""
        ...

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - onnx's own
        """Name of the output of a new node."""
        ...


def add_layer(graph: GraphBuilder, inputs: str, layer: nn.Module) -> str:
    """Add one layer, as it is in evaluation mode.

    Args:
        graph: Gets the nodes.
        inputs: Name of what the layer reads.
        layer: Of :func:`federation.models.build.build_model`.

    Returns:
        Name of the layer's output.

    Raises:
        InternalError: If it is a layer that no study can have.
    """
    for kind, write in _WRITERS.items():
        if isinstance(layer, kind):
            return write(graph, inputs, layer)
    raise InternalError(f"expected a layer of a study's network, got {type(layer).__name__}")


def _values(tensor: torch.Tensor) -> NDArray[Any]:
    return np.array(tensor.detach().numpy())


def _weights(graph: GraphBuilder, layer: Any, *names: str) -> list[str]:  # noqa: ANN401 - layers have these in common
    found = [getattr(layer, name) for name in names]
    return [graph.constant(_values(tensor)) for tensor in found if tensor is not None]


def _linear(graph: GraphBuilder, inputs: str, layer: nn.Linear) -> str:
    return graph.add("Gemm", inputs, *_weights(graph, layer, "weight", "bias"), transB=1)


def _convolution(graph: GraphBuilder, inputs: str, layer: nn.Conv2d) -> str:
    # studies have 3x3 convolutions that keep the image's size
    return graph.add("Conv", inputs, *_weights(graph, layer, "weight", "bias"), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _layer_norm(graph: GraphBuilder, inputs: str, layer: nn.LayerNorm) -> str:
    weights = _weights(graph, layer, "weight", "bias")
    return graph.add("LayerNormalization", inputs, *weights, axis=-1, epsilon=layer.eps)


def _batch_norm(graph: GraphBuilder, inputs: str, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> str:
    weights = _weights(graph, layer, "weight", "bias", "running_mean", "running_var")
    return graph.add("BatchNormalization", inputs, *weights, epsilon=layer.eps)


def _group_norm(graph: GraphBuilder, inputs: str, layer: nn.GroupNorm) -> str:
    """Each group as one instance of one channel, then scale and shift of the channels."""
    groups, shape = layer.num_groups, graph.add("Shape", inputs)
    grouped = graph.add("Reshape", inputs, graph.constant(np.array([0, groups, -1], dtype=np.int64)))
    ones, zeros = np.ones(groups, dtype=np.float32), np.zeros(groups, dtype=np.float32)
    even = graph.add("InstanceNormalization", grouped, graph.constant(ones), graph.constant(zeros), epsilon=layer.eps)
    back = graph.add("Reshape", even, shape)
    per_channel = (-1, 1, 1)
    scaled = graph.add("Mul", back, graph.constant(_values(layer.weight).reshape(per_channel)))
    return graph.add("Add", scaled, graph.constant(_values(layer.bias).reshape(per_channel)))


def _unflatten(graph: GraphBuilder, inputs: str, layer: nn.Unflatten) -> str:
    shape = [0, *layer.unflattened_size]  # 0: as many records as there are
    return graph.add("Reshape", inputs, graph.constant(np.array(shape, dtype=np.int64)))


_WRITERS: dict[type[nn.Module], Callable[[GraphBuilder, str, Any], str]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.Unflatten: _unflatten,
    nn.Flatten: lambda graph, inputs, _: graph.add("Flatten", inputs, axis=1),
    nn.MaxPool2d: lambda graph, inputs, _: graph.add("MaxPool", inputs, kernel_shape=[2, 2], strides=[2, 2]),
    nn.ReLU: lambda graph, inputs, _: graph.add("Relu", inputs),
    nn.Tanh: lambda graph, inputs, _: graph.add("Tanh", inputs),
    IntervalIntercepts: lambda graph, inputs, layer: graph.add("Add", inputs, *_weights(graph, layer, "shift")),
    nn.GELU: lambda graph, inputs, _: graph.add("Gelu", inputs),
}
