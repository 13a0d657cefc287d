"""Where gradients go: into one sum for each site, or aside, record by record, until it is known how much each may count.

Axis names: S sites, B records of a site, P patients, D parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from federation.errors import InternalError


class _Views:
    """The views of a parameter in the vectors that were looked at last: parameters and their gradients' sum, as a rule."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[tuple[Tensor, Tensor], ...] = ()

    def of(self, flat: Tensor) -> Tensor | None:
        for known, view in self._last:
            if known is flat:
                return view
        return None

    def keep(self, flat: Tensor, view: Tensor) -> None:
        self._last = ((flat, view), *self._last[:1])


@dataclass(frozen=True)
class Span:
    """Where a parameter lies in a site's flat vector.

    Args:
        start: First coordinate.
        shape: Of the parameter.
    """

    start: int
    shape: tuple[int, ...]

    @cached_property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)

    @cached_property
    def _strides(self) -> tuple[int, ...]:
        """Of the parameter, contiguous."""
        return tuple(math.prod(self.shape[place + 1 :]) for place in range(len(self.shape)))

    def of(self, flat: Tensor) -> Tensor:
        """The coordinates of every row of ``[S, D]``: ``[S, size]``, shared memory."""
        return flat[:, self.start : self.start + self.size]

    @cached_property
    def _views(self) -> _Views:
        return _Views()

    def view(self, flat: Tensor) -> Tensor:
        """The same as ``[S, *shape]``; the same view again of the same vector."""
        # A step of a small network makes a dozen views, as dear as its products.
        found = self._views.of(flat)
        if found is not None:
            return found
        if flat.stride(1) != 1:
            return self.of(flat).view(flat.shape[0], *self.shape)
        view = flat.as_strided(
            (flat.shape[0], *self.shape), (flat.stride(0), *self._strides), flat.storage_offset() + self.start
        )
        self._views.keep(flat, view)
        return view


class GradientSink(Protocol):
    """Takes gradients of losses from the layers, in any order, each parameter once."""

    per_record: bool
    """Whether a layer has to keep records apart; otherwise :meth:`total` is cheaper."""

    def product(self, weight: Span, bias: Span | None, *, inputs: Tensor, outputs: Tensor) -> None:
        """A linear layer: a record's gradient is the outer product of ``outputs [S, B, out]`` and ``inputs [S, B, in]``."""
        ...

    def rows(self, span: Span, gradients: Tensor) -> None:
        """A parameter's gradient of each record, written out: ``[S, B, ...]``."""
        ...

    def total(self, span: Span, gradients: Tensor) -> None:
        """A parameter's gradient summed over the records: ``[S, ...]``. Only if not :attr:`per_record`."""
        ...


class SummedGradients:
    """The sum over a site's records.

    Args:
        flat: ``[S, D]``; overwritten where gradients come in.
    """

    per_record = False

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat

    def product(self, weight: Span, bias: Span | None, *, inputs: Tensor, outputs: Tensor) -> None:
        """See :class:`GradientSink`."""
        torch.bmm(outputs.transpose(1, 2), inputs, out=weight.view(self.flat))
        if bias is not None:
            torch.sum(outputs, dim=1, out=bias.view(self.flat))

    def rows(self, span: Span, gradients: Tensor) -> None:
        """See :class:`GradientSink`."""
        torch.sum(gradients.flatten(2), dim=1, out=span.of(self.flat))

    def total(self, span: Span, gradients: Tensor) -> None:
        """See :class:`GradientSink`."""
        span.of(self.flat).copy_(gradients.flatten(1))


@dataclass(frozen=True)
class _Product:
    """Float64 copies of a linear layer's inputs and output gradients."""

    weight: Span
    bias: Span | None
    inputs: Tensor
    outputs: Tensor


