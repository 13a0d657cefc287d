"""The one document that says where a site belongs; :mod:`site_client.home_paths` says where it lies."""

from __future__ import annotations

from federation.documents import Document
from federation.governance.enrolment import GateAddress
from federation.identifiers import SiteId
from federation.protocol.ledger_head import Hexadecimal


class SiteHome(Document):
    """Content of ``site.json``: what an admission taught the site. Written by ``cohortium site enrol --admission``."""

    consortium: SiteId
    site: SiteId
    gate: GateAddress
    """Where the gateway connects to: ``host:port``."""
    coordinator_key: Hexadecimal
    """Public Ed25519 key that signs the coordinator's requests."""
    authority_fingerprint: Hexadecimal
