"""The running sums of a round: whatever the number of sites, one sum of one model's size is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.algorithms.fedavg import Vector
from federation.errors import TransportError
from federation.privacy.promise import SiteLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.privacy.site_level import SiteLevelSum
from federation.study.manifest import StudyManifest


@dataclass
class WeightedFold:
    """Running weighted sums of the contributions of one round, in float64."""

    num_parameters: int
    sums: dict[str, Vector] = field(default_factory=dict)
    total_weight: float = 0.0
    contributors: list[str] = field(default_factory=list)
    dropouts: dict[str, str] = field(default_factory=dict)

    def add(self, site: str, contribution: Mapping[str, Vector], *, weight: float) -> None:
        """Fold one site's vectors in and forget them.

        Raises:
            TransportError: If a vector has the wrong length or the names differ from those of the other sites.
        """
        names = set(contribution)
        if self.sums and names != set(self.sums):
            raise TransportError(f"expected contributions {sorted(self.sums)} of every site, got {sorted(names)}")
        for name, vector in contribution.items():
            if vector.shape != (self.num_parameters,):
                raise TransportError(f"expected {self.num_parameters} numbers in {name!r}, got {vector.shape}")
        for name, vector in contribution.items():
            if name in self.sums:
                self.sums[name] += weight * vector
            else:
                self.sums[name] = weight * vector
        self.total_weight += weight
        self.contributors.append(site)

    def means(self) -> dict[str, Vector]:
        """Weighted means over the contributors."""
        return {name: total / self.total_weight for name, total in self.sums.items()}


class SiteLevelFold(WeightedFold):
    """Clipped updates, summed without weights; their mean is released with noise, once.

    Args:
        num_parameters: Length of an update.
        privacy: Clipping norm and noise.
        num_sites: Of the roster: the public divisor.
        streams: Secret, and of this round only.
    """

    def __init__(
        self, num_parameters: int, *, privacy: SiteLevelPrivacy, num_sites: int, streams: RandomStreams
    ) -> None:
        super().__init__(num_parameters)
        self._sum = SiteLevelSum(privacy, num_sites=num_sites, num_parameters=num_parameters)
        self._streams = streams

    def add(self, site: str, contribution: Mapping[str, Vector], *, weight: float) -> None:
        """Clip one site's update and fold it in. Its weight is that of every other site.

        Raises:
            TransportError: If there is more than an update, or its length is wrong.
        """
        if set(contribution) != {"update"} or contribution["update"].shape != (self.num_parameters,):
            raise TransportError(
                f"expected an update of {self.num_parameters} numbers and nothing else, got {sorted(contribution)}"
            )
        self._sum.add(contribution["update"])
        self.total_weight += weight
        self.contributors.append(site)

    def means(self) -> dict[str, Vector]:
        """The noisy mean update over the roster; the same whenever it is asked for."""
        return {"update": self._sum.noisy_mean(self._streams.stream("noise"))}


def start_fold(study: StudyManifest, num_parameters: int, *, round_number: int, streams: RandomStreams) -> WeightedFold:
    """An empty sum of the kind that the study's privacy asks for."""
    if isinstance(study.privacy, SiteLevelPrivacy):
        return SiteLevelFold(
            num_parameters,
            privacy=study.privacy,
            num_sites=len(study.roster),
            streams=streams.child("site-level", round_number),
        )
    return WeightedFold(num_parameters)
