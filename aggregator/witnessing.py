"""The heads of the sites' ledgers that the aggregator witnessed: what keeps a restored ledger from spending twice."""

from __future__ import annotations

from collections.abc import Mapping

from federation.errors import TransportError
from federation.protocol.ledger_head import LedgerHead


class HeadKeeper:
    """The last head of each site's ledger.

    Args:
        heads: From a checkpoint.
    """

    def __init__(self, heads: Mapping[str, LedgerHead]) -> None:
        self._heads = dict(heads)

    @property
    def heads(self) -> dict[str, LedgerHead]:
        """By site, for a checkpoint."""
        return dict(self._heads)

    def witnessed(self, site: str) -> LedgerHead | None:
        """What to show the site with the next request; ``None`` before its first private reply."""
        return self._heads.get(site)

    def accept(self, site: str, head: LedgerHead | None) -> None:
        """Keep the head of a private reply.

        Raises:
            TransportError: If there is none, it is not genuine, or it is of another ledger than the site's first.
        """
        if head is None or not head.is_genuine():
            raise TransportError(
                f"expected the signed head of its ledger from site {site}, got "
                + ("none" if head is None else "one whose signature does not hold")
            )
        known = self._heads.get(site)
        if known is not None and (known.public_key, known.population) != (head.public_key, head.population):
            raise TransportError(f"expected a head of the ledger that site {site} began with, got another ledger's")
        if known is None or head.sequence > known.sequence:
            self._heads[site] = head
