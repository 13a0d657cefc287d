"""A step of a chain: every product, sum and activation with its tensors bound, made once a round for each number of places.

Making a view costs as much as a small product, so no view is made while a round steps.

Functions that are computed value by value see whole vectors (:data:`~experiments.engines.batched.draws.WHOLE_VECTORS`): behind the
places of all sites there are some more, which stay zero.

Axis names: S sites, B places for records of a site, P places of all sites as whole vectors, F features, K outputs, D parameters,
R records of all sites.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from torch import Tensor

from experiments.engines.batched.chains import ChainLayer, ChainLayout, Piece
from experiments.engines.batched.draws import whole_vectors
from federation.models.stacked.tanh import tanh_

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class LayerStep:
    """A layer in a step: shared buffers.

    Args:
        number: Of the layer, from the features.
        inputs: ``[S, B, inputs]``.
        gradient: ``[S, B, outputs]`` at its outputs.
    """

    number: int
    inputs: Tensor
    gradient: Tensor


Operation = Callable[[], object]
"""A call with all its tensors bound: no view is made when it is called."""
Products = Callable[[LayerStep], Sequence[Operation]]
"""What is done with a layer's inputs and output gradients in a step."""


class StepBuffers:
    """Memory that the steps of a round share, whatever the number of their places: each overwrites it.

    Behind a step's own places there may be what a wider one left. It stays there: rows are computed by themselves.

    Args:
        theta: Of the network; says type and device.
        most_rows: Places of all sites in the widest step.
    """

    def __init__(self, theta: Tensor, *, most_rows: int) -> None:
        self._theta, self._rows = theta, whole_vectors(most_rows)
        self._kept: dict[int, Tensor] = {}

    def of(self, number: int, *, rows: int, width: int) -> Tensor:
        """``[rows, width]``, shared by those who ask for the same number; zero at first."""
        if number not in self._kept:
            self._kept[number] = self._theta.new_zeros(self._rows * width)
        return self._kept[number][: rows * width].view(rows, width)


class ChainStep:
    """Forward and backward of a step with so many places, at the packed parameters of the moment.

    Args:
        layout: Of the network.
        theta: ``[S D]`` packed float32, looked at anew with every call.
        num_sites: S.
        places: B.
        products: Done at each layer on the way back. The layers before it have had their gradients by then, so that its parameters
            may change.
        buffers: Shared with the other steps of a round; ``None``: its own.
    """

    def __init__(
        self,
        layout: ChainLayout,
        theta: Tensor,
        *,
        num_sites: int,
        places: int,
        products: Products | None = None,
        buffers: StepBuffers | None = None,
    ) -> None:
        size = num_sites * places
        shared, numbers = buffers or StepBuffers(theta, most_rows=size), count()

        def buffer(width: int) -> Tensor:
            return shared.of(next(numbers), rows=whole_vectors(size), width=width)

        def by_site(whole: Tensor) -> Tensor:
            return whole[:size].view(num_sites, places, -1)

        pieces = layout.pieces(theta, num_sites=num_sites)
        self._whole_features = buffer(layout.layers[0].packed_shape[0])
        self.features = by_site(self._whole_features)
        self._forward: list[Operation] = []
        self.layers: list[LayerStep] = []
        backward: list[Operation] = []
        back_through: list[Operation] = []
        values, self.outputs, self.at_outputs = self.features, self._whole_features, self._whole_features
        for number, (layer, piece) in enumerate(zip(layout.layers, pieces, strict=True)):
            whole_product, whole_gradient = buffer(layer.packed_shape[1]), buffer(layer.packed_shape[1])
            product, gradient = by_site(whole_product), by_site(whole_gradient)
            step = LayerStep(number, values, gradient)
            if products is not None:
                backward = [*products(step), *backward]
            if number:
                backward = [_input_gradient(gradient, piece.weight, self.layers[-1].gradient), *back_through, *backward]
            self.layers.append(step)
            self._forward.append(_product(values, piece.weight, product))
            if piece.bias is not None:
                self._forward.append(partial(product.add_, piece.bias))
            whole_values = buffer(layer.packed_shape[1]) if layer.activation == "gelu" else whole_product
            self._forward += _activation(layer, whole_product, whole_values)
            back_through = _through_activation(layer, whole_gradient, whole_values, whole_product)
            values, self.outputs, self.at_outputs = by_site(whole_values), whole_values, whole_gradient
        self._backward = backward

    def say(self, rows: Tensor, chosen: Tensor) -> Tensor:
        """What the network says to some rows: ``[P, K]``, overwritten by the next call.

        Args:
            rows: ``[R, F]`` with their ones.
            chosen: ``[P]`` which of them, see :class:`~experiments.engines.batched.draws.StepRows`.
        """
        torch.index_select(rows, 0, chosen, out=self._whole_features)
        for operation in self._forward:
            operation()
        return self.outputs

    def go_back(self) -> None:
        """From :attr:`at_outputs` ``[P, K]`` through all layers."""
        for operation in self._backward:
            operation()


