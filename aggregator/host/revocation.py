"""Who may connect at this moment: the authority's signed lists, read again every few seconds, and never older than before.

A list that is damaged, of another authority or of a lower number than one seen before is not believed; what was known
stays in force, and health says so. Without any valid list nobody may connect.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aggregator.authority.certificates import Client
from aggregator.host.home_paths import HostLayout, read_small
from federation.durable_files import write_durably
from federation.errors import CohortiumError, EnrolmentRefusedError
from federation.governance.enrolment import (
    Authority,
    Member,
    Members,
    Revocations,
    SignedMembers,
    SignedRevocations,
)
from federation.governance.member_lists import check_members, check_newer, check_revocations

_LARGEST_LIST: Final = 1024 * 1024
_LOG: Final = logging.getLogger("cohortium.gate")

Floor = dict[str, tuple[int, str]]
"""Kind of list to the number and digest of the newest one seen."""


@dataclass(frozen=True)
class Lists:
    """The two lists in force."""

    members: Members
    revocations: Revocations

    def reason_against(self, client: Client, *, now: dt.datetime) -> str:
        """Why this client is not let in: a reason code, empty if it is."""
        if client.consortium != self.members.consortium:
            return "consortium"
        if self.revocations.is_revoked(client.serial):
            return "revoked"
        if now >= client.expires:
            return "expired"
        if self.members.of_site(client.site) is None:
            return "not_a_member"
        return ""

    def revoked_sites(self) -> frozenset[str]:
        """Sites of which the member's own certificate is revoked, that is which have no other one."""
        return frozenset(
            member.site for member in self.members.members if self.revocations.is_revoked(member.certificate_serial)
        )

    def active_members(self) -> tuple[Member, ...]:
        """Members that may take part now."""
        revoked = self.revoked_sites()
        return tuple(member for member in self.members.members if member.site not in revoked)


class Membership:
    """The lists of a host, as of a few seconds ago.

    Args:
        layout: The host's folder.
        clock: Monotonic seconds.
        now: The time of day, with time zone.
        reread_seconds: For how long what was read is believed.
        keep_floor: Whether to write down the newest numbers. One process of a host does, the others only read them.
    """

    def __init__(
        self,
        layout: HostLayout,
        *,
        clock: Callable[[], float],
        now: Callable[[], dt.datetime],
        reread_seconds: float = 5.0,
        keep_floor: bool = False,
    ) -> None:
        self._layout = layout
        self._clock = clock
        self._now = now
        self._reread_seconds = reread_seconds
        self._keep_floor = keep_floor
        self._lists: Lists | None = None
        self._read_at = float("-inf")
        self._seen: object = None
        self.problem = "not read yet"

    def current(self) -> Lists | None:
        """The lists in force, at most :attr:`reread_seconds` old; ``None`` if there never were valid ones."""
        if self._clock() - self._read_at >= self._reread_seconds:
            self.reread()
        return self._lists

    def reread(self) -> None:
        """Read the lists now, if their files changed."""
        self._read_at = self._clock()
        stamp = self._stamp()
        if stamp == self._seen and not self.problem:
            return
        try:
            found = read_lists(self._layout)
            self._raise_floor(found)
        except CohortiumError as failure:
            if self.problem != failure.message:
                _LOG.error("the lists of members and revocations are not believed: %s", failure.message)
            self.problem = failure.message
        else:
            self._lists, self._seen, self.problem = found, stamp, ""

    def reason_against(self, client: Client) -> str:
        """Why this client is not let in now: a reason code, empty if it is."""
        lists = self.current()
        return "no_lists" if lists is None else lists.reason_against(client, now=self._now())

    def member(self, site: str) -> Member | None:
        """The member of that name, if it may take part now."""
        lists = self.current()
        if lists is None or site in lists.revoked_sites():
            return None
        return lists.members.of_site(site)

    def _stamp(self) -> object:
        stamps: list[tuple[int, int, int]] = []
        for path in (self._layout.authority, self._layout.members, self._layout.revocations):
            try:
                found = path.stat()
            except OSError:
                return None
            stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return stamps

    def _raise_floor(self, found: Lists) -> None:
        floor = _read_floor(self._layout)
        offered: Floor = {
            "members": (found.members.number, found.members.digest),
            "revocations": (found.revocations.number, found.revocations.digest),
        }
        for what, newest in offered.items():
            check_newer(installed=floor.get(what, (0, "")), offered=newest, what=f"a list of {what}")
        if self._keep_floor and floor != offered:
            write_durably(self._layout.lists_floor, json.dumps(offered).encode())


def read_lists(layout: HostLayout) -> Lists:
    """The lists in a host's folder, as signed by its authority.

    Raises:
        InvalidInputError: If a file is missing or too large.
        EnrolmentRefusedError: If a list is not valid, or not the authority's.
    """
    authority = Authority.from_json(
        read_small(layout.authority, what="the consortium's authority"), error=EnrolmentRefusedError
    )
    members = SignedMembers.from_json(
        read_small(layout.members, what="the list of members", largest=_LARGEST_LIST), error=EnrolmentRefusedError
    )
    revocations = SignedRevocations.from_json(
        read_small(layout.revocations, what="the list of revocations", largest=_LARGEST_LIST),
        error=EnrolmentRefusedError,
    )
    check_members(members, authority)
    check_revocations(revocations, authority)
    return Lists(members=members.members, revocations=revocations.revocations)


def _read_floor(layout: HostLayout) -> Floor:
    if not layout.lists_floor.exists():
        return {}
    try:
        data = json.loads(read_small(layout.lists_floor, what="the numbers of lists seen before"))
        return {str(what): (int(entry[0]), str(entry[1])) for what, entry in data.items()}
    except (ValueError, TypeError, AttributeError, IndexError) as failure:
        raise EnrolmentRefusedError(
            f"expected the numbers of lists seen before in {layout.lists_floor}, got something else",
            remedy="compare the numbers of members.json and revocations.json with the authority's, then remove the file",
        ) from failure
