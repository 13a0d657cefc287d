"""The letter that goes with an invitation: what a person at the site reads. Holds no secret."""

from __future__ import annotations

from federation.governance.enrolment import Invitation
from federation.governance.fingerprints import spoken


def letter_of(invitation: Invitation, *, file: str) -> str:
    """The text of the letter.

    Args:
        invitation: What it goes with.
        file: Name of the invitation's file.
    """
    return f"""Invitation to the consortium {invitation.consortium}

For:          site {invitation.site}
Valid until:  {invitation.expires.isoformat(sep=" ", timespec="minutes")}
Gate:         {invitation.gate} (outbound TLS from the gateway; no inbound port is needed)

The file {file} holds a one-time token. Whoever has it can enrol in your place: keep it on the machine that enrols, and
do not forward it.

1. Put {file} on the site's machine and run

     cohortium site enrol --invitation {file} --output {invitation.site}.request.json

   It makes all keys of your site. They never leave it.

2. Telephone the consortium, at a number that you know from elsewhere, not from this letter or its e-mail.
   Compare the authority's fingerprint, which the command also shows:

     {spoken(invitation.authority_fingerprint)}

   Read out the fingerprint of your request, which the command shows too.

3. Send {invitation.site}.request.json to the consortium; it holds no secret. When the admission comes back, run

     cohortium site enrol --admission {invitation.site}.admission.json
"""
