"""Sums over the records of a patient, added such that a patient's bits do not depend on where in a pass its records lie.

Which patients are treated apart follows from them, so nobody's coming or going may move another one across
(:mod:`federation.privacy.summation`). Axis names: S sites, B records of a site, d numbers of a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

_GATHERED: Final = 2**20
"""Numbers of rows that are put side by side at once."""


def squared(rows: Tensor) -> Tensor:
    """``[S, B]`` squared norms of the rows of ``[S, B, d]``."""
    return torch.linalg.vector_norm(rows, dim=2).square_()


def squares_of_products(same: Tensor, products: Sequence[tuple[Tensor, Tensor, bool]]) -> Tensor:
    """Squared norms of each patient's summed outer products, from inner products.

    Args:
        same: ``[S, B, B]`` float64: 1 where two records are of the same patient, else 0.
        products: For each layer inputs ``[S, B, in]``, output gradients ``[S, B, out]``, and whether it has a bias.

    Returns:
        ``[S, B]`` float64, at each of a patient's records.
    """
    if same.device.type != "cpu":
        pairs = torch.zeros_like(same)
        for inputs, outputs, has_bias in products:
            inner = _inner(inputs)
            if has_bias:
                inner += 1.0
            pairs += inner.mul_(_inner(outputs))
        return patient_sums(same, patient_sums(same, pairs))
    # Pair by pair, not by a matrix product of all rows with all rows: where a pair lies in it may show in the last bits.
    sites, records = same.shape[:2]
    site, first, second = torch.nonzero(same, as_tuple=True)
    one, other = site * records + first, site * records + second
    found = torch.zeros(len(one), dtype=torch.float64)
    for inputs, outputs, has_bias in products:
        part = _row_products(inputs, one, other)
        if has_bias:
            part += 1.0
        found += part.mul_(_row_products(outputs, one, other))
    sums = torch.bincount(one, weights=found, minlength=sites * records)
    return patient_sums(same, sums.double().view(sites, records))


def _inner(rows: Tensor) -> Tensor:
    """``[S, B, B]`` inner products of a site's rows."""
    return torch.bmm(rows, rows.transpose(1, 2))


def _row_products(rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``[P]`` inner products of pairs of rows of ``[S, B, d]``, a bounded number of them at a time."""
    flat = rows.flatten(0, 1)
    products = torch.empty(len(one), dtype=rows.dtype)
    at_once = max(1, _GATHERED // flat.shape[1])
    for start in range(0, len(one), at_once):
        chosen = slice(start, start + at_once)
        torch.sum(flat[one[chosen]].mul_(flat[other[chosen]]), dim=1, out=products[chosen])
    return products


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
    pairs = torch.nonzero(same.view(-1)).squeeze(1)  # one number each: a patient with many records has many
    first = pairs // records
    if values.dim() != same.dim():
        pairs = first.div(records, rounding_mode="floor").mul_(records).add_(pairs.remainder_(records))
    sums = torch.bincount(first, weights=values.reshape(-1)[pairs], minlength=sites * records)
    return sums.double().view(sites, records)  # whole numbers where there is no pair: nobody was drawn


def squares_of_sums(same: Tensor, gradients: Tensor) -> Tensor:
    """``[S, B]``: at each record the squared norm of its patient's summed ``gradients [S, B, d]``, as :func:`patient_sums` adds."""
    if same.device.type != "cpu":
        return torch.bmm(same, gradients).square_().sum(dim=2)
    sites, records = same.shape[:2]
    counts = same.diagonal(dim1=1, dim2=2)
    own = torch.arange(records).expand(sites, records)
    leader = torch.where(counts > 0, same.argmax(dim=2), own)  # the patient's first record; padding keeps to itself
    leader = leader + torch.arange(sites).unsqueeze(1) * records
    summed = torch.zeros_like(gradients).flatten(0, 1).index_add_(0, leader.flatten(), gradients.flatten(0, 1))
    return squared(summed.unsqueeze(0))[0][leader] * counts
