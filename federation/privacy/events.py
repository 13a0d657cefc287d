"""What a mechanism did to a site's patients, as frozen values that every accountant can read.

The meaning of a field never changes; an accountant refuses an event it does not know. An event holds public constants
only, so it may leave the site.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from federation.documents import Document

PROBABILITY_DENOMINATOR: Final = 2**53
"""Sampling probabilities are whole numerators over this, so that the sampler's probability is exactly the accountant's."""


class SubsampledGaussian(Document):
    """Steps of DP-SGD: Poisson-sampled patients, clipped sums, Gaussian noise."""

    kind: Literal["poisson_subsampled_gaussian"] = "poisson_subsampled_gaussian"
    noise_multiplier: Annotated[float, Field(gt=0)]
    """Noise standard deviation / clipping norm."""
    sampling_numerator: Annotated[int, Field(ge=1, le=PROBABILITY_DENOMINATOR)]
    steps: Annotated[int, Field(ge=1)]


class DiscreteGaussian(Document):
    """One release of a vector of whole numbers with discrete Gaussian noise (Canonne, Kamath & Steinke 2020)."""

    kind: Literal["discrete_gaussian"] = "discrete_gaussian"
    sensitivity_squared: Annotated[int, Field(ge=1)]
    """Square of the largest L2 distance that one patient can move the vector."""
    variance: Annotated[int, Field(ge=1)]
    """Of the noise of one entry (of the continuous Gaussian with the same density)."""


class DiscreteLaplace(Document):
    """One release of a vector of whole numbers with discrete Laplace noise: pure epsilon ``sensitivity / scale``."""

    kind: Literal["discrete_laplace"] = "discrete_laplace"
    sensitivity: Annotated[int, Field(ge=1)]
    """Largest L1 distance that one patient can move the vector."""
    scale: Annotated[int, Field(ge=1)]
    """The probability of noise x is proportional to ``exp(-|x| / scale)``."""


PrivacyEvent = Annotated[SubsampledGaussian | DiscreteGaussian | DiscreteLaplace, Field(discriminator="kind")]
CountMechanism = DiscreteGaussian | DiscreteLaplace
"""A mechanism for counts and histograms: its parameters are its privacy event."""
