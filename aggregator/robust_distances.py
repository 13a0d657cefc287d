"""Sums over the columns of a round's updates, block by block: distances, products and weighted sums."""

from __future__ import annotations

import numpy as np

from aggregator.update_rows import UpdateRows
from federation.algorithms.fedavg import Vector


def squared_distances(rows: UpdateRows) -> Vector:
    """``[n, n]`` squared L2 distances between the updates.

    From differences, not from products: with an update of 1e30 among them, products would lose the others' digits.
    """
    found = np.zeros((len(rows), len(rows)))
    for _, block in rows.blocks():
        for row in range(1, len(rows)):
            found[row, :row] += ((block[:row] - block[row]) ** 2).sum(axis=1)
    return found + found.T


def weighted_sum(rows: UpdateRows, coefficients: Vector) -> Vector:
    """``[num_columns]``: the sum of coefficient times update, in roster order.

    Args:
        rows: The updates.
        coefficients: ``[n]``, one for each.
    """
    result = np.zeros(rows.num_columns)
    for columns, block in rows.blocks():
        for coefficient, numbers in zip(coefficients, block, strict=True):
            result[columns] += coefficient * numbers
    return result


def lengths_and_products(rows: UpdateRows, reference: int) -> tuple[Vector, Vector]:
    """L2 norm of each update ``[n]``, and its inner product with one of them ``[n]``.

    Args:
        rows: The updates.
        reference: Row of that one.
    """
    squares, products = np.zeros(len(rows)), np.zeros(len(rows))
    for _, block in rows.blocks():
        squares += (block**2).sum(axis=1)
        products += (block * block[reference]).sum(axis=1)
    return np.sqrt(squares), products
