"""Which keys the authority has seen before: a key is of one site for ever, and is worth nothing once it was revoked."""

from __future__ import annotations

from aggregator.authority.key_proofs import request_key_digest
from aggregator.authority.register import Admitted
from federation.errors import EnrolmentRefusedError
from federation.governance.enrolment import SiteClaim


def check_keys_are_free(claim: SiteClaim, site: str, rows: tuple[Admitted, ...], revoked: frozenset[str]) -> None:
    """Refuse keys that belong to another site, or that were revoked and may be in other hands.

    Args:
        claim: What is asked for.
        site: Whose it is, as the register knows it.
        rows: Every certificate that was ever issued.
        revoked: Serial numbers of those that were revoked.

    Raises:
        EnrolmentRefusedError: Naming the kind of key.
    """
    tls = request_key_digest(claim.tls_request)
    for row in rows:
        known = {"identity": row.identity_key, "node": row.node_key, "TLS": row.tls_key}
        claimed = {"identity": claim.identity_key, "node": claim.node_key, "TLS": tls}
        shared = [name for name, key in claimed.items() if known[name] == key]
        if shared and row.site != site:
            raise EnrolmentRefusedError(
                f"expected keys of site {site} alone, its {shared[0]} key is that of another site",
                remedy="every site makes its own keys: enrol from an empty site folder",
                reason="key_of_another_site",
            )
        if shared and row.serial in revoked:
            raise EnrolmentRefusedError(
                f"expected new keys of site {site}, its {shared[0]} key was revoked",
                remedy="move identity.key and the keys in the gateway folder away at the site, then enrol again",
                reason="revoked_key",
            )


def has_same_keys(row: Admitted, claim: SiteClaim) -> bool:
    """Whether a claim is of the identity key and the node key of an earlier certificate."""
    return (row.identity_key, row.node_key) == (claim.identity_key, claim.node_key)
