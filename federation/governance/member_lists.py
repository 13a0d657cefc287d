"""Checks of the authority's two lists, members and revocations: whose they are, and that they never go back in time."""

from __future__ import annotations

from typing import Final

from federation.errors import EnrolmentRefusedError
from federation.governance.enrolment import Authority, SignedMembers, SignedRevocations
from federation.governance.signed import check_signature

MEMBERS: Final = "members"
REVOCATIONS: Final = "revocations"


def check_members(signed: SignedMembers, authority: Authority) -> None:
    """Check that a list of members is this authority's.

    Raises:
        EnrolmentRefusedError: If it is another's, or changed.
    """
    _check_list(signed.members.consortium, authority)
    check_signature(
        signed.members,
        signed.signature,
        purpose=MEMBERS,
        public_key=authority.public_key,
        signer="the consortium's authority",
        error=EnrolmentRefusedError,
    )


def check_revocations(signed: SignedRevocations, authority: Authority) -> None:
    """Check that a list of revocations is this authority's.

    Raises:
        EnrolmentRefusedError: If it is another's, or changed.
    """
    _check_list(signed.revocations.consortium, authority)
    check_signature(
        signed.revocations,
        signed.signature,
        purpose=REVOCATIONS,
        public_key=authority.public_key,
        signer="the consortium's authority",
        error=EnrolmentRefusedError,
    )


def check_newer(*, installed: tuple[int, str], offered: tuple[int, str], what: str) -> None:
    """Refuse a list that is older than the one in force, or another of the same number.

    Args:
        installed: Number and digest of the list in force.
        offered: Number and digest of the list that would replace it. The very same list passes.
        what: Which list, for the message.

    Raises:
        EnrolmentRefusedError: If the list would go back in time.
    """
    if offered[0] < installed[0] or (offered[0] == installed[0] and offered[1] != installed[1]):
        raise EnrolmentRefusedError(
            f"expected {what} newer than number {installed[0]}, got number {offered[0]}"
            + (" with another content" if offered[0] == installed[0] else ""),
            remedy="ask the authority for its current list; if that is older, its register was restored from a backup",
            reason="rollback",
        )


def _check_list(consortium: str, authority: Authority) -> None:
    if consortium != authority.consortium:
        raise EnrolmentRefusedError(
            f"expected a list of consortium {authority.consortium}, got one of {consortium}",
            remedy="ask the right authority",
            reason="consortium",
        )
