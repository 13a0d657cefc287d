"""What the authority's officer does: invite a site, admit it, renew its certificate, revoke it.

Every decision and the rows that record it are one transaction of the register. Names come from the register; a request
is only a proof about keys. Time is an argument.
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from aggregator.authority.certificates import issue_for_site
from aggregator.authority.key_history import check_keys_are_free, has_same_keys
from aggregator.authority.key_proofs import check_node_proof, check_tls_proof, request_key_digest
from aggregator.authority.office import AuthorityKeys, Office
from aggregator.authority.register import Admitted, Gate, latest
from federation.errors import EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import (
    Admission,
    EnrolmentRequest,
    Invitation,
    RenewalRequest,
    SignedAdmission,
    SiteClaim,
)
from federation.governance.enrolment_checks import (
    ADMISSION,
    check_claim_names,
    check_keys,
    check_token,
    open_token,
    token_digest,
    token_of,
)
from federation.governance.fingerprints import check_spoken
from federation.governance.signed import sign_document
from federation.identifiers import SiteId

INVITATION_HOURS: Final = 72
_LONGEST_HOURS: Final = 24 * 14
_WHY: Final = {
    "unknown": ("it was never made here", "the site must use the newest invitation of this authority"),
    "admitted": ("it was used before", "if the site did not do that itself, revoke it; then invite it again"),
    "withdrawn": ("it was withdrawn, by a newer one or by a revocation", "the site must use its newest invitation"),
    "expired": ("it has expired", "invite the site again"),
}


def invite(office: Office, site: str, *, now: dt.datetime, hours: int = INVITATION_HOURS) -> Invitation:
    """Invite a site. An older invitation of it that was not used is withdrawn.

    Args:
        office: The authority's.
        site: Short name: the one that will stand in its certificate.
        now: With time zone.
        hours: How long it can be used.

    Raises:
        InvalidInputError: If the name or the hours are out of range.
        EnrolmentRefusedError: If no aggregator was certified yet, so that the site could not be told where to connect.
    """
    if not 1 <= hours <= _LONGEST_HOURS:
        raise InvalidInputError(f"expected 1 to {_LONGEST_HOURS} hours, got {hours}")
    _check_name(site)
    token = token_of(secrets.token_bytes(32))
    expires = (now + dt.timedelta(hours=hours)).astimezone(dt.UTC).replace(microsecond=0)
    with office.register.transaction():
        gate = _gate(office)
        invitation = Invitation.from_data(
            {
                "consortium": office.authority.consortium,
                "site": site,
                "token": token,
                "expires": expires.isoformat(),
                "authority": office.authority.as_data(),
                "authority_fingerprint": office.authority.fingerprint,
                "gate": gate.address,
            },
            error=InvalidInputError,
        )
        office.register.add_invitation(token_digest=token_digest(token), site=site, now=now, expires=expires)
    return invitation


def admit(
    office: Office, keys: AuthorityKeys, request: EnrolmentRequest, *, now: dt.datetime, heard: str | None = None
) -> SignedAdmission:
    """Admit the site that an invitation was for, with the keys of a request. Uses the invitation up.

    Args:
        office: The authority's.
        keys: Unlocked.
        request: As it arrived.
        now: With time zone.
        heard: The request's fingerprint as the site read it out, if the officer has it.

    Raises:
        EnrolmentRefusedError: If the invitation is used, expired or another site's, a proof does not hold, or a key has
            been used by another site or a revoked certificate. Nothing is changed then.
    """
    claim = request.claim
    if heard is not None:
        check_spoken(claim.fingerprint, heard, what=f"the request of site {claim.site}")
    token = open_token(request, private=keys.sealing)
    check_token(request, token)
    check_keys(claim, request.proofs, tls=check_tls_proof, node=check_node_proof)
    digest = token_digest(token)
    with office.register.transaction():
        site = office.register.use_invitation(digest, now=now)
        if site is None:
            why, remedy = _WHY[office.register.why_unusable(digest)]
            raise EnrolmentRefusedError(
                f"expected an invitation that can be used, but {why}", remedy=remedy, reason="invitation"
            )
        check_claim_names(claim, authority=office.authority, site=site)
        if claim.replaces is not None:
            raise _refused(
                "expected a request to enrol, got one to renew", "use `cohortium consortium renew`", "replaces"
            )
        rows = office.register.admissions()
        revoked = _revoked_serials(office)
        check_keys_are_free(claim, site, rows, revoked)
        current = latest(rows, site)
        if current and current.serial not in revoked and current.expires > now and not has_same_keys(current, claim):
            raise _refused(
                f"expected the keys that site {site} is a member with, got others",
                "if the site lost its keys, revoke it first and invite it again",
                "member",
            )
        return _certify(office, keys, claim, site=site, kind="enrolment", now=now)


def renew(office: Office, keys: AuthorityKeys, request: RenewalRequest, *, now: dt.datetime) -> SignedAdmission:
    """Give a member its next certificate. The site's identity key vouches for the request.

    Raises:
        EnrolmentRefusedError: If the site is no member, was revoked, its certificate has expired or was renewed already,
            or the request is of other keys.
    """
    claim = request.claim
    check_keys(claim, request.proofs, tls=check_tls_proof, node=check_node_proof)
    with office.register.transaction():
        rows = office.register.admissions()
        revoked = _revoked_serials(office)
        current = latest(rows, claim.site)
        if current is None:
            raise _refused(
                f"expected a member, got {claim.site}, which was never admitted", "invite the site", "member"
            )
        check_claim_names(claim, authority=office.authority, site=current.site)
        if current.serial in revoked:
            raise _refused(
                f"expected a member, got site {current.site}, which was revoked",
                "a revoked site returns with a new invitation and new keys",
                "revoked",
            )
        if current.expires <= now:
            raise _refused(
                f"expected a certificate that is still valid, that of {current.site} has expired",
                "invite again",
                "expired",
            )
        if (claim.identity_key, claim.node_key) != (current.identity_key, current.node_key):
            raise _refused("expected the member's own keys, got others", "renew at the site itself", "identity_key")
        if claim.replaces != current.serial:
            raise _refused(
                "expected a request to replace the member's newest certificate, got one for another",
                "install the newest admission at the site, then renew again",
                "replaces",
            )
        check_keys_are_free(claim, current.site, rows, revoked)
        return _certify(office, keys, claim, site=current.site, kind="renewal", now=now)


def revoke(office: Office, site: str, *, now: dt.datetime, reason: str) -> int:
    """Refuse every certificate of a site from now on, and withdraw its open invitations.

    Returns:
        How many certificates were revoked by this call. None if the site was revoked before.

    Raises:
        InvalidInputError: If the site was never admitted nor invited.
    """
    with office.register.transaction():
        withdrawn = office.register.withdraw_invitations(site, now=now)
        revoked = _revoked_serials(office)
        own = [row for row in office.register.admissions() if row.site == site]
        if not own and not withdrawn:
            raise InvalidInputError(
                f"expected a site that was admitted or invited, got {site}", remedy="see `cohortium consortium sites`"
            )
        due = [row for row in own if row.serial not in revoked]
        for row in due:
            office.register.add_revocation(site=site, serial=row.serial, now=now, reason=reason)
    return len(due)


def _certify(
    office: Office,
    keys: AuthorityKeys,
    claim: SiteClaim,
    *,
    site: str,
    kind: Literal["enrolment", "renewal"],
    now: dt.datetime,
) -> SignedAdmission:
    authority, gate = office.authority, _gate(office)
    issued = issue_for_site(
        claim.tls_request,
        consortium=authority.consortium,
        site=site,
        authority=authority.certificate,
        key=keys.certification,
        now=now,
    )
    admission = Admission(
        consortium=authority.consortium,
        site=site,
        authority=authority,
        certificate=issued.pem,
        identity_key=claim.identity_key,
        node_key=claim.node_key,
        coordinator_key=gate.coordinator_key,
        gate=gate.address,
        expires=issued.expires,
    )
    signed = SignedAdmission(admission=admission, signature=sign_document(admission, keys.signing, purpose=ADMISSION))
    office.register.add_admission(
        Admitted(
            number=0,
            site=site,
            kind=kind,
            identity_key=claim.identity_key,
            node_key=claim.node_key,
            tls_key=request_key_digest(claim.tls_request),
            serial=issued.serial,
            fingerprint=issued.fingerprint,
            issued=now,
            expires=issued.expires,
            document=signed.model_dump_json(),
        )
    )
    return signed


def _revoked_serials(office: Office) -> frozenset[str]:
    return frozenset(row.serial for row in office.register.revocations())


def _check_name(site: str) -> None:
    try:
        TypeAdapter(SiteId).validate_python(site)
    except ValidationError as failure:
        raise InvalidInputError(
            f"expected a short name for the site, got {site[:80]!r}",
            remedy="1 to 63 lower-case letters, digits, '-' or '_', starting with a letter or digit",
        ) from failure


def _gate(office: Office) -> Gate:
    gate = office.register.gate()
    if gate is None:
        raise _refused(
            "expected a certified aggregator, there is none: a site could not be told where to connect",
            "run `cohortium consortium certify-aggregator` first",
            "gate",
        )
    return gate


def _refused(message: str, remedy: str, reason: str) -> EnrolmentRefusedError:
    return EnrolmentRefusedError(message, remedy=remedy, reason=reason)
