"""What remains in a site's ledger for a study that has not begun. Nothing is charged."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from federation.documents import Document
from federation.privacy.accounting import add
from federation.study.manifest import StudyManifest
from federation.study.patient_costs import charges_patients, whole_cost

if TYPE_CHECKING:
    from site_client.ledger.ledger import Ledger


class LedgerRoom(Document):
    """What remains of a population's cap, and whether a study fits in it. For the eyes of whoever may see the ledger."""

    population: str
    epsilon_cap: float
    delta: float
    epsilon_spent: float
    epsilon_remaining: float
    epsilon_after: float | None
    """If the whole study were charged; ``None``: without bound."""
    locked: bool
    """A locked ledger admits nothing."""
    admitted: bool
    """Whether the ledger's own filter would admit the study's whole charge today."""


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
    if not path.exists() or not charges_patients(manifest):
        return None
    from site_client.ledger.ledger import Ledger

    with Ledger.open(path, clock=clock) as ledger:
        return room_of(ledger, manifest)


def room_of(ledger: Ledger, manifest: StudyManifest) -> LedgerRoom:
    """What an open ledger says about the whole of a study that charges it."""
    status, spent, cap, charge = ledger.status(), ledger.spent(), ledger.terms.cap(), whole_cost(manifest)
    after = cap.spent(add(spent, charge))
    return LedgerRoom(
        population=status.population,
        epsilon_cap=status.epsilon_cap,
        delta=status.delta,
        epsilon_spent=status.epsilon_spent,
        epsilon_remaining=status.epsilon_remaining,
        epsilon_after=after if math.isfinite(after) else None,
        locked=status.locked is not None,
        # A cost only grows: if the whole charge is admitted, so is every release on the way there.
        admitted=status.locked is None and cap.admits(spent, charge),
    )
