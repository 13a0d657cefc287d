"""The ledger that a study's releases are charged to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.patient_costs import charges_patients, smallest_delta, statistics_promises, whole_epsilon
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.site_folder import SiteFolder


def open_study_ledger(
    folder: SiteFolder, manifest: StudyManifest, site: str, *, clock: Callable[[], dt.datetime]
) -> Ledger | None:
    """The population's ledger, or the study's own in a simulation: then its cap is the promise. ``None``: nothing is charged.

    Args:
        folder: The study's folder at the site; its settings name the ledger.
        manifest: Of the study.
        site: Its identifier.
        clock: The time that the ledger writes beside its entries.

    Raises:
        LedgerDamagedError: If the ledger does not hold.
    """
    path, privacy = folder.settings()["ledger"], manifest.privacy
    if not charges_patients(manifest):
        return None
    if path is not None:
        return Ledger.open(Path(str(path)), clock=clock)
    if isinstance(privacy, PatientLevelPrivacy) and not statistics_promises(manifest):
        cap, delta = privacy.epsilon, privacy.delta
    else:
        cap, delta = whole_epsilon(manifest), smallest_delta(manifest)
    terms = LedgerTerms(population=site, site=site, epsilon_cap=cap, delta=delta)
    return Ledger.open_or_create(folder.path / "ledger.sqlite", terms, clock=clock)
