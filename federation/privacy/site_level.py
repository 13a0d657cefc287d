"""Site-level differential privacy: whether a whole hospital took part, hidden in the sum of the updates.

DP-FedAvg with all sites in every round (McMahan et al. 2018, arXiv 1710.06963): each update is clipped, the aggregator
adds noise to the sum and divides by the public number of sites. The noise does not shrink with the number of patients,
only with the number of sites, so with a handful of hospitals it drowns every update: below :data:`MINIMUM_SITES` it is
refused. The aggregator sees the updates before the noise and must be trusted with them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator

from federation.errors import InvalidInputError
from federation.privacy.clipping import FloatArray, clipped_sum
from federation.privacy.events import PROBABILITY_DENOMINATOR, SubsampledGaussian
from federation.privacy.promise import MechanismSpec, SiteLevelPrivacy

MINIMUM_SITES: Final = 20
"""With 20 sites, epsilon 8 over 10 rounds puts noise of a tenth of the clipping norm on every coordinate of the mean."""


def reason_against(num_sites: int, privacy: SiteLevelPrivacy, *, num_parameters: int | None = None) -> str | None:
    """Why site-level privacy is not offered to that many sites, or ``None`` if it is.

    Args:
        num_sites: Of the roster.
        privacy: Gives the noise that the promise needs.
        num_parameters: For the length of the noise in the explanation, if known.
    """
    if num_sites >= MINIMUM_SITES:
        return None
    per_coordinate = privacy.noise_multiplier / num_sites
    length = "" if num_parameters is None else f", {per_coordinate * num_parameters**0.5:.2g} over all of them"
    return (
        f"expected at least {MINIMUM_SITES} sites for site-level privacy, got {num_sites}: the noise in the mean update "
        f"would be {per_coordinate:.2g} clipping norms on every parameter{length}, where no update is longer than 1"
    )


def site_round_event(privacy: SiteLevelPrivacy) -> SubsampledGaussian:
    """What one round costs each site: all take part, so nothing is amplified."""
    return SubsampledGaussian(
        noise_multiplier=privacy.noise_multiplier, sampling_numerator=PROBABILITY_DENOMINATOR, steps=1
    )


class SiteLevelSum:
    """The sum of clipped updates of one round, and its noisy mean.

    Args:
        privacy: Clipping norm and noise.
        num_sites: Of the roster: the public divisor, whoever drops out.
        num_parameters: Length of an update.
    """

    def __init__(self, privacy: SiteLevelPrivacy, *, num_sites: int, num_parameters: int) -> None:
        self._mechanism = MechanismSpec(
            clipping_norm=privacy.clipping_norm,
            noise_multiplier=privacy.noise_multiplier,
            sampling_numerator=PROBABILITY_DENOMINATOR,
            steps_per_round=1,
            rounds=1,
            divisor=float(num_sites),
        )
        self._total: FloatArray = np.zeros(num_parameters)

    def add(self, update: FloatArray) -> None:
        """Clip one site's update and fold it in; one that is not finite counts as zero.

        Raises:
            InvalidInputError: If its length is wrong.
        """
        if update.shape != self._total.shape:
            raise InvalidInputError(f"expected an update of {self._total.shape}, got {update.shape}")
        self._total += clipped_sum(update[None, :], clipping_norm=self._mechanism.clipping_norm)

    def noisy_mean(self, generator: Generator) -> FloatArray:
        """``[num_parameters]``: all that may be used of the round. Call it once.

        Args:
            generator: A cryptographic stream.
        """
        # Every manifest is checked with this module, and torch, which the noise needs, takes a second to import.
        from federation.privacy.noise import noisy_mean

        return noisy_mean(self._total, mechanism=self._mechanism, generator=generator)
