"""How a site becomes and stays a member: it makes its keys, asks with an invitation, and installs what the authority answers.

Nothing private leaves the site's folder. Repeating a step gives the same keys and the same fingerprint. The authority is
pinned by its fingerprint from the invitation, which people compare by telephone.
"""

from __future__ import annotations

import datetime as dt

from conf.received_files import read_bounded
from federation.durable_files import sync_folder, write_durably
from federation.errors import EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import (
    EnrolmentRequest,
    Invitation,
    KeyProofs,
    RenewalRequest,
    SignedAdmission,
    SiteClaim,
)
from federation.governance.enrolment_checks import (
    IDENTITY_PURPOSE,
    check_admission,
    check_invitation,
    prove_token,
    seal_token,
    transcript,
)
from site_client import keystore
from site_client.home_paths import SiteLayout
from site_client.site_home import SiteHome


def request_enrolment(
    layout: SiteLayout, invitation: Invitation, *, now: dt.datetime, heard: str | None = None
) -> EnrolmentRequest:
    """Make the site's keys, if there are none, and the request that answers an invitation.

    Args:
        layout: The site's folder; made if absent.
        invitation: As it arrived. A copy is kept until the admission is installed.
        now: With time zone.
        heard: The authority's fingerprint as its officer reads it out, if the site has asked already.

    Raises:
        EnrolmentRefusedError: If the invitation has expired, contradicts itself, or is another authority's than the one
            this site belongs to.
        InvalidInputError: If a key file holds something else, or the folder is another site's.
    """
    check_invitation(invitation, now=now, spoken=heard)
    if layout.site_file.exists():
        _check_same_home(layout, invitation)
    keystore.prepare(layout)
    claim = _claim(
        layout,
        keystore.tls_key(layout.tls_key),
        consortium=invitation.consortium,
        site=invitation.site,
        authority_fingerprint=invitation.authority_fingerprint,
    )
    write_durably(layout.invitation, invitation.model_dump_json(indent=1).encode(), secret=True)
    return EnrolmentRequest(
        claim=claim,
        sealed_token=seal_token(claim, invitation.token, invitation.authority),
        token_proof=prove_token(claim, invitation.token),
        proofs=_proofs(layout, claim, keystore.tls_key(layout.tls_key)),
    )


def request_renewal(layout: SiteLayout) -> RenewalRequest:
    """Make the gateway's next key, if there is none, and ask for its certificate. Vouched for by the identity key.

    The certificate and key in use stay as they are until the admission is installed.

    Raises:
        InvalidInputError: If the site is not enrolled.
    """
    home = layout.read()
    for path in (layout.identity_key, layout.node_key, layout.tls_certificate):
        if not path.is_file():
            raise InvalidInputError(
                f"expected an enrolled site with {path}, got no such file",
                remedy="restore the site's folder; if the key is lost, tell the consortium and enrol anew",
            )
    tls = keystore.tls_key(layout.next_tls_key)
    certificate = read_bounded(layout.tls_certificate).decode(errors="replace")
    claim = _claim(
        layout,
        tls,
        consortium=home.consortium,
        site=home.site,
        authority_fingerprint=home.authority_fingerprint,
        replaces=keystore.certificate_serial(certificate),
    )
    return RenewalRequest(claim=claim, proofs=_proofs(layout, claim, tls))


