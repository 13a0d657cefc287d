"""A consortium in a temporary folder: an authority, an aggregator's host, and sites that enrol, with a clock of our own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from aggregator.authority import enrolling, member_lists
from aggregator.authority.office import AuthorityKeys, Office
from aggregator.host.enrolment import make_request
from aggregator.host.home_paths import HostLayout
from federation.governance.aggregator_enrolment import SignedAggregatorAdmission
from federation.governance.enrolment import EnrolmentRequest, Invitation, SignedAdmission
from site_client import enrolment
from site_client.home_paths import SiteLayout
from site_client.site_home import SiteHome

START = dt.datetime(2031, 5, 1, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
GATE = "gate.example.org:8443"


class SmallConsortium:
    """Every step of enrolment as one call, at a time that the test sets."""

    def __init__(self, folder: Path, *, name: str = "cardio", certify: bool = True, now: dt.datetime = START) -> None:
        self.folder = folder / name
        self.now = now
        Office.create(self.folder / "authority", name, passphrase=None, now=self.now)
        self.office = Office(self.folder / "authority")
        self.keys: AuthorityKeys = self.office.unlock(None)
        self.host = HostLayout(self.folder / "aggregator")
        self.gate_admission: SignedAggregatorAdmission | None = None
        if certify:
            self.gate_admission = self.certify()

    def certify(self, *, gate: str = GATE, names: tuple[str, ...] = ("gate.example.org",)) -> SignedAggregatorAdmission:
        request = make_request(self.host, self.office.authority.consortium)
        heard = request.claim.fingerprint
        return member_lists.certify_aggregator(
            self.office, self.keys, request, names=names, gate=gate, heard=heard, now=self.now
        )

    def site(self, name: str) -> SiteLayout:
        return SiteLayout(self.folder / "sites" / name)

    def invite(self, site: str, *, hours: int = 72) -> Invitation:
        return enrolling.invite(self.office, site, now=self.now, hours=hours)

    def request(self, site: str, *, invitation: Invitation | None = None) -> EnrolmentRequest:
        return enrolment.request_enrolment(self.site(site), invitation or self.invite(site), now=self.now)

    def admit(self, request: EnrolmentRequest, *, heard: str | None = None) -> SignedAdmission:
        return enrolling.admit(self.office, self.keys, request, now=self.now, heard=heard)

    def install(self, site: str, signed: SignedAdmission) -> SiteHome:
        return enrolment.install_admission(self.site(site), signed, now=self.now)

    def enrol(self, site: str) -> SignedAdmission:
        signed = self.admit(self.request(site))
        self.install(site, signed)
        return signed

    def renew(self, site: str) -> SignedAdmission:
        return enrolling.renew(self.office, self.keys, enrolment.request_renewal(self.site(site)), now=self.now)

    def revoke(self, site: str) -> int:
        return enrolling.revoke(self.office, site, now=self.now, reason="test")


def real_time() -> dt.datetime:
    """Now, for tests of parts that have a clock of their own."""
    return dt.datetime.now(tz=dt.UTC)
