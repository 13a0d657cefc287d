"""Gaussian noise in whole grid steps, and the release of a noisy mean.

Each draw is the scaled sum of four standard normals (Holohan & Braghin 2021), which hides the gaps of a single
floating-point normal, and is rounded to the grid *before* it meets the sum of the patients.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator

from federation.privacy.clipping import GRID_BITS, FloatArray, grid_step
from federation.privacy.promise import MechanismSpec

_TERMS: Final = 4


def standard_normal(size: int, *, generator: Generator) -> FloatArray:
    """``[size]`` draws of mean 0 and variance 1, each from four normals of the generator."""
    total = np.zeros(size)
    for _ in range(_TERMS):
        total += generator.standard_normal(size)
    return total / np.sqrt(_TERMS)


def grid_noise(size: int, *, mechanism: MechanismSpec, generator: Generator) -> FloatArray:
    """Noise of the mechanism's standard deviation, in whole grid steps.

    Args:
        size: Number of coordinates D.
        mechanism: Sets the noise multiplier; the clipping norm is ``2**24`` grid steps by definition of the grid.
        generator: A cryptographic stream, see :mod:`federation.privacy.randomness`.

    Returns:
        ``[D]`` whole numbers as float64.
    """
    return np.rint(standard_normal(size, generator=generator) * (mechanism.noise_multiplier * 2.0**GRID_BITS))


def noisy_mean(patient_sum: FloatArray, *, mechanism: MechanismSpec, generator: Generator) -> FloatArray:
    """Add noise to the patients' clipped sum and divide by the public divisor: the only thing a step releases.

    Nothing here depends on how many patients there are: neighbouring data sets get the same noise and the same divisor.

    Args:
        patient_sum: ``[D]`` in grid steps, from :func:`federation.privacy.clipping.clipped_sum`; zero if nobody was
            drawn.
        mechanism: Noise multiplier, clipping norm and divisor.
        generator: A cryptographic stream.

    Returns:
        ``[D]`` float64, in units of the gradient.
    """
    total = patient_sum + grid_noise(patient_sum.size, mechanism=mechanism, generator=generator)
    return total * (grid_step(mechanism.clipping_norm) / mechanism.divisor)
