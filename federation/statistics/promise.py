"""What an analysis with privacy promises a patient, and the noise that keeps it.

An analysis is a number of releases fixed in advance. Each is one vector, the sum over patients of a vector of norm at most 1, with
discrete Gaussian noise; every patient is in every release, so nothing is gained by sampling. The releases compose as that many
Gaussian mechanisms of one noise multiplier.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from federation.documents import Document
from federation.errors import InvalidInputError
from federation.privacy.accounting import NOTHING, Cost, add, cost_of, epsilon_of_cost
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.privacy.distributed import NoiseShare
from federation.privacy.events import PROBABILITY_DENOMINATOR, SubsampledGaussian
from federation.privacy.promise import Guarantee

MOST_RELEASES: Final = 50
LARGEST_EPSILON: Final = 1e7
"""Beyond any protection; there to compare with the analysis without noise."""


class StatisticsPrivacy(Document):
    """The promise of one analysis."""

    epsilon: Annotated[float, Field(gt=0, le=LARGEST_EPSILON)]
    """Of the whole analysis, for every patient of every site."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    releases: Annotated[int, Field(ge=1, le=MOST_RELEASES)]
    """Noisy sums of the analysis. Sites answer no more."""
    noise_multiplier: Annotated[float, Field(gt=0)]
    """Standard deviation of the noise of a whole sum / norm of one patient's vector. Calibrated to (epsilon, delta)."""
    shares: Annotated[int, Field(ge=1)]
    """Sites whose noise together is as much as promised: the fewest of which a sum is opened."""
    clipping: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Factor of the public bounds of a patient's values: below 1 there is less noise, and more patients count for less."""

    @classmethod
    def calibrated(
        cls, *, epsilon: float, delta: float, releases: int, shares: int, clipping: float = 1.0
    ) -> StatisticsPrivacy:
        """The promise with the least noise that keeps it.

        Args:
            epsilon: Positive.
            delta: In (0, 1).
            releases: Noisy sums of the analysis.
            shares: The fewest sites of a sum.
            clipping: See the field.

        Raises:
            InvalidInputError: If an argument is out of range.
            PrivacyRefusedError: If no noise keeps the promise.
        """
        noise = calibrate_noise_multiplier(
            epsilon=epsilon, delta=delta, sampling_numerator=PROBABILITY_DENOMINATOR, steps=1, rounds=releases
        )
        found = cls(
            epsilon=epsilon,
            delta=delta,
            releases=releases,
            noise_multiplier=noise,
            shares=shares,
            clipping=clipping,
        )
        found.check()
        return found

    @property
    def share(self) -> NoiseShare:
        """One site's part of the noise, on the finest grid on which it can be drawn exactly.

        Raises:
            InvalidInputError: If the noise is so large that no grid is fine enough.
        """
        return NoiseShare.of(self.noise_multiplier, shares=self.shares)

    @property
    def event(self) -> SubsampledGaussian:
        """What one release does to a patient."""
        return SubsampledGaussian(
            noise_multiplier=self.noise_multiplier, sampling_numerator=PROBABILITY_DENOMINATOR, steps=1
        )

    def cost(self) -> Cost:
        """Of all releases."""
        return add(NOTHING, cost_of(self.event), times=self.releases)

    def guarantee(self) -> Guarantee:
        """What the noise keeps: at most the promised epsilon."""
        return Guarantee(epsilon=epsilon_of_cost(self.cost(), delta=self.delta), delta=self.delta)

    def check(self) -> None:
        """Check that the noise keeps the promise and can be drawn.

        Raises:
            InvalidInputError: If not.
        """
        kept = self.guarantee().epsilon
        if kept > self.epsilon:
            raise InvalidInputError(
                f"expected noise that keeps epsilon {self.epsilon} over {self.releases} releases, got noise multiplier "
                f"{self.noise_multiplier}, which gives {kept:.4g}",
                remedy="calibrate the noise multiplier to the promise",
            )
        try:
            _ = self.share
        except InvalidInputError as failure:
            raise InvalidInputError(
                f"expected noise that {self.shares} sites can draw exactly, got noise multiplier {self.noise_multiplier}: nothing "
                "would be left of the statistics",
                remedy="promise a larger epsilon, or take fewer privacy.iterations",
            ) from failure
