"""A study as it is rehearsed: the same in every respect that costs time, bytes or privacy, and recognisable as a rehearsal.

Patients are generated, so provenance says ``synthetic``; the name says that it is a rehearsal, and site keys are made for it alone.
No digest, key or file of it can be mistaken for the study's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from federation.errors import ManifestError
from federation.study.agreements import RosterSite
from federation.study.manifest import StudyManifest

PREFIX: Final = "rehearsal_of_"
_LONGEST_NAME: Final = 63
DEFAULT_PATIENTS: Final = 300


@dataclass(frozen=True)
class Rehearsed:
    """A study made ready for its rehearsal.

    Args:
        manifest: On generated patients, under another name.
        capped: Sites that are rehearsed with fewer training patients than they declared.
    """

    manifest: StudyManifest
    capped: tuple[str, ...]


def rehearsed(study: StudyManifest, *, patients: int = DEFAULT_PATIENTS, rounds: int | None = None) -> Rehearsed:
    """The study under another name, on synthetic records, with at most so many patients a site.

    Privacy, aggregation, quorum, weights, evaluation and preparation stay as they are. Noise is not recalibrated: where
    ``rounds`` shortens the study, the rehearsal spends less than the study will.

    Args:
        study: As it would be signed.
        patients: Training patients of a site, at most; never below the cohort's own smallest number.
        rounds: Rounds, at most; ``None``: all.

    Raises:
        ManifestError: If the study is a rehearsal already.
    """
    if study.study.startswith(PREFIX):
        raise ManifestError(
            f"expected a study, got the rehearsal {study.study!r}", remedy="rehearse the study's own manifest"
        )
    most = max(patients, study.cohort.minimum_patients)
    roster = tuple(_rehearsed_site(entry, most) for entry in study.roster)
    changes = {
        "study": (PREFIX + study.study)[:_LONGEST_NAME],
        "title": f"Rehearsal of: {study.title}",
        "legal_basis": "",
        "expires": None,
        "cohort": study.cohort.model_copy(update={"provenance": "synthetic"}),
        "roster": roster,
        "schedule": study.schedule.model_copy(
            update={"rounds": min(study.schedule.rounds, rounds or study.schedule.rounds)}
        ),
    }
    return Rehearsed(
        manifest=StudyManifest.from_data(study.model_copy(update=changes).as_data()),
        capped=tuple(entry.site for entry in study.roster if entry.training_patients > most),
    )


def _rehearsed_site(entry: RosterSite, most: int) -> RosterSite:
    return entry.model_copy(update={"training_patients": min(entry.training_patients, most)})
