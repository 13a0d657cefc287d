"""The consortium's list of members, as a lead reads it: whose keys go into a roster, and whether the authority signed them.

A roster with another's key lets that other answer in a site's place, so the list's signature is checked against the authority where
the lead has its public document, and where not this is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conf.received_files import read_received
from federation.errors import EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import Authority, SignedMembers
from federation.governance.fingerprints import check_spoken, spoken
from federation.governance.member_lists import MEMBERS, check_members
from federation.governance.signed import check_signature

_BESIDE = "authority.json"


@dataclass(frozen=True)
class ListedMembers:
    """Sites and their keys.

    Args:
        keys: Public identity key by site.
        is_checked: Whether the authority's signature was checked.
        said: What was checked and what was not, for the lead.
    """

    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    is_checked: bool = False
    said: str = "no list of members was given: fill the roster in, with keys that you have from the sites' officers"

    @property
    def comment(self) -> str:
        """For the head of a manifest."""
        return f"# Roster: {' '.join(self.said.split())}\n"


def read_members(path: Path | None, *, authority: Path | None, heard: str | None) -> ListedMembers:
    """Read a list of members and check it as far as possible.

    Args:
        path: A :class:`~federation.governance.enrolment.SignedMembers`; ``None``: no list.
        authority: The authority's public document; ``None``: the one beside the list, if a fingerprint is given.
        heard: The authority's fingerprint, as its officer reads it out.

    Raises:
        EnrolmentRefusedError: If the list is another authority's or was changed, or the authority has another fingerprint.
        InvalidInputError: If a file cannot be read, or a fingerprint is given and no authority that it is of.
    """
    if path is None:
        if authority is not None or heard is not None:
            raise InvalidInputError(
                "expected --members with --authority or --fingerprint, got none", remedy="name the list with --members"
            )
        return ListedMembers()
    signed = read_received(path, SignedMembers)
    keys = {member.site: member.identity_key for member in signed.members.members}
    if authority is None and heard is not None:
        authority = path.parent / _BESIDE
        if not authority.is_file():
            raise InvalidInputError(
                f"expected the authority's public document, since a fingerprint alone holds no key; got none at {authority}",
                remedy="ask the officer for authority.json from the authority's folder (it is not secret); give --authority",
            )
    if authority is None:
        return ListedMembers(keys, is_checked=False, said=_unchecked(signed))
    known = read_received(authority, Authority, error=EnrolmentRefusedError)
    if heard is not None:
        check_spoken(known.fingerprint, heard, what="the consortium's authority")
    check_members(signed, known)
    how = (
        "with the fingerprint that was heard"
        if heard is not None
        else f"as {authority.name} has it; compare its fingerprint by telephone: {spoken(known.fingerprint)}"
    )
    return ListedMembers(
        keys,
        is_checked=True,
        said=f"list number {signed.members.number} is signed by the authority of {known.consortium}, {how}",
    )


def _unchecked(signed: SignedMembers) -> str:
    """What can be said without knowing the authority: that the list is as its signer left it, whoever that is."""
    key = signed.signature.public_key
    check_signature(
        signed.members,
        signed.signature,
        purpose=MEMBERS,
        public_key=key,
        signer="whoever it names",
        error=EnrolmentRefusedError,
    )
    return (
        f"NOT CHECKED who signed list number {signed.members.number} (key {key[:16]}...): anybody could have made it. "
        "Give --authority authority.json, or compare every site's key with the site's officer"
    )
