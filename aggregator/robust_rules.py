"""Rules that combine updates so that a minority of faulty ones cannot choose the result.

Each rule works on ``[sites, columns]`` blocks in float64 and holds a few vectors of one model's length, whatever the number of
sites. Sites are taken in roster order, so that the result is the same bit for bit on every engine. The rules count
sites; the roster's public weights enter only where the guarantee does not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from aggregator.robust_distances import lengths_and_products, squared_distances, weighted_sum
from aggregator.update_rows import UpdateRows
from federation.algorithms.fedavg import Vector
from federation.errors import InternalError
from federation.study.robust_spec import CoordinateMedian, FLTrust, GeometricMedian, Krum, RobustRule, TrimmedMean


@dataclass(frozen=True)
class Combination:
    """What a rule made of the updates.

    Args:
        update: ``[num_columns]``, float64.
        excluded: Sites that are not in it, with the reason. Rules by coordinate exclude no site as a whole.
    """

    update: Vector = field(repr=False)
    excluded: Mapping[str, str] = field(default_factory=dict[str, str])


def combine(rule: RobustRule, rows: UpdateRows, *, faulty: int) -> Combination:
    """Combine checked updates.

    Args:
        rule: Of the manifest.
        rows: Updates that passed the checks, at least :func:`~federation.study.robust_spec.sites_needed`.
        faulty: How many of them may be faulty (f).
    """
    match rule:
        case TrimmedMean():
            return Combination(trimmed_mean(rows, faulty=faulty))
        case CoordinateMedian():
            return Combination(coordinate_median(rows))
        case Krum():
            return krum(rows, faulty=faulty, selected=rule.selected)
        case GeometricMedian():
            return Combination(geometric_median(rows, iterations=rule.iterations, tolerance=rule.tolerance))
        case FLTrust():
            return fltrust(rows, root=rule.root)
        case _:
            assert_never(rule)


def trimmed_mean(rows: UpdateRows, *, faulty: int) -> Vector:
    """Per coordinate: leave out the f smallest and f largest, and average the rest with their weights.

    Every value that is left lies between two values of sites that are not faulty, so their average does too, whatever the
    weights. With f = 0 it is the weighted mean. Yin et al. 2018 (arXiv 1803.01498), definition 2, with equal weights.

    Args:
        rows: More than ``2 * faulty`` updates.
        faulty: f.
    """
    result = np.empty(rows.num_columns)
    by_weight = np.argsort(np.asarray(rows.weights), kind="stable")  # equal values are then taken in a fixed order
    weights = np.asarray(rows.weights)[by_weight]
    kept = slice(faulty, len(rows) - faulty)
    for columns, block in rows.blocks():
        ordered = block[by_weight]
        order = np.argsort(ordered, axis=0, kind="stable")[kept]
        values, shares = np.take_along_axis(ordered, order, axis=0), weights[order]
        means = (values * shares).sum(axis=0) / shares.sum(axis=0)
        result[columns] = np.clip(means, values[0], values[-1])  # rounding may not leave the range
    return result


def coordinate_median(rows: UpdateRows) -> Vector:
    """Per coordinate, the median of the sites, each of which counts once: Yin et al. 2018, definition 1.

    Args:
        rows: At least one update.
    """
    result = np.empty(rows.num_columns)
    for columns, block in rows.blocks():
        result[columns] = np.median(block, axis=0)
    return result


def krum(rows: UpdateRows, *, faulty: int, selected: int | None) -> Combination:
    """Average the updates with the smallest sums of squared distances to their n - f - 2 nearest neighbours.

    Blanchard et al. 2017 (NeurIPS), section 4. What is selected is averaged with the roster's weights. Equal scores: the site
    that is first in the roster.

    Args:
        rows: At least ``2 * faulty + 3`` updates.
        faulty: f.
        selected: Updates to average; ``None``, or more than are safe: n - f - 2.
    """
    neighbours = len(rows) - faulty - 2
    number = neighbours if selected is None else min(selected, neighbours)
    distances = squared_distances(rows)
    np.fill_diagonal(distances, np.inf)
    scores = np.sort(distances, axis=1)[:, :neighbours].sum(axis=1)
    chosen = set(np.argsort(scores, kind="stable")[:number].tolist())
    coefficients = np.asarray([weight if row in chosen else 0.0 for row, weight in enumerate(rows.weights)])
    return Combination(
        update=weighted_sum(rows, coefficients / coefficients.sum()),
        excluded={
            site: f"not among the {number} updates nearest to their neighbours"
            for row, site in enumerate(rows.sites)
            if row not in chosen
        },
    )


def geometric_median(rows: UpdateRows, *, iterations: int, tolerance: float) -> Vector:
    """The point with the smallest sum of distances to the updates, by smoothed Weiszfeld steps from the coordinates' median.

    Pillutla, Kakade & Harchaoui 2022 (arXiv 1912.13445), algorithm 2, every site counting once. Distances below a millionth of
    the median distance count as that much.

    Args:
        rows: At least one update.
        iterations: Steps, at most.
        tolerance: Ends when the sum of distances falls by less than this fraction.
    """
    point = coordinate_median(rows)
    distances = _distances_to(rows, point)
    for _ in range(iterations):
        smallest = 1e-6 * float(np.median(distances))
        if smallest == 0:
            return point  # at least half of the updates are this point: it is their geometric median
        pull = 1 / np.maximum(distances, smallest)
        candidate = weighted_sum(rows, pull / pull.sum())
        nearer = _distances_to(rows, candidate)
        gain = float(distances.sum() - nearer.sum())
        if gain > 0:
            point, distances = candidate, nearer
        if gain <= tolerance * float(distances.sum()):
            break
    return point


def _distances_to(rows: UpdateRows, point: Vector) -> Vector:
    squares = np.zeros(len(rows))
    for columns, block in rows.blocks():
        squares += ((block - point[columns]) ** 2).sum(axis=1)
    return np.sqrt(squares)


def fltrust(rows: UpdateRows, *, root: str) -> Combination:
    """Weigh updates by how far they point where the trusted site's does, after giving all of them its length.

    Cao et al. 2021 (NDSS, arXiv 2012.13995), equations 2 to 5: trust is the positive part of the cosine. Unlike there, the
    trusted update is itself one of the updates, with trust 1, because the root is a site with records of its own.

    Args:
        rows: With an update of the root.
        root: The trusted site.

    Raises:
        InternalError: If the root is not among the rows.
    """
    if root not in rows.sites:
        raise InternalError(f"expected an update of the trusted root {root!r}, got those of {rows.sites}")
    lengths, products = lengths_and_products(rows, rows.sites.index(root))
    length = lengths[rows.sites.index(root)]
    if length == 0:
        return Combination(np.zeros(rows.num_columns))  # every update is given the root's length
    cosines = products / np.where(lengths > 0, lengths, 1.0) / length
    trust = np.maximum(cosines, 0.0)
    coefficients = trust / np.where(lengths > 0, lengths, 1.0) * (length / trust.sum())
    return Combination(
        update=weighted_sum(rows, coefficients),
        excluded={
            site: f"points away from the trusted site's update (cosine {cosine:.2f})"
            if norm > 0
            else "sent zeros: no direction to trust"
            for site, cosine, norm in zip(rows.sites, cosines, lengths, strict=True)
            if cosine <= 0
        },
    )