def install_admission(layout: SiteLayout, signed: SignedAdmission, *, now: dt.datetime) -> SiteHome:
    """Check an admission to the last detail and install it. Safe to repeat, also after a crash in the middle.

    Args:
        layout: The site's folder.
        signed: As it arrived.
        now: With time zone.

    Raises:
        EnrolmentRefusedError: If it is by another authority, for another site or other keys, expired, or its
            certificate is not what it says.
        InvalidInputError: If the site never asked.
    """
    consortium, site, fingerprint = _expected(layout)
    for path in (layout.identity_key, layout.node_key, layout.tls_key):
        if not path.is_file():
            raise InvalidInputError(
                f"expected the site's key {path}, got no such file",
                remedy="run `cohortium site enrol --invitation` first, in the same folder",
            )
    admission = signed.admission
    for_tls = keystore.tls_key(layout.tls_key)
    claim = _claim(layout, for_tls, consortium=consortium, site=site, authority_fingerprint=fingerprint)
    check_admission(signed, claim, fingerprint=fingerprint, now=now)
    name = f"cohortium://{consortium}/site/{site}"
    key, expires = keystore.check_certificate(
        admission.certificate, authority=admission.authority.certificate, name=name, now=now
    )
    if expires != admission.expires:
        raise _refused("expected a certificate that expires when its admission says, it does not", "expires")
    pending = keystore.find_tls_key(layout.next_tls_key)
    is_renewal = pending is not None and key == pending.public_key
    if not is_renewal and key != for_tls.public_key:
        raise _refused("expected a certificate for this site's own TLS key, got one for another", "tls_key")
    home = SiteHome(
        consortium=consortium,
        site=site,
        gate=admission.gate,
        coordinator_key=admission.coordinator_key,
        authority_fingerprint=fingerprint,
    )
    write_durably(layout.authority_certificate, admission.authority.certificate.encode())
    write_durably(layout.tls_certificate, admission.certificate.encode())
    if is_renewal:  # between these two lines key and certificate do not fit: repeating the command heals it
        layout.next_tls_key.replace(layout.tls_key)
        sync_folder(layout.gateway)
    layout.write(home)
    layout.invitation.unlink(missing_ok=True)  # its token is used up
    return home


def _claim(
    layout: SiteLayout,
    tls: keystore.TlsKey,
    *,
    consortium: str,
    site: str,
    authority_fingerprint: str,
    replaces: str | None = None,
) -> SiteClaim:
    return SiteClaim(
        consortium=consortium,
        site=site,
        authority_fingerprint=authority_fingerprint,
        identity_key=keystore.identity_key(layout).public_key,
        tls_request=tls.request(site),
        node_key=keystore.node_key(layout).public_key,
        replaces=replaces,
    )


def _proofs(layout: SiteLayout, claim: SiteClaim, tls: keystore.TlsKey) -> KeyProofs:
    return KeyProofs(
        identity=keystore.identity_key(layout).sign(claim.canonical_bytes(), purpose=IDENTITY_PURPOSE),
        tls=tls.sign(transcript(claim, "tls")),
        node=keystore.node_key(layout).sign(transcript(claim, "node")),
    )


def _check_same_home(layout: SiteLayout, invitation: Invitation) -> None:
    home = layout.read()
    if (home.consortium, home.site) != (invitation.consortium, invitation.site):
        raise InvalidInputError(
            f"expected an invitation for site {home.site} of {home.consortium}, "
            f"got one for {invitation.site} of {invitation.consortium}",
            remedy="a folder is of one site of one consortium: name another with --home",
        )
    if home.authority_fingerprint != invitation.authority_fingerprint:
        raise _refused(
            "expected an invitation by the authority that this site belongs to, got one by another",
            "authority",
            remedy="telephone the consortium; only if its authority was made anew, move site.json away and repeat",
        )


def _expected(layout: SiteLayout) -> tuple[str, str, str]:
    """Consortium, site and authority's fingerprint that an admission must have."""
    if layout.invitation.exists():
        kept = Invitation.from_json(read_bounded(layout.invitation))
        return kept.consortium, kept.site, kept.authority_fingerprint
    if layout.site_file.exists():
        home = layout.read()
        return home.consortium, home.site, home.authority_fingerprint
    raise InvalidInputError(
        f"expected a site that asked to be enrolled in {layout.folder}, it did not",
        remedy="run `cohortium site enrol --invitation FILE` first, or name the site's folder with --home",
    )


def _refused(message: str, reason: str, *, remedy: str = "") -> EnrolmentRefusedError:
    return EnrolmentRefusedError(
        message,
        remedy=remedy or "do not install it; ask the consortium for the answer to this site's request",
        reason=reason,
    )
