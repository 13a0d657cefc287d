"""A Rényi filter: it decides, release by release, whether a population's cap still holds afterwards.

Releases may be chosen adaptively, their parameters too (Rogers et al. 2016; Feldman & Zrnic 2021, arXiv 2008.11193,
theorem 4.3; Lécuyer 2021, arXiv 2103.01379). For one order the filter is valid against every adaptive choice. With a
grid of orders a release is admitted as long as some order still proves the cap: for parameters that do not depend on
earlier releases this is ordinary Rényi composition, which is how a manifest fixes them before a study starts. Should
an analyst choose the *parameters* of later studies by the results of earlier ones, different outcomes could rest on
different orders; a ledger that must withstand this too names its one order when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from federation.errors import InvalidInputError
from federation.privacy.accounting import Cost, add, epsilon_by_order
from federation.privacy.rdp_curves import ORDERS


@dataclass(frozen=True)
class RenyiFilter:
    """The cap of one patient population.

    Args:
        epsilon_cap: Positive; what all releases together may cost a patient.
        delta: Of the cap, in (0, 1).
        order: The only order that counts, one of the grid's; ``None``: any order of the grid.

    Raises:
        InvalidInputError: If an argument is out of range.
    """

    epsilon_cap: float
    delta: float
    order: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epsilon_cap < float("inf") or not 0 < self.delta < 1:
            raise InvalidInputError(
                f"expected a finite epsilon cap above 0 and delta in (0, 1), got {self.epsilon_cap!r} and {self.delta!r}"
            )
        if self.order is not None and not bool(np.any(np.isclose(ORDERS, self.order, rtol=0, atol=1e-9))):
            raise InvalidInputError(
                f"expected an order of the grid, got {self.order!r}",
                remedy="1.1 to 10.9 in steps of 0.1, 11 to 63, 128, 256, 512 or 1024",
            )

    def spent(self, cost: Cost) -> float:
        """Epsilon that ``cost`` amounts to; infinite if no order that counts has a bound."""
        if not any(cost):
            return 0.0
        by_order = epsilon_by_order(cost, delta=self.delta)
        if self.order is not None:
            by_order = by_order[np.isclose(ORDERS, self.order, rtol=0, atol=1e-9)]
        return float(np.min(by_order))

    def admits(self, spent: Cost, charge: Cost) -> bool:
        """Whether the cap holds after ``charge`` on top of ``spent``."""
        return self.spent(add(spent, charge)) <= self.epsilon_cap

    def remaining(self, spent: Cost) -> float:
        """Epsilon of the cap that is not spent, at least 0. For people: a release is decided by :meth:`admits`."""
        return max(0.0, self.epsilon_cap - self.spent(spent))