class RecordGradients:
    """Gradients of single records, never written out where they are outer products (Bu et al. 2022, "book-keeping").

    Norms come from the factors: the outer product of ``b`` and ``(a, 1)`` has the norm ``|b| |(a, 1)|``. Once it is known how much
    each record counts, one matrix product gives the weighted sum. Norms and sums are float64.
    """

    per_record = True

    def __init__(self) -> None:
        self._products: list[_Product] = []
        self._rows: list[tuple[Span, Tensor]] = []

    def product(self, weight: Span, bias: Span | None, *, inputs: Tensor, outputs: Tensor) -> None:
        """See :class:`GradientSink`."""
        self._products.append(_Product(weight, bias, inputs.double(), outputs.double()))

    def rows(self, span: Span, gradients: Tensor) -> None:
        """See :class:`GradientSink`."""
        self._rows.append((span, gradients.flatten(2).double()))

    def total(self, span: Span, gradients: Tensor) -> None:
        """Never: a sum cannot be taken apart."""
        raise InternalError(
            f"expected gradients record by record, got a sum of shape {tuple(gradients.shape)} for {span}"
        )

    def squared_norms(self) -> Tensor:
        """``[S, B]`` float64: of each record's whole gradient. Not finite where the gradient is not."""
        squares: Tensor | None = None
        for item in self._products:
            inputs = _squared(item.inputs)
            if item.bias is not None:
                inputs += 1.0
            part = inputs.mul_(_squared(item.outputs))
            squares = part if squares is None else squares.add_(part)
        for _, gradients in self._rows:
            part = _squared(gradients)
            squares = part if squares is None else squares.add_(part)
        if squares is None:
            raise InternalError("expected gradients of at least one parameter, got none")
        return squares

    def forget(self, records: Tensor) -> None:
        """Make the gradients of some records zero: what is not finite would be so in every product.

        Args:
            records: ``[S, B]`` bool.
        """
        chosen = records.unsqueeze(2)
        for item in self._products:
            item.inputs.masked_fill_(chosen, 0.0)
            item.outputs.masked_fill_(chosen, 0.0)
        for _, gradients in self._rows:
            gradients.masked_fill_(chosen, 0.0)

    def squared_patient_norms(self, same: Tensor) -> Tensor:
        """Of the sums over a patient's records, at each of the records.

        From inner products: the sum of the outer products of ``b_r`` and ``a_r`` has the squared norm of all
        ``(a_r a_q) (b_r b_q)`` added up. All gradients must be finite, see :meth:`forget`.

        Args:
            same: ``[S, B, B]`` float64: 1 where two records are of the same patient, else 0.

        Returns:
            ``[S, B]`` float64.
        """
        pairs = torch.zeros_like(same)
        for item in self._products:
            inner = _inner(item.inputs)
            if item.bias is not None:
                inner += 1.0
            pairs += inner.mul_(_inner(item.outputs))
        squares = patient_sums(same, patient_sums(same, pairs))
        for _, gradients in self._rows:
            squares += _squares_of_sums(same, gradients)
        return squares.clamp_(min=0.0)

    def add_weighted(self, factors: Tensor, total: Tensor, *, is_first: bool = False) -> None:
        """Add each record's gradient times its factor. All gradients must be finite, see :meth:`forget`; used up by the call.

        Args:
            factors: ``[S, B]`` float64.
            total: ``[S, D]`` float64, changed in place.
            is_first: Whether to overwrite the total, as if it were zero: the same bits without reading it.
        """
        counted = factors.unsqueeze(2)
        for item in self._products:
            weighted = item.outputs.mul_(counted)
            transposed = weighted.transpose(1, 2)
            if is_first:
                torch.bmm(transposed, item.inputs, out=item.weight.view(total))
            else:
                # Added up by itself first: a product that starts from the total rounds at every record as coarsely as the total.
                item.weight.view(total).add_(torch.bmm(transposed, item.inputs))
            if item.bias is not None and is_first:
                torch.sum(weighted, dim=1, out=item.bias.view(total))
            elif item.bias is not None:
                item.bias.view(total).add_(weighted.sum(dim=1))
        for span, gradients in self._rows:
            _give(torch.bmm(factors.unsqueeze(1), gradients).squeeze(1), span.of(total), is_first=is_first)


def _give(values: Tensor, total: Tensor, *, is_first: bool) -> None:
    if is_first:
        total.copy_(values)
    else:
        total.add_(values)


def _squared(rows: Tensor) -> Tensor:
    """``[S, B]`` squared norms of the rows of ``[S, B, d]``."""
    return torch.linalg.vector_norm(rows, dim=2).square_()


def _inner(rows: Tensor) -> Tensor:
    """``[S, B, B]`` inner products of a site's rows."""
    return torch.bmm(rows, rows.transpose(1, 2))


def patient_sums(same: Tensor, values: Tensor) -> Tensor:
    """Sums over the records of each record's patient.

    On the CPU numbers are added one after another in the order of the records: the bits of a patient's sum do not depend on
    where in a pass its records lie, so that nothing decided by it depends on who else was drawn.

    Args:
        same: ``[S, B, B]`` float64: 1 where two records are of the same patient, else 0.
        values: ``[S, B]``, or ``[S, B, B]`` with a value for each pair.

    Returns:
        ``[S, B]`` float64.
    """
    sites, records = same.shape[:2]
    if same.device.type != "cpu":
        return (same * (values if values.dim() == same.dim() else values.unsqueeze(1))).sum(dim=2)
    pairs = torch.nonzero(same.view(-1)).squeeze(
        1
    )  # one number for each: of a patient with many records there are many
    first = pairs // records
    if values.dim() != same.dim():
        pairs = first.div(records, rounding_mode="floor").mul_(records).add_(pairs.remainder_(records))
    sums = torch.bincount(first, weights=values.reshape(-1)[pairs], minlength=sites * records)
    return sums.double().view(sites, records)  # whole numbers where there is no pair: nobody was drawn


def _squares_of_sums(same: Tensor, gradients: Tensor) -> Tensor:
    """``[S, B]``: at each record the squared norm of its patient's summed ``gradients [S, B, d]``, as :func:`patient_sums` adds."""
    if same.device.type != "cpu":
        return torch.bmm(same, gradients).square_().sum(dim=2)
    sites, records = same.shape[:2]
    counts = same.diagonal(dim1=1, dim2=2)
    own = torch.arange(records).expand(sites, records)
    leader = torch.where(counts > 0, same.argmax(dim=2), own)  # the patient's first record; padding keeps to itself
    leader = leader + torch.arange(sites).unsqueeze(1) * records
    summed = torch.zeros_like(gradients).flatten(0, 1).index_add_(0, leader.flatten(), gradients.flatten(0, 1))
    return _squared(summed.unsqueeze(0))[0][leader] * counts
