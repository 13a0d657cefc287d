"""Distributed differential privacy: every site adds a share of the noise, and a secure sum opens the whole.

One step is DP-SGD over the patients of all sites. Each site clips its own patients' gradients, cuts them to a public grid, adds
discrete Gaussian noise of a share of the variance and hands the whole numbers to the secure sum, in which they are never rounded
again. With at least as many sites in the sum as there are shares, its noise has at least the promised variance: that of
discrete Gaussians adds up, and with a standard deviation of thousands of grid steps a sum of them is a discrete Gaussian up to a
relative density error below exp(-10^6) (Kairouz, Liu & Steinke 2021, theorem 1; the same pattern in DeCaPH, Fang et al. 2024).

The cost of a step is that of the Poisson-subsampled Gaussian with this noise multiplier, for every patient of every site.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from federation.checks import positive
from federation.errors import InvalidInputError
from federation.privacy.clipping import GRID_BITS
from federation.privacy.discrete import LARGEST_VARIANCE, discrete_gaussian

IntegerArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_FEWEST_BITS: Final = 8
"""Below 2**8 grid steps to a clipping norm, cutting gradients to the grid would lose them."""


@dataclass(frozen=True)
class NoiseShare:
    """One site's part of the noise; all public.

    Args:
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
        variance: Of the discrete Gaussian noise of one site, in squared grid steps.
        shares: Sites whose noise together is as much as promised.
    """

    grid_bits: int
    variance: int
    shares: int

    @classmethod
    def of(cls, noise_multiplier: float, *, shares: int) -> NoiseShare:
        """The finest grid on which the noise can be drawn exactly.

        Args:
            noise_multiplier: Of the whole sum: standard deviation / clipping norm.
            shares: The fewest sites that a sum is opened of, at least 1.

        Raises:
            InvalidInputError: If the noise is so large that no grid is fine enough.
        """
        positive(noise_multiplier=noise_multiplier, shares=shares)
        for bits in range(GRID_BITS, _FEWEST_BITS - 1, -1):
            variance = math.ceil(noise_multiplier**2 * 4.0**bits / shares)
            if variance <= LARGEST_VARIANCE:
                return cls(grid_bits=bits, variance=variance, shares=shares)
        raise InvalidInputError(
            f"expected a noise multiplier that {shares} sites can share, got {noise_multiplier}",
            remedy="take more rounds with a smaller sampling probability, or promise a larger epsilon",
        )

    @property
    def noise_multiplier(self) -> float:
        """Of the sum of exactly ``shares`` sites; at least what was asked for."""
        return math.sqrt(self.variance * self.shares) / 2.0**self.grid_bits

    def noisy(self, patient_sum: FloatArray, *, generator: Generator) -> IntegerArray:
        """A site's clipped sum with its share of the noise. It leaves the site inside a secure sum only.

        Args:
            patient_sum: ``[D]`` whole grid steps, from :func:`federation.privacy.clipping.clipped_sum` on this grid.
            generator: A cryptographic stream that has served nothing else.

        Returns:
            ``[D]`` int64.
        """
        noise = discrete_gaussian(patient_sum.size, variance=self.variance, generator=generator)
        return patient_sum.astype(np.int64) + noise

    def mean(self, total: FloatArray, *, clipping_norm: float, divisor: float) -> FloatArray:
        """The noisy mean gradient of an opened sum.

        Args:
            total: ``[D]`` whole grid steps, over all sites of the sum.
            clipping_norm: Of one patient.
            divisor: Public: sampling probability times the declared patients of the sites in the sum.
        """
        return total * (clipping_norm * 2.0**-self.grid_bits / divisor)


def noisy_share(patient_sum: FloatArray, *, mechanism: NoiseShare, generator: Generator) -> IntegerArray:
    """The one place where a site's clipped sum gets its share of the noise: see :meth:`NoiseShare.noisy`."""
    return mechanism.noisy(patient_sum, generator=generator)
