"""Linear layers with activations between them, of many sites at once, in memory laid out for it.

The general kernels (:mod:`federation.models.stacked`) read parameters from the flat vector that travels. Products of a few sites'
mini-batches take microseconds, and then slicing that vector, adding biases and multiplying by transposed matrices cost more than
the arithmetic. Here each layer's parameters are a block of memory of their own, inputs by outputs; the first layer's bias is one
more row, since records have a column of ones (:mod:`experiments.engines.batched.chain_steps` computes with them).

Only the order of memory differs: optimisers and algorithms work element by element, so they serve the packed vector as they serve
the flat one.

Axis names: S sites, K steps, D parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from federation.models.stacked.layers import ActivationLayer, LinearLayer
from federation.models.stacked.network import StackedNetwork
from federation.models.stacked.sinks import Span


@dataclass(frozen=True)
class ChainLayer:
    """A linear layer and what follows it.

    Args:
        weight: Of the flat vector, outputs by inputs.
        bias: Of the flat vector, or ``None``.
        is_joined: Whether the bias is a row of the packed weights.
        activation: After the layer; ``None`` for the last.
    """

    weight: Span
    bias: Span | None
    is_joined: bool
    activation: Literal["relu", "tanh", "gelu"] | None

    @property
    def packed_shape(self) -> tuple[int, int]:
        """Inputs, with one for a bias that is joined, by outputs."""
        outputs, inputs = self.weight.shape
        return inputs + self.is_joined, outputs


@dataclass(frozen=True)
class Piece:
    """A layer's packed parameters, or their gradients: shared memory.

    Args:
        weight: ``[S, inputs, outputs]``.
        bias: ``[S, 1, outputs]`` where it is not a row of the weights.
    """

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class ChainLayout:
    """Where the parameters of a chain lie.

    Args:
        layers: From the features to the outputs.
    """

    layers: tuple[ChainLayer, ...]

    @classmethod
    def of(cls, network: StackedNetwork) -> Self | None:
        """The layout of a network; ``None`` if it has other layers."""
        layers: list[ChainLayer] = []
        rest = list(network.layers)
        while rest:
            linear = rest.pop(0)
            if not isinstance(linear, LinearLayer):
                return None
            following = rest.pop(0) if rest else None
            if following is not None and not (rest and isinstance(following, ActivationLayer)):
                return None
            joined = not layers and linear.bias is not None
            layers.append(ChainLayer(linear.weight, linear.bias, joined, following.kind if following else None))
        return cls(tuple(layers))

    @property
    def has_ones(self) -> bool:
        """Whether records need a column of ones after their features."""
        return self.layers[0].is_joined

    def pack(self, values: Tensor) -> Tensor:
        """``[S, D]`` values of parameters, flat, to ``[S D]``: one block for each piece."""
        parts: list[Tensor] = []
        for layer in self.layers:
            weight = layer.weight.view(values).transpose(1, 2)
            if layer.bias is not None and layer.is_joined:
                weight = torch.cat((weight, layer.bias.of(values).unsqueeze(1)), dim=1)
            parts.append(weight.reshape(-1))
            if layer.bias is not None and not layer.is_joined:
                parts.append(layer.bias.of(values).reshape(-1))
        return torch.cat(parts)

    def pack_steps(self, values: Tensor) -> Tensor:
        """``[S, K, D]`` values of K steps to ``[K, S D]``."""
        num_sites, num_steps, size = values.shape
        packed = values.new_empty((num_steps, num_sites * size))
        start = 0
        for layer in self.layers:
            inputs, outputs = layer.packed_shape
            end = start + num_sites * inputs * outputs
            weight, start = packed[:, start:end].view(num_steps, num_sites, inputs, outputs), end
            of_weight = values[:, :, layer.weight.start : layer.weight.start + layer.weight.size]
            rows = layer.weight.shape[1]
            weight[:, :, :rows].copy_(of_weight.unflatten(2, layer.weight.shape).permute(1, 0, 3, 2))
            if layer.bias is None:
                continue
            of_bias = values[:, :, layer.bias.start : layer.bias.start + layer.bias.size].transpose(0, 1)
            if layer.is_joined:
                weight[:, :, rows].copy_(of_bias)
            else:
                end = start + num_sites * outputs
                packed[:, start:end].view(num_steps, num_sites, outputs).copy_(of_bias)
                start = end
        return packed

    def pieces(self, packed: Tensor, *, num_sites: int) -> list[Piece]:
        """Views of ``[S D]``, one for each layer."""
        pieces: list[Piece] = []
        start = 0
        for layer in self.layers:
            inputs, outputs = layer.packed_shape
            end = start + num_sites * inputs * outputs
            weight, start = packed[start:end].view(num_sites, inputs, outputs), end
            bias = None
            if layer.bias is not None and not layer.is_joined:
                end = start + num_sites * outputs
                bias, start = packed[start:end].view(num_sites, 1, outputs), end
            pieces.append(Piece(weight, bias))
        return pieces

    def unpack(self, packed: Tensor, *, num_sites: int) -> Tensor:
        """``[S D]`` back to ``[S, D]``."""
        flat = packed.new_empty((num_sites, packed.numel() // num_sites))
        for layer, piece in zip(self.layers, self.pieces(packed, num_sites=num_sites), strict=True):
            inputs = layer.weight.shape[1]
            layer.weight.view(flat).copy_(piece.weight[:, :inputs].transpose(1, 2))
            if layer.bias is not None:
                bias = piece.weight[:, inputs] if piece.bias is None else piece.bias.squeeze(1)
                layer.bias.of(flat).copy_(bias)
        return flat
