"""The terms of a ledger: whose patients, at which site, and what all releases together may cost each of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from federation.documents import Document
from federation.identifiers import SiteId
from federation.privacy.accounting import Cost
from federation.privacy.renyi_filter import RenyiFilter


class LedgerTerms(Document):
    """The first entry of every ledger; it never changes."""

    population: SiteId
    """Short name of the patient population. All studies about the same patients share its ledger."""
    site: SiteId
    epsilon_cap: Annotated[float, Field(gt=0)]
    """What all releases of all studies together may cost one patient."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    order: float | None = None
    """The only Rényi order that counts, or any order of the grid (see :mod:`federation.privacy.renyi_filter`)."""

    def is_passed_by(self, spent: Cost) -> bool:
        """Whether a ledger that has spent this much is past its cap, which no ledger ever is.

        One part in a thousand million is granted to the logarithms of another machine.
        """
        return self.cap().spent(spent) > self.epsilon_cap * (1 + 1e-9)

    def cap(self) -> RenyiFilter:
        """What decides whether a release is admitted.

        Raises:
            InvalidInputError: If the order is not one of the grid.
        """
        return RenyiFilter(epsilon_cap=self.epsilon_cap, delta=self.delta, order=self.order)
