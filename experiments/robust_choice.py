"""Settings of robust aggregation, and what they become for a roster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from experiments.masked_choice import MaskedChoice
from federation.documents import Document
from federation.errors import ConfigurationError
from federation.identifiers import SiteId
from federation.study.agreements import AggregationSpec
from federation.study.robust_spec import CoordinateMedian, GeometricMedian, Krum, RobustSpec, TrimmedMean


class FLTrustChoice(Document):
    """The rule FLTrust by its trusted site."""

    kind: Literal["fltrust"]
    root: SiteId | None = None
    """Must be named: whom to trust is not a thing to have a default."""


class RobustChoice(Document):
    """Checks and rule of ``open_robust``."""

    byzantine: Annotated[int, Field(ge=0)] | None = None
    """Faulty sites to survive; ``None``: three in ten, and at least one."""
    norm_bound: Annotated[float, Field(gt=0)] = 10.0
    """Public bound on the L2 norm of an update."""
    beyond_bound: Literal["exclude", "clip"] = "exclude"
    rule: Annotated[
        TrimmedMean | CoordinateMedian | Krum | GeometricMedian | FLTrustChoice, Field(discriminator="kind")
    ]

    def for_sites(self, number: int) -> RobustSpec:
        """The agreed form for that many sites.

        Raises:
            ConfigurationError: If FLTrust has no trusted site.
        """
        if isinstance(self.rule, FLTrustChoice) and self.rule.root is None:
            raise ConfigurationError(
                "expected the name of the trusted site with rule fltrust, got none",
                remedy="add aggregation.robust.rule.root=SITE: one with reference records, or one that all others trust",
            )
        byzantine = max(1, 3 * number // 10) if self.byzantine is None else self.byzantine
        return RobustSpec.from_data(self.as_data() | {"byzantine": byzantine}, error=ConfigurationError)


class AggregationChoice(Document):
    """How updates are combined."""

    mode: Literal["plain", "open_robust", "masked"] = "plain"
    quorum: Annotated[int, Field(ge=1)] | None = None
    """``None``: all sites, but for the faulty ones that the study is to survive; masked: the threshold."""
    weights: Literal["training_patients", "uniform"] = "training_patients"
    robust: RobustChoice | None = None
    """Exactly in mode ``open_robust``."""
    masked: MaskedChoice | None = None
    """Exactly in mode ``masked``."""


def compose_aggregation(choice: AggregationChoice, sites: Sequence[str]) -> AggregationSpec:
    """What the sites agree on.

    Args:
        choice: Of the settings.
        sites: Of the study.

    Raises:
        ConfigurationError: If the rule or the quorum does not fit these sites, or mode and rule do not go together.
    """
    number = len(sites)
    robust = None if choice.robust is None else choice.robust.for_sites(number)
    refused = None if robust is None else robust.reason_against(tuple(sites))
    if refused is not None:
        raise ConfigurationError(
            refused, remedy="lower aggregation.robust.byzantine, or choose another rule: docs/robustness.md"
        )
    masked = None if choice.masked is None else choice.masked.agreed()
    usual = number - (0 if robust is None else robust.byzantine) if masked is None else masked.threshold_of(number)
    quorum = choice.quorum or min(usual, number)
    if quorum > number:
        raise ConfigurationError(
            f"expected aggregation.quorum of at most the study's {number} sites, got {quorum}",
            remedy="lower aggregation.quorum",
        )
    return AggregationSpec.from_data(
        {
            "mode": choice.mode,
            "quorum": quorum,
            "robust": None if robust is None else robust.as_data(),
            "masked": None if masked is None else masked.as_data(),
        },
        error=ConfigurationError,
    )
