"""The authority's lists as files: a file is replaced by a newer list of the same authority, never by an older one."""

from __future__ import annotations

from pathlib import Path

from conf.received_files import read_received
from federation.durable_files import write_durably
from federation.governance.enrolment import Authority, SignedMembers, SignedRevocations
from federation.governance.member_lists import check_members, check_newer, check_revocations


def replace_members(path: Path, signed: SignedMembers, authority: Authority) -> None:
    """Write a list of members.

    Args:
        path: Where to. What is there must be an older list of the same authority, or the very same one.
        signed: The list.
        authority: Whose it must be.

    Raises:
        EnrolmentRefusedError: If the list is another authority's, or older than the one that is there.
        InvalidInputError: If something else is there.
    """
    check_members(signed, authority)
    if path.exists():
        present = read_received(path, SignedMembers)
        check_members(present, authority)
        known, new = present.members, signed.members
        check_newer(installed=(known.number, known.digest), offered=(new.number, new.digest), what="a list of members")
    write_durably(path, signed.model_dump_json(indent=1).encode())


def replace_revocations(path: Path, signed: SignedRevocations, authority: Authority) -> None:
    """Write a list of revocations. See :func:`replace_members`."""
    check_revocations(signed, authority)
    if path.exists():
        present = read_received(path, SignedRevocations)
        check_revocations(present, authority)
        known, new = present.revocations, signed.revocations
        check_newer(
            installed=(known.number, known.digest), offered=(new.number, new.digest), what="a list of revocations"
        )
    write_durably(path, signed.model_dump_json(indent=1).encode())
