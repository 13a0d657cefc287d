"""Principal components with privacy, from one noisy sum of the numbers and their products.

Axis names: v variables.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.descriptive_steps import Scaled
from federation.statistics.principal_components import CovarianceStep, decomposed
from federation.statistics.private.sharing import NOISE, PrivateSolver, counted, shared
from federation.statistics.private_step import Portion

FloatArray = NDArray[np.float64]

_WITHIN = 0.7
"""Of the plausible range from its middle: numbers within it are within the bounds."""


def components_release(numbers: tuple[Scaled, ...], *, clipping: float) -> tuple[Portion, ...]:
    """Sums, the upper triangle of products, and the count."""
    width = len(numbers)
    parts = {
        "sums": (_WITHIN * math.sqrt(width), 0.5),
        "products": (_WITHIN**2 * width, 1.0),
    }
    return shared([(CovarianceStep(numbers=numbers), parts), counted(0.4)], clipping=clipping)


def private_components(
    numbers: tuple[Scaled, ...], *, components: int, standardises: bool, clipping: float
) -> PrivateSolver:
    """Loadings and variances of the covariance matrix that is nearest to the noisy one without negative variances.

    Args:
        numbers: Scaled by their public ranges.
        components: At most v.
        standardises: Whether each variable is divided by its standard deviation.
        clipping: Factor of the bounds.

    Raises:
        InvalidInputError: If there are too few variables.
    """
    width = len(numbers)
    if not 1 <= components <= width:
        raise InvalidInputError(f"expected 1 to {width} components of {width} variables, got {components}")
    portions = components_release(numbers, clipping=clipping)
    sums = yield portions
    noise, scales = float(sums[NOISE]), portions[0].scales
    patients = max(float(sums["1.patients"]), noise * portions[1].scales["patients"], 1.0)
    mean = np.clip(sums["0.sums"] / patients, -1.0, 1.0)
    covariance = sums["0.products"] / patients - np.outer(mean, mean)
    deviation = noise * scales["products"] / patients
    roots, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    least = max(deviation, 1e-9)
    positive = (vectors * np.maximum(roots, least)) @ vectors.T
    spread = np.sqrt(np.diag(positive))
    units = np.array([number.scale for number in numbers])
    matrix = positive / np.outer(spread, spread) if standardises else positive * np.outer(units, units)
    found = decomposed(
        matrix, [number.variable for number in numbers], components=components, standardises=standardises
    )
    hidden = int((roots < math.sqrt(width) * deviation).sum())
    note = (
        f"each entry of the covariance matrix of numbers scaled to their ranges carries noise of standard deviation "
        f"{deviation:.2g}; {hidden} of {width} components are below what noise alone reaches"
    )
    return found.model_copy(
        update={"figures": {**found.figures, "patients": float(sums["1.patients"])}, "notes": (note,)}
    )
