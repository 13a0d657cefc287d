"""A study's privacy plan as a document: pure numbers, all of them public but a ledger's.

Two accountants speak: Rényi (ours: what is promised, calibrated and charged) and privacy loss distributions (informative,
smaller). Epsilons do not add up: shares are therefore told in Rényi divergence, at the order that proves the study's total,
where the parts do add up.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document
from federation.identifiers import SiteId, StudyId
from site_client.ledger_room import LedgerRoom

ReleaseKind = Literal["preparation", "training", "evaluation"]


class Epsilon(Document):
    """Epsilon at the study's delta, by two accountants."""

    rdp: Annotated[float, Field(ge=0)]
    """By our Rényi accountant: the figure that is promised and charged."""
    pld: float | None
    """By privacy loss distributions: informative, tighter. ``None`` where it cannot be computed."""


class AfterRound(Document):
    """What the rounds up to this one have cost together."""

    round_number: int
    epsilon: Epsilon


class ReleaseShare(Document):
    """What one kind of release takes of the whole."""

    kind: ReleaseKind
    releases: int
    """Rounds of training, evaluations, or what is released before the first round."""
    share: Annotated[float, Field(ge=0, le=1)]
    """Of the Rényi divergence at the order that proves the total; the shares add up to 1."""
    alone: Epsilon
    """If a study released nothing else."""


class SitePlan(Document):
    """One site: its public numbers, and how loud the noise is there."""

    site: SiteId
    declared_patients: int
    epsilon: Epsilon
    patients_per_step: float
    """Expected: sampling probability times the declared number. It is the divisor of the mean gradient."""
    noise_of_mean: float
    """Standard deviation of the noise in each coordinate of the mean gradient."""
    signal_to_noise: float
    """Longest possible mean gradient (all patients clipped and agreeing) / expected length of its noise over all parameters."""
    ledger: LedgerRoom | None
    """``None``: the site's own to tell."""


class PromisePlan(Document):
    """The guarantee of a private study, and what it is made of."""

    epsilon: float
    """Promised."""
    delta: float
    unit: Literal["patient", "site"]
    """Whom it protects."""
    adjacency: Literal["add-or-remove-one"] = "add-or-remove-one"
    clipping_norm: float
    """Of one patient's summed gradient, or of one site's update."""
    noise_multiplier: float
    sampling_probability: float
    rounds: int
    steps_per_round: int
    steps: int
    parameters: int
    """Trainable parameters of the model: the more, the longer the noise vector."""
    one_round: Epsilon
    """One round of training by itself."""
    after: tuple[AfterRound, ...]
    """Some rounds, evenly spaced, and the last: evaluations included. Epsilons of rounds do not add up."""
    total: Epsilon
    order: float
    """The Rényi order that proves the total."""
    releases: tuple[ReleaseShare, ...]
    noise_of_federated_mean: float
    """Standard deviation of the noise in each coordinate, after the sites' mean gradients (or updates) are averaged."""
    federated_signal_to_noise: float


class PrivacyPlan(Document):
    """What ``cohortium study privacy`` shows."""

    format: Literal["cohortium/privacy-plan/1"] = "cohortium/privacy-plan/1"
    study: StudyId
    version: int
    manifest: str
    """Digest of the manifest."""
    statement: str
    promise: PromisePlan | None
    """``None``: no privacy, no guarantee."""
    sites: tuple[SitePlan, ...]
    """Empty unless patients are protected."""
