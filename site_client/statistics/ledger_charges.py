"""Noisy statistics are charged to the ledger of the patient population, release by release."""

from __future__ import annotations

from dataclasses import dataclass, field

from federation.errors import InternalError
from federation.privacy.events import PROBABILITY_DENOMINATOR, SubsampledGaussian
from federation.statistics.private_step import PrivateStep
from site_client.ledger.ledger import Ledger


@dataclass(frozen=True)
class LedgerCharges:
    """See :class:`~site_client.statistics.private_answers.Charges`.

    Args:
        ledger: Of the population.
        study: Digest of the manifest.
    """

    ledger: Ledger = field(repr=False)
    study: str

    def reserve(self, step: PrivateStep, *, request: str) -> None:
        """Charge a release before its noise is drawn; the same one is charged once.

        Raises:
            BudgetExhaustedError: If the cap would be passed. Nothing has changed then.
            PrivacyRefusedError: If the release was reserved for another request.
            LedgerLockedError: If the ledger has locked itself.
        """
        event = SubsampledGaussian(
            noise_multiplier=step.noise_multiplier, sampling_numerator=PROBABILITY_DENOMINATOR, steps=1
        )
        self.ledger.reserve(study=self.study, release=release_name(step), request=request, events=(event,))

    def answered(self, step: PrivateStep, *, released: str) -> None:
        """Record what may leave, and that it does.

        Raises:
            PrivacyRefusedError: If something else was recorded before: the site's folder is not what it was.
            LedgerLockedError: If the ledger has locked itself.
        """
        reservation = self.ledger.find(self.study, release_name(step))
        if reservation is None:
            raise InternalError("expected a release that was charged, got one that was not")
        self.ledger.sent(self.ledger.computed(reservation, released))


def release_name(step: PrivateStep) -> str:
    """Of a release in the ledger: ``statistics/ANALYSIS/NUMBER``."""
    return f"statistics/{step.analysis}/{step.release}"
