"""What a round's contributions become: running sums of one model's size, or the result of a robust rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from aggregator.held_sums import HELD_BYTES, HeldSums
from aggregator.robust_rules import combine
from aggregator.running_sums import FloatVector
from aggregator.update_checks import reason_against_update, within_bound
from aggregator.update_rows import UpdateRows
from federation.algorithms.fedavg import Vector
from federation.errors import QuorumError, TransportError
from federation.privacy.promise import SiteLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.privacy.site_level import SiteLevelSum
from federation.protocol.messages import Arrays
from federation.study.manifest import StudyManifest
from federation.study.robust_spec import FLTrust, RobustSpec, largest_tolerated, sites_needed


@dataclass
class WeightedFold:
    """Running weighted sums of the contributions of one round, in float64, each site's added in place.

    Args:
        num_parameters: Length of every vector.
        threads: That add a large vector, at most; ``None``: as many as there are cores. The result is the same bit for bit.
        are_handed_over: Nobody changes contributions after they were added, as with what was read from messages. Large ones may
            then wait, without a copy, and are added together with the next. Otherwise they are read at once and forgotten.
        held_bytes: Of updates that may wait to be added together; see :class:`~aggregator.held_sums.HeldSums`. The result is the
            same bit for bit.
    """

    num_parameters: int
    total_weight: float = 0.0
    contributors: list[str] = field(default_factory=list)
    dropouts: dict[str, str] = field(default_factory=dict)
    exclusions: dict[str, str] = field(default_factory=dict)
    """Sites whose update came and is not used, with the reason in words."""
    threads: int | None = None
    unopened: str = ""
    """Secure aggregation only: why there is no sum; empty if there is one."""
    are_handed_over: bool = False
    held_bytes: int = HELD_BYTES

    def __post_init__(self) -> None:
        self._sums = HeldSums(self.num_parameters, threads=self.threads, held_bytes=self.held_bytes)

    @property
    def sums(self) -> dict[str, Vector]:
        """Name to weighted sum ``[num_parameters]`` of everything that was added so far. What waits is added first."""
        return self._sums.totals()

    @sums.setter
    def sums(self, totals: Mapping[str, Vector]) -> None:
        self._sums.replace(totals)

    def excludes(self, site: str, arrays: Arrays) -> bool:  # noqa: ARG002 - part of the behaviour
        """Whether an update is left out before it is folded; it is then in ``exclusions``. A plain sum takes what it can."""
        return False

    def add(self, site: str, contribution: Mapping[str, FloatVector], *, weight: float) -> None:
        """Fold one site's vectors in: ``sum += weight * vector`` in float64. Sites are added in the order of the calls.

        Args:
            site: Whose they are.
            contribution: ``[num_parameters]`` each, finite.
            weight: Of the roster.

        Raises:
            TransportError: If a vector has the wrong length or the names differ from those of the other sites. Then nothing of the
                contribution is in the sums.
        """
        names = set(contribution)
        if self._sums.names and names != self._sums.names:
            raise TransportError(
                f"expected contributions {sorted(self._sums.names)} of every site, got {sorted(names)}"
            )
        for name, vector in contribution.items():
            if vector.shape != (self.num_parameters,):
                raise TransportError(f"expected {self.num_parameters} numbers in {name!r}, got {vector.shape}")
        self._sums.add(contribution, weight=weight, may_wait=self.are_handed_over)
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

    def add(self, site: str, contribution: Mapping[str, FloatVector], *, weight: float) -> None:
        """Clip one site's update and fold it in. Its weight is that of every other site.

        Raises:
            TransportError: If there is more than an update, or its length is wrong.
        """
        if set(contribution) != {"update"} or contribution["update"].shape != (self.num_parameters,):
            raise TransportError(
                f"expected an update of {self.num_parameters} numbers and nothing else, got {sorted(contribution)}"
            )
        self._sum.add(contribution["update"].astype(np.float64))
        self.total_weight += weight
        self.contributors.append(site)

    def means(self) -> dict[str, Vector]:
        """The noisy mean update over the roster; the same whenever it is asked for."""
        return {"update": self._sum.noisy_mean(self._streams.stream("noise"))}


class RobustFold(WeightedFold):
    """Checked updates, combined by the study's robust rule.

    Args:
        num_parameters: Length of an update.
        spec: Checks and rule.
    """

    def __init__(self, num_parameters: int, *, spec: RobustSpec) -> None:
        super().__init__(num_parameters)
        self._spec = spec
        self._rows = UpdateRows(num_parameters)
        self._combined: Vector | None = None

    def excludes(self, site: str, arrays: Arrays) -> bool:
        """Check one update as it came, before anything is computed with it."""
        reason = reason_against_update(arrays, self._spec, num_parameters=self.num_parameters)
        if reason is not None:
            self.exclusions[site] = reason
        return reason is not None

    def add(self, site: str, contribution: Mapping[str, FloatVector], *, weight: float) -> None:
        """Keep one update that passed the checks."""
        self._rows.append(site, within_bound(contribution["update"].astype(np.float64), self._spec), weight=weight)
        self.total_weight += weight
        self.contributors.append(site)

    def faulty(self) -> int:
        """Faulty sites that the rule must expect among the updates it has.

        A site that failed the checks is one of the f that the manifest allows for. The full f is still assumed where enough
        updates are left, in case a site without fault failed them.

        Raises:
            QuorumError: If the updates are too few for the faulty sites that may be among them.
        """
        rule, allowed, number = self._spec.rule, self._spec.byzantine, len(self._rows)
        remaining = max(allowed - len(self.exclusions), 0)
        if number < sites_needed(rule, remaining) or (isinstance(rule, FLTrust) and rule.root not in self._rows.sites):
            left_out = ", ".join(f"{site}: {why}" for site, why in sorted((self.dropouts | self.exclusions).items()))
            root = f", {rule.root} among them" if isinstance(rule, FLTrust) else ""
            raise QuorumError(
                f"expected updates of at least {sites_needed(rule, remaining)} sites for {rule.kind} with {remaining} "
                f"faulty ones{root}, got {number} ({left_out})",
                remedy="mend the sites and resume, or lower aggregation.robust.byzantine in a new version",
            )
        return min(allowed, largest_tolerated(rule, number))

    def means(self) -> dict[str, Vector]:
        """The combined update. Sites that the rule leaves out move from contributors to exclusions.

        Raises:
            QuorumError: See :meth:`faulty`.
        """
        if self._combined is None:
            found = combine(self._spec.rule, self._rows, faulty=self.faulty())
            self._rows.close()
            self._combined = found.update
            self.exclusions |= found.excluded
            self.contributors[:] = [site for site in self.contributors if site not in found.excluded]
        return {"update": self._combined}


def start_fold(
    study: StudyManifest,
    num_parameters: int,
    *,
    round_number: int,
    streams: RandomStreams,
    are_handed_over: bool = False,
) -> WeightedFold:
    """An empty fold of the kind that the study's aggregation and privacy ask for; robust and noisy ones copy what they get."""
    if study.aggregation.robust is not None:
        return RobustFold(num_parameters, spec=study.aggregation.robust)
    if isinstance(study.privacy, SiteLevelPrivacy):
        return SiteLevelFold(
            num_parameters,
            privacy=study.privacy,
            num_sites=len(study.roster),
            streams=streams.child("site-level", round_number),
        )
    return WeightedFold(num_parameters, are_handed_over=are_handed_over)
