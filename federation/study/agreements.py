"""The smaller parts of a study manifest: roster, aggregation and evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document
from federation.identifiers import SiteId, VariableName
from federation.privacy.discrete import LARGEST_VARIANCE


class RosterSite(Document):
    """One site of the consortium, and its public constants."""

    site: SiteId
    weight: Annotated[float, Field(gt=0)]
    """Public weight of its update. Never a count sent by the site."""
    training_patients: Annotated[int, Field(ge=1)]
    """Publicly declared number of training patients, fixed before the study: it sets the DP divisor."""


class AggregationSpec(Document):
    """How updates are combined."""

    mode: Literal["plain"] = "plain"
    """``plain``: updates are visible to the aggregator; under patient-level privacy each is already private by itself."""
    quorum: Annotated[int, Field(ge=1)] = 1
    """Sites whose updates a round needs."""


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
