"""What a rehearsal found, as data."""

from __future__ import annotations

from typing import Final, Literal

from federation.documents import Document
from federation.identifiers import SiteId, StudyId

NOTICE: Final = (
    "A rehearsal on generated patients: drawn from the data contract's ranges and levels, with an outcome that follows a "
    "made-up rule. Rounds, drop-outs, bytes and epsilon are the study's; how well the model does says nothing about real patients. "
    "Seconds are those of this machine, with all sites one after another. Bytes leave out signatures, TLS and Flower."
)


class MessageCost(Document):
    """All requests of one kind."""

    kind: str
    number: int
    request_bytes: int
    """Mean."""
    reply_bytes: int
    """Mean over those that were answered."""
    largest_bytes: int
    """Of any request or reply."""


class RehearsedRound(Document):
    """One round."""

    round_number: int
    """0: what comes before round 1."""
    seconds: float
    contributors: tuple[str, ...] = ()
    dropouts: dict[str, str] = {}
    """Site to reason."""
    exclusions: dict[str, str] = {}
    to_sites_bytes: int
    """Over all sites."""
    from_sites_bytes: int
    released: dict[str, float] = {}
    """Performance that the study releases after the round."""
    rolled_back: str = ""
    unopened: str = ""


class Unplugging(Document):
    """What became of the site that was unplugged."""

    site: SiteId
    round_number: int
    mid_round: bool
    survived: bool
    """The study went through all rounds."""
    came_back: bool
    """It contributed to a later round."""
    text: str


class Finding(Document):
    """What would go wrong, or could."""

    severity: Literal["stops", "warning", "note"]
    text: str
    remedy: str = ""


class RehearsalReport(Document):
    """A rehearsal. It holds nothing of a patient: there was none."""

    format: Literal["cohortium/rehearsal/1"] = "cohortium/rehearsal/1"
    study: StudyId
    version: int
    manifest: str
    """Digest of the study's own manifest."""
    rehearsal: str
    """Digest of the manifest that was run: another, on purpose."""
    notice: str = NOTICE
    declared_patients: dict[str, int]
    rehearsed_patients: dict[str, int]
    """Generated training patients by site."""
    leaves_each_site: tuple[str, ...]
    released: tuple[str, ...]
    """What the study publishes."""
    privacy: str
    """The promise, and what the whole study spends."""
    epsilon: dict[str, float]
    """Spent in the rehearsal, by site; empty without privacy."""
    rounds: tuple[RehearsedRound, ...]
    messages: tuple[MessageCost, ...]
    unplugged: Unplugging | None
    findings: tuple[Finding, ...]
    failure: str = ""
    """Class of the error that ended the study early; empty if it finished."""
    seconds: float
    """Of the whole rehearsal, generating patients included."""

    @property
    def finished(self) -> bool:
        """Whether the study reached its last round."""
        return not self.failure
