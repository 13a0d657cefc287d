"""What records take of the memory while their gradients are made: from the shapes of a stacked network alone.

Nothing here is read from records, so what follows from it (such as how many go through a network at once) is public. Every number
is of the most that is held at the same time, and counts memory that a layer may share with its neighbour twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from federation.models.stacked.convolution import ConvolutionLayer
from federation.models.stacked.layers import (
    InterceptsLayer,
    Layer,
    LinearLayer,
    MaxPoolLayer,
    NormalisationLayer,
    ReshapeLayer,
)
from federation.models.stacked.network import StackedNetwork

_SINGLE: Final = 4
_DOUBLE: Final = 8
_INDEX: Final = 8
_WRITING_OUT: Final = 3 * _SINGLE
"""Of a number of a gradient that is written out, beside its float64: as made, joined, laid out anew."""

PAIR_BYTES: Final = 48
"""Of two records of a pass where patients have several: whether they are of one patient, products of their gradients, and what
adds these up."""


@dataclass(frozen=True)
class RecordBytes:
    """Of one record, going through a network forward and backward.

    Args:
        summed: Where gradients are added up over the records.
        apart: Where they are kept record by record (:class:`~federation.models.stacked.sinks.RecordGradients`).
        forward: Where no gradients are made.
    """

    summed: int
    apart: int
    forward: int


def record_bytes(network: StackedNetwork, num_features: int, *, unfolds: bool = False) -> RecordBytes:
    """Bytes of one record: its features, all layers' values, their gradients.

    Args:
        network: Its layers say how many values they make of a record.
        num_features: F, at least 1.
        unfolds: Whether convolutions write out what every pixel sees, as they do on an accelerator.
    """
    shape: tuple[int, ...] = (num_features,)
    kept, apart, passing, widest = _SINGLE * num_features, 0, 0, 0
    for number, layer in enumerate(network.layers):
        before, shape = math.prod(shape), _output_shape(layer, shape)
        after = math.prod(shape)
        widest = max(widest, before + after)
        kept += _kept(layer, after, is_image=len(shape) > 1)
        if unfolds and isinstance(layer, ConvolutionLayer):
            kept += _SINGLE * before * layer.size**2
        apart += _apart(layer, before, after)
        goes_on = number > network.first_with_parameters
        passing = max(passing, _passing(layer, before if goes_on else 0, after, is_image=len(shape) > 1))
    summed = kept + passing
    return RecordBytes(summed, summed + apart, _SINGLE * (num_features + widest))


def fitting_records(most_bytes: int, *, each: int, pair: int = 0) -> int:
    """How many records fit, at least 0.

    Args:
        most_bytes: That they may take.
        each: Bytes of a record, at least 1.
        pair: Bytes of every ordered pair of them, see :data:`PAIR_BYTES`.
    """
    if not pair:
        return most_bytes // each
    return (math.isqrt(each**2 + 4 * pair * most_bytes) - each) // (2 * pair)


def _output_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    match layer:
        case LinearLayer():
            return (*shape[:-1], layer.weight.shape[0])
        case ConvolutionLayer():
            return (layer.weight.shape[0], *shape[1:])
        case MaxPoolLayer():
            return (shape[0], *(side // layer.size for side in shape[1:]))
        case ReshapeLayer():
            return layer.shape if -1 not in layer.shape else (math.prod(shape),)
        case InterceptsLayer():
            return layer.shift.shape
        case _:
            return shape


def _kept(layer: Layer, after: int, *, is_image: bool) -> int:
    """Bytes from forward to backward."""
    match layer:
        case ReshapeLayer():
            return 0
        case NormalisationLayer():  # what it gives, the same before scale and shift, and an image's pixels in another order
            return _SINGLE * (2 + is_image) * after
        case MaxPoolLayer():
            return (_SINGLE + _INDEX) * after
        case _:
            return _SINGLE * after


def _passing(layer: Layer, before: int, after: int, *, is_image: bool) -> int:
    """Bytes while gradients go back through a layer; ``before`` is 0 where its inputs get none."""
    match layer:
        case ReshapeLayer():
            return _SINGLE * after
        case ConvolutionLayer():
            return _SINGLE * (before + 2 * after) + _WRITING_OUT * layer.weight.size
        case NormalisationLayer():  # times scale, times the values, and an image's in another order
            return _SINGLE * (before + (4 + 2 * is_image) * after)
        case _:
            return _SINGLE * (before + after)


def _apart(layer: Layer, before: int, after: int) -> int:
    """Bytes that keep a record's gradient of a layer's parameters to itself."""
    match layer:
        case LinearLayer():
            return _DOUBLE * (before + after)
        case ConvolutionLayer():
            return _DOUBLE * (layer.weight.size + (layer.bias.size if layer.bias else 0))
        case NormalisationLayer():
            return _DOUBLE * sum(span.size for span in (layer.scale, layer.shift) if span is not None)
        case InterceptsLayer():
            return _DOUBLE * layer.shift.size
        case _:
            return 0
