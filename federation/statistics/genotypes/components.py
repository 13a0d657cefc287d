"""Principal components of genotypes over all sites, from sums of ``Z' Z B``.

A block Krylov method (Musco & Musco 2015; Golub & Van Loan 2013, section 10.3). The aggregator sends a few columns B over a public
set of M variants and gets their image under the summed cross products, M x w numbers; the cross products themselves, M x M numbers
that would say far more about the people, are never summed. The columns of all steps together span a space in which the leading
directions are found after some ten steps. Each site computes the scores of its own people from the final loadings and keeps them.

Axis names: M variants, k components, w columns sent at a time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError, StudyError
from federation.statistics.genotype_source import Packed, Projection
from federation.statistics.genotypes.component_steps import ComponentStep
from federation.statistics.genotypes.quality import Quality
from federation.statistics.genotypes.variants import VariantList
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

EXTRA: Final = 6
"""Columns that are sent beside those that are asked for, at a time."""
_MOST_STEPS: Final = 60
_TOLERANCE: Final = 1e-9
"""Of the residual, relative to the largest eigenvalue."""
_DEPENDENT: Final = 1e-10
LEAST_FREQUENCY: Final = 0.05
MOST_MISSING: Final = 0.02
_AUTOSOMES: Final = frozenset(map(str, range(1, 23)))


@dataclass(frozen=True)
class Components:
    """Loadings and what they explain.

    Args:
        projection: Scores have variance 1 over all patients.
        eigenvalues: ``[k]`` of ``Z' Z / patients``.
        total: Sum of all eigenvalues: the trace.
        steps: Sums that were taken.
    """

    projection: Projection = field(repr=False)
    eigenvalues: FloatArray
    total: float
    steps: int


def thinned(listed: VariantList, quality: Quality, *, most: int) -> IndexArray:
    """Places of the variants from which components are computed: autosomal, frequent, known; evenly spaced in the list.

    Args:
        listed: The public list.
        quality: Of all its variants.
        most: Variants.
    """
    tested = quality.tested
    rarer = np.minimum(quality.frequency, 1 - quality.frequency)[tested]
    is_autosomal = np.isin(listed.chromosomes[tested], list(_AUTOSOMES))
    eligible = tested[is_autosomal & (rarer >= LEAST_FREQUENCY) & (quality.missing[tested] <= MOST_MISSING)]
    if len(eligible) <= most:
        return eligible
    return eligible[np.unique(np.linspace(0, len(eligible) - 1, most).round().astype(np.int64))]


def solve_components(
    variants: str, places: IndexArray, frequency: FloatArray, *, components: int, patients: int
) -> Solver[Components]:
    """Find the leading components.

    Args:
        variants: Digest of the list.
        places: ``[M]`` from :func:`thinned`.
        frequency: ``[M]`` of the first allele over all sites, f. Genotypes are centred at ``2 f`` and divided by
            ``sqrt(2 f (1 - f))``.
        components: k.
        patients: In the sums.

    Raises:
        InvalidInputError: If there are too few variants or patients for so many components.
        StudyError: If the components are not found, because eigenvalues lie too close together.
    """
    if components * 3 > min(len(places), patients):
        raise InvalidInputError(
            f"expected at least three variants and patients for each of {components} components, got {len(places)} variants that "
            f"are autosomal, frequent and known, and {patients} patients",
            remedy="ask for fewer components, or set components=0",
        )
    at = Projection(
        variants=variants,
        places=Packed.of(places),
        centres=Packed.of(2 * frequency),
        scales=Packed.of(np.sqrt(2 * frequency * (1 - frequency))),
        loadings=Packed.of(np.zeros((len(places), 0))),
    )
    block = np.linalg.qr(_start(variants, len(places), min(components + EXTRA, len(places))))[0]
    basis, images = np.zeros((len(places), 0)), np.zeros((len(places), 0))
    for steps in range(1, _MOST_STEPS + 1):
        sums = yield ComponentStep(variants=variants, projection=at.model_copy(update={"loadings": Packed.of(block)}))
        basis, images = np.hstack([basis, block]), np.hstack([images, sums["product"]])
        small = basis.T @ images
        values, vectors = np.linalg.eigh((small + small.T) / 2)
        values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
        residual = np.linalg.norm(images @ vectors - (basis @ vectors) * values, axis=0).max()
        block = _fresh(basis, sums["product"])
        if residual <= _TOLERANCE * values[0] or block.shape[1] == 0:
            loadings = _signed(basis @ vectors) / np.sqrt(values / patients)
            projection = at.model_copy(update={"loadings": Packed.of(loadings)})
            return Components(
                projection=projection,
                eigenvalues=values / patients,
                total=float(sums["trace"]) / patients,
                steps=steps,
            )
    raise StudyError(
        f"expected {components} components after {_MOST_STEPS} sums, they still move",
        remedy="ask for fewer components: the last ones explain about as much as those after them",
    )


def _start(variants: str, rows: int, width: int) -> FloatArray:
    """Numbers between -1 and 1 that everybody can compute again."""
    content = hashlib.shake_256(variants.encode()).digest(4 * rows * width)
    return np.frombuffer(content, dtype="<u4").reshape(rows, width) / 2.0**31 - 1.0


def _fresh(basis: FloatArray, image: FloatArray) -> FloatArray:
    """The image's directions that the basis lacks, orthonormal."""
    scale = float(np.linalg.norm(image, axis=0).max())
    for _ in range(2):
        image = image - basis @ (basis.T @ image)
    found, lengths = np.linalg.qr(image)
    kept = found[:, np.abs(np.diag(lengths)) > _DEPENDENT * scale]
    kept = kept[:, : max(0, len(basis) - basis.shape[1])]
    return np.linalg.qr(kept - basis @ (basis.T @ kept))[0] if kept.shape[1] else kept


def _signed(loadings: FloatArray) -> FloatArray:
    """With the largest loading of each component above 0."""
    largest = np.abs(loadings).argmax(axis=0)
    return loadings * np.sign(loadings[largest, np.arange(loadings.shape[1])])
