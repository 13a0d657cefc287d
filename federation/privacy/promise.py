"""What a study promises its patients, as frozen values.

No epsilon travels without its delta, its unit and its adjacency (:class:`Guarantee`). :class:`MechanismSpec` is the one object
that sampler, clipping, noise, divisor and accountant read, so that they cannot disagree.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document
from federation.privacy.events import PROBABILITY_DENOMINATOR


class Guarantee(Document):
    """An (epsilon, delta) guarantee and what it protects."""

    epsilon: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    unit: Literal["patient", "site"] = "patient"
    adjacency: Literal["add-or-remove-one"] = "add-or-remove-one"

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:.3g} with delta {self.delta:.1g} per {self.unit} ({self.adjacency})"


class NoPrivacy(Document):
    """Plain training: no guarantee. Runs through the same code path."""

    kind: Literal["none"]


class PatientLevelPrivacy(Document):
    """Patient-level DP-SGD: at every site by itself, or one step a round over the patients of all sites."""

    kind: Literal["patient_level"]
    epsilon: Annotated[float, Field(gt=0, le=1000)]
    """Target over the whole study, per patient and site."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    clipping_norm: Annotated[float, Field(gt=0)]
    """L2 bound on one patient's summed gradient."""
    sampling_numerator: Annotated[int, Field(ge=1, le=PROBABILITY_DENOMINATOR)]
    """Chance that a patient enters a step, times 2**53."""
    noise_multiplier: Annotated[float, Field(gt=0)]
    """Noise standard deviation / clipping norm. Calibrated to (epsilon, delta) when the manifest is made."""
    noise: Literal["local", "distributed"] = "local"
    """``local``: each site adds all of it, and the guarantee holds against everyone, the aggregator included. ``distributed``:
    each site adds a share inside a secure sum, and the guarantee is for what the sum opens."""

    @property
    def sampling_probability(self) -> float:
        """Exactly representable chance that a patient enters a step."""
        return self.sampling_numerator / PROBABILITY_DENOMINATOR

    @property
    def target(self) -> Guarantee:
        """The promised guarantee."""
        return Guarantee(epsilon=self.epsilon, delta=self.delta)


class SiteLevelPrivacy(Document):
    """Noise on the sum of the sites' updates: it hides whether a site took part, and does not replace trust in the aggregator.

    Meaningful for many sites only, see :mod:`federation.privacy.site_level`.
    """

    kind: Literal["site_level"]
    epsilon: Annotated[float, Field(gt=0, le=1000)]
    """Target over the whole study, per site."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    clipping_norm: Annotated[float, Field(gt=0)]
    """L2 bound on one site's update of one round."""
    noise_multiplier: Annotated[float, Field(gt=0)]
    """Standard deviation of the noise on the sum / clipping norm."""

    @property
    def target(self) -> Guarantee:
        """The promised guarantee."""
        return Guarantee(epsilon=self.epsilon, delta=self.delta, unit="site")


PrivacySpec = Annotated[NoPrivacy | PatientLevelPrivacy | SiteLevelPrivacy, Field(discriminator="kind")]


class MechanismSpec(Document):
    """The Poisson-subsampled Gaussian mechanism of one site in one study; every field is a public constant."""

    clipping_norm: Annotated[float, Field(gt=0)]
    noise_multiplier: Annotated[float, Field(gt=0)]
    sampling_numerator: Annotated[int, Field(ge=1, le=PROBABILITY_DENOMINATOR)]
    steps_per_round: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    divisor: Annotated[float, Field(gt=0)]
    """Public expected batch size: sampling probability times the site's public number of training patients."""

    @property
    def sampling_probability(self) -> float:
        """Exactly representable chance that a patient enters a step."""
        return self.sampling_numerator / PROBABILITY_DENOMINATOR

    @property
    def steps(self) -> int:
        """Steps over the whole study."""
        return self.steps_per_round * self.rounds

    @property
    def noise_standard_deviation(self) -> float:
        """Of the noise added to the clipped sum, in units of the gradient."""
        return self.noise_multiplier * self.clipping_norm
