"""The smaller parts of a study manifest: roster, aggregation and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.algorithms.spec import AlgorithmSpec, ScaffoldSpec
from federation.documents import Document
from federation.identifiers import SiteId, VariableName
from federation.privacy.discrete import LARGEST_VARIANCE
from federation.privacy.promise import PrivacySpec, SiteLevelPrivacy
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.secure_sum.terms import FEWEST_SITES
from federation.study.masked_spec import MaskedSpec
from federation.study.robust_spec import RobustSpec


class RosterSite(Document):
    """One site of the consortium, and its public constants."""

    site: SiteId
    weight: Annotated[float, Field(gt=0)]
    """Public weight of its update. Never a count sent by the site."""
    training_patients: Annotated[int, Field(ge=1)]
    """Publicly declared number of training patients, fixed before the study: it sets the DP divisor."""
    public_key: Hexadecimal | None = None
    """Ed25519 identity of the site, 64 hexadecimal digits; every site of a study with secure aggregation has one."""


class AggregationSpec(Document):
    """How updates are combined."""

    mode: Literal["plain", "open_robust", "masked"] = "plain"
    """``plain``: updates are visible to the aggregator, and their weighted mean is taken; under patient-level privacy each is
    already private by itself. ``open_robust``: visible as well, checked, and combined so that faulty sites cannot steer it.
    ``masked``: hidden by secure aggregation; the aggregator sees sums only."""
    quorum: Annotated[int, Field(ge=1)] = 1
    """Sites whose updates a round needs."""
    robust: RobustSpec | None = None
    """Checks and rule; given exactly in mode ``open_robust``."""
    masked: MaskedSpec | None = None
    """Ranges and thresholds; given exactly in mode ``masked``."""

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if (self.mode == "masked") != (self.masked is not None):
            message = f"aggregation.masked: expected it in mode 'masked' and in no other, got mode {self.mode!r} " + (
                "without it" if self.masked is None else "with it"
            )
            raise ValueError(message)
        if (self.mode == "open_robust") != (self.robust is not None):
            message = (
                f"aggregation.robust: expected a rule in mode 'open_robust' and none in another, got mode {self.mode!r} "
                + ("without one" if self.robust is None else "with one")
            )
            raise ValueError(message)
        return self

    def reason_against(
        self, roster: Sequence[RosterSite], *, algorithm: AlgorithmSpec, privacy: PrivacySpec
    ) -> str | None:
        """Why the mode does not fit the rest of a study, or ``None`` if it does. Plain aggregation always does.

        Args:
            roster: Of the study.
            algorithm: Must send nothing beside its update: the rules say nothing about other vectors.
            privacy: Must not be the noise in a weighted sum that the rule replaces.
        """
        if self.masked is not None:
            return self._reason_against_masks(self.masked, roster, algorithm=algorithm, privacy=privacy)
        if self.robust is None:
            return None
        if isinstance(algorithm, ScaffoldSpec):
            return "expected an algorithm that sends nothing but its update, got scaffold: control variates are not checked"
        if isinstance(privacy, SiteLevelPrivacy):
            return "expected no site-level privacy, got it: its noise is calibrated to a clipped sum, and a rule is not a sum"
        reason = self.robust.reason_against(tuple(entry.site for entry in roster))
        most = len(roster) - self.robust.byzantine
        if reason is None and self.quorum > most:
            return (
                f"expected a quorum of at most n - f = {most} sites, got {self.quorum}: "
                f"{self.robust.byzantine} faulty sites could stop every round"
            )
        return reason

    def _reason_against_masks(  # noqa: PLR0911 - a list of reasons
        self, spec: MaskedSpec, roster: Sequence[RosterSite], *, algorithm: AlgorithmSpec, privacy: PrivacySpec
    ) -> str | None:
        number, threshold = len(roster), spec.threshold_of(len(roster))
        if number < FEWEST_SITES:
            return f"expected at least {FEWEST_SITES} sites for secure aggregation, got {number}: a sum of two hides nobody"
        if not max(FEWEST_SITES, number // 2 + 1) <= threshold <= number:
            return f"expected aggregation.masked.threshold above half of {number} sites, at least 3, got {threshold}"
        without = [entry.site for entry in roster if entry.public_key is None]
        if without or len({entry.public_key for entry in roster}) < number:
            return f"expected an identity key of its own for every site in the roster, got none or a shared one ({without})"
        uneven = [entry.site for entry in roster if not entry.weight.is_integer()]
        if uneven:
            return f"expected whole numbers as public weights for secure aggregation, got fractions for {uneven}"
        if isinstance(algorithm, ScaffoldSpec):
            return (
                "expected an algorithm that sends nothing but its update, got scaffold: control variates have no range"
            )
        if isinstance(privacy, SiteLevelPrivacy):
            return "expected no site-level privacy, got it: the aggregator cannot clip an update that it does not see"
        return None


class EvaluationNoise(Document):
    """Noise of a paid evaluation: histograms of counts with discrete Gaussian noise, charged at every evaluation."""

    variance: Annotated[int, Field(ge=1, le=LARGEST_VARIANCE)]
    """Of the noise of one count. Calibrated when the manifest is made."""
    max_records_per_patient: Annotated[int, Field(ge=1, le=1000)] = 1
    """Test records of one patient that count, at most; chosen without looking at them."""
    subgroups: tuple[VariableName, ...] = ()
    """Variables of the contract with levels, each of which gets histograms of its own."""

    @property
    def sensitivity_squared(self) -> int:
        """One record is one count in the overall table and one in each subgroup's; records may share a cell."""
        return self.max_records_per_patient**2 * (1 + len(self.subgroups))


class EvaluationSpec(Document):
    """What the study releases about performance."""

    release: Literal["none", "sum", "per_site"] = "per_site"
    """``sum``: one summary over all sites; ``per_site``: each site's own, where the study allows it."""
    score_bins: Annotated[int, Field(ge=10, le=10_000)] = 200
    """Bins of the score histogram from which AUROC and calibration are derived."""
    noise: EvaluationNoise | None = None
    """How evaluation is paid for; ``None``: exact sums, which a private study does not release."""
