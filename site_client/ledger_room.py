"""What remains in a site's ledger for a study that has not begun. Nothing is charged."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path

from federation.documents import Document
from federation.privacy.accounting import add
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest


class LedgerRoom(Document):
    """For the site's eyes only."""

    population: str
    epsilon_cap: float
    delta: float
    epsilon_spent: float
    epsilon_remaining: float
    epsilon_after: float | None
    """Spent after the whole study; ``None``: beyond all bounds."""
    locked: bool
    admitted: bool
    """Whether the whole study fits."""


def room_in_ledger(path: Path, manifest: StudyManifest, *, clock: Callable[[], dt.datetime]) -> LedgerRoom | None:
    """What a ledger says about the whole of a study.

    Args:
        path: The ledger.
        manifest: Of the study.
        clock: The time.

    Returns:
        ``None`` if there is no ledger, or if the study charges none.

    Raises:
        LedgerDamagedError: If the ledger does not hold.
    """
    if not path.exists() or not isinstance(manifest.privacy, PatientLevelPrivacy):
        return None
    from site_client.ledger.ledger import Ledger

    with Ledger.open(path, clock=clock) as ledger:
        status, spent, cap = ledger.status(), ledger.spent(), ledger.terms.cap()
    charge = manifest.privacy_cost()
    after = cap.spent(add(spent, charge))
    return LedgerRoom(
        population=status.population,
        epsilon_cap=status.epsilon_cap,
        delta=status.delta,
        epsilon_spent=status.epsilon_spent,
        epsilon_remaining=status.epsilon_remaining,
        epsilon_after=after if math.isfinite(after) else None,
        locked=status.locked is not None,
        admitted=status.locked is None and cap.admits(spent, charge),
    )