def added(piece: Piece, step: LayerStep, *, factor: float) -> list[Operation]:
    """Add a layer's gradients, times a factor, to its parameters.

    Args:
        piece: Of the parameters.
        step: Of the layer.
        factor: Such as minus a learning rate.
    """
    if piece.weight.shape[2] == 1:  # the library is slow where a result is one column, and fast where it is one row
        operations: list[Operation] = [
            partial(_as_row(piece.weight).baddbmm_, _as_row(step.gradient), step.inputs, alpha=factor)
        ]
    else:
        operations = [partial(piece.weight.baddbmm_, step.inputs.transpose(1, 2), step.gradient, alpha=factor)]
    if piece.bias is not None:
        bias, gradient = piece.bias, step.gradient
        operations.append(lambda: bias.add_(gradient.sum(dim=1, keepdim=True), alpha=factor))
    return operations


def written(piece: Piece, step: LayerStep) -> list[Operation]:
    """Write a layer's gradients, added up over its records.

    Args:
        piece: Of the gradients.
        step: Of the layer.
    """
    if piece.weight.shape[2] == 1:
        operations: list[Operation] = [
            partial(torch.bmm, _as_row(step.gradient), step.inputs, out=_as_row(piece.weight))
        ]
    else:
        operations = [partial(torch.bmm, step.inputs.transpose(1, 2), step.gradient, out=piece.weight)]
    if piece.bias is not None:
        operations.append(partial(torch.sum, step.gradient, dim=1, keepdim=True, out=piece.bias))
    return operations


def _as_row(columns: Tensor) -> Tensor:
    """``[S, n, 1]`` as ``[S, 1, n]``. Not transposed: its strides would say columns, and the library is slow with these."""
    return columns.view(len(columns), 1, -1)


def _product(inputs: Tensor, weight: Tensor, out: Tensor) -> Operation:
    if weight.shape[2] == 1:
        return partial(torch.bmm, _as_row(weight), inputs.transpose(1, 2), out=_as_row(out))
    return partial(torch.bmm, inputs, weight, out=out)


def _input_gradient(gradient: Tensor, weight: Tensor, out: Tensor) -> Operation:
    if weight.shape[2] == 1:
        return partial(torch.mul, gradient, _as_row(weight), out=out)
    return partial(torch.bmm, gradient, weight.transpose(1, 2), out=out)


def _activation(layer: ChainLayer, inputs: Tensor, outputs: Tensor) -> list[Operation]:
    """In place where backward needs the outputs only: these are the same buffer then."""
    match layer.activation:
        case None:
            return []
        case "tanh":
            return [partial(tanh_, inputs)]
        case "relu":
            return [inputs.relu_]
        case "gelu":
            return [partial(_ATEN.gelu.out, inputs, out=outputs)]


def _through_activation(layer: ChainLayer, gradient: Tensor, outputs: Tensor, inputs: Tensor) -> list[Operation]:
    """The gradient at an activation's outputs becomes that at its inputs, in place."""
    match layer.activation:
        case None:
            return []
        case "tanh":
            return [partial(_ATEN.tanh_backward.grad_input, gradient, outputs, grad_input=gradient)]
        case "relu":
            return [partial(_ATEN.threshold_backward.grad_input, gradient, outputs, 0, grad_input=gradient)]
        case "gelu":
            return [partial(_ATEN.gelu_backward.grad_input, gradient, inputs, grad_input=gradient)]
