"""What the authority tells the aggregator's host: the gate's certificate, who is a member, and which certificates are refused.

Lists are functions of the register alone. Their numbers count its rows, so that every change has a higher number, and a
register that was restored from an old copy gives itself away.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.authority.certificates import issue_for_gate
from aggregator.authority.key_proofs import check_tls_proof
from aggregator.authority.office import AuthorityKeys, Office
from aggregator.authority.register import Gate, latest
from federation.errors import InvalidInputError
from federation.governance.aggregator_enrolment import (
    AGGREGATOR_ADMISSION,
    AggregatorAdmission,
    AggregatorRequest,
    SignedAggregatorAdmission,
    check_aggregator_request,
)
from federation.governance.enrolment import (
    Member,
    Members,
    Revocations,
    RevokedCertificate,
    SignedMembers,
    SignedRevocations,
)
from federation.governance.fingerprints import check_spoken
from federation.governance.member_lists import MEMBERS, REVOCATIONS
from federation.governance.signed import sign_document


@dataclass(frozen=True)
class SiteState:
    """A line of ``cohortium consortium sites``."""

    site: str
    state: str
    """``member``, ``expired`` or ``revoked``."""
    serial: str
    fingerprint: str
    expires: dt.datetime


def certify_aggregator(
    office: Office,
    keys: AuthorityKeys,
    request: AggregatorRequest,
    *,
    names: Sequence[str],
    gate: str,
    heard: str,
    now: dt.datetime,
) -> SignedAggregatorAdmission:
    """Give the aggregator's host its server certificate. Sites that are admitted later learn of this aggregator.

    Args:
        office: The authority's.
        keys: Unlocked.
        request: As it arrived.
        names: DNS names and IP addresses of the gate, from the officer.
        gate: ``host:port`` that sites are told.
        heard: The request's fingerprint as the host's administrator read it out: nothing else proves the request.
        now: With time zone.

    Raises:
        EnrolmentRefusedError: If a proof does not hold, or the fingerprint is another.
        InvalidInputError: If a name or the address is malformed, or the address is none of the names.
    """
    check_spoken(request.claim.fingerprint, heard, what="the aggregator's request")
    authority = office.authority
    check_aggregator_request(request, consortium=authority.consortium, tls=check_tls_proof)
    if gate.rpartition(":")[0].strip("[]").lower() not in {name.lower() for name in names}:
        raise InvalidInputError(
            f"expected the gate's address to be one of the certificate's names, got {gate} and {', '.join(names)}",
            remedy="sites check the name that they connect to: repeat it with --name",
        )
    issued = issue_for_gate(
        request.claim.tls_request, names=names, authority=authority.certificate, key=keys.certification, now=now
    )
    admission = AggregatorAdmission.from_data(
        {
            "consortium": authority.consortium,
            "authority": authority.as_data(),
            "certificate": issued.pem,
            "names": list(names),
            "gate": gate,
            "coordinator_key": request.claim.coordinator_key,
            "expires": issued.expires.isoformat(),
        },
        error=InvalidInputError,
    )
    with office.register.transaction():
        office.register.add_aggregator(
            gate=Gate(request.claim.coordinator_key, gate),
            names=tuple(names),
            serial=issued.serial,
            fingerprint=issued.fingerprint,
            now=now,
            expires=issued.expires,
        )
        return SignedAggregatorAdmission(
            admission=admission,
            signature=sign_document(admission, keys.signing, purpose=AGGREGATOR_ADMISSION),
            members=_members(office, keys),
            revocations=_revocations(office, keys),
        )


def signed_members(office: Office, keys: AuthorityKeys) -> SignedMembers:
    """Who is a member now: every site whose newest certificate was not revoked, expired ones included."""
    with office.register.transaction():
        return _members(office, keys)


def signed_revocations(office: Office, keys: AuthorityKeys) -> SignedRevocations:
    """Every certificate that was ever revoked."""
    with office.register.transaction():
        return _revocations(office, keys)


def site_states(office: Office, *, now: dt.datetime) -> tuple[SiteState, ...]:
    """Every site that was ever admitted, by name."""
    with office.register.transaction():
        rows = office.register.admissions()
        revoked = {row.serial for row in office.register.revocations()}
    found: list[SiteState] = []
    for site in sorted({row.site for row in rows}):
        newest = latest(rows, site)
        if newest is not None:
            state = "revoked" if newest.serial in revoked else "expired" if newest.expires <= now else "member"
            found.append(SiteState(site, state, newest.serial, newest.fingerprint, newest.expires))
    return tuple(found)


def last_admission(office: Office, site: str) -> str:
    """The signed admission that a site was given last, JSON, to be handed out again if it was lost on its way.

    Raises:
        InvalidInputError: If the site was never admitted.
    """
    with office.register.transaction():
        newest = latest(office.register.admissions(), site)
    if newest is None:
        raise InvalidInputError(
            f"expected a site that was admitted, got {site}", remedy="see `cohortium consortium sites`"
        )
    return newest.document


def _members(office: Office, keys: AuthorityKeys) -> SignedMembers:
    rows, revoked = office.register.admissions(), office.register.revocations()
    serials = {row.serial for row in revoked}
    newest = [latest(rows, site) for site in sorted({row.site for row in rows})]
    members = Members(
        consortium=office.authority.consortium,
        number=1 + len(rows) + len(revoked),
        members=tuple(
            Member(
                site=row.site,
                identity_key=row.identity_key,
                node_key=row.node_key,
                certificate_serial=row.serial,
                certificate_fingerprint=row.fingerprint,
                expires=row.expires,
            )
            for row in newest
            if row is not None and row.serial not in serials
        ),
    )
    return SignedMembers(members=members, signature=sign_document(members, keys.signing, purpose=MEMBERS))


def _revocations(office: Office, keys: AuthorityKeys) -> SignedRevocations:
    rows = office.register.revocations()
    listed = Revocations(
        consortium=office.authority.consortium,
        number=1 + len(rows),
        entries=tuple(RevokedCertificate(site=row.site, serial=row.serial, since=row.since) for row in rows),
    )
    return SignedRevocations(revocations=listed, signature=sign_document(listed, keys.signing, purpose=REVOCATIONS))
