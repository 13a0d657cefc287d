"""A consortium for tests: its authority, two members with keys and certificates, and a host's home folder with everything in it."""

from __future__ import annotations

import base64
import datetime as dt
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aggregator.authority.certificates import Issued, issue_for_gate, issue_for_site, new_authority
from aggregator.host.home import AggregatorHome, GateLimits
from aggregator.host.home_paths import HostLayout
from aggregator.host.preparing import prepare_home
from federation.durable_files import write_durably
from federation.governance.enrolment import (
    Authority,
    Member,
    Members,
    Revocations,
    RevokedCertificate,
    SignedMembers,
    SignedRevocations,
)
from federation.governance.member_lists import MEMBERS, REVOCATIONS
from federation.governance.signed import sign_document
from federation.protocol.signatures import SigningKey

CONSORTIUM = "hearts"
NOW = dt.datetime.now(tz=dt.UTC)


@dataclass
class Site:
    """One site's keys as files."""

    name: str
    folder: Path
    issued: Issued
    tls_key: ec.EllipticCurvePrivateKey
    node: ec.EllipticCurvePrivateKey
    identity: SigningKey

    @property
    def node_pem(self) -> str:
        return self.node.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()  # fmt: skip

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    def node_headers(self, *, timestamp: str | None = None) -> dict[str, str]:
        """What Flower's client adds to a request of this site's node."""
        stamp = timestamp or dt.datetime.now(tz=dt.UTC).isoformat()
        signature = self.node.sign(stamp.encode(), ec.ECDSA(hashes.SHA256()))
        return {
            "flwr-public-key": base64.b64encode(self.node_pem.encode()).decode(),
            "flwr-timestamp": stamp,
            "flwr-signature": base64.b64encode(signature).decode(),
        }

    def member(self) -> Member:
        return Member(
            site=self.name,
            identity_key=self.identity.public_key,
            node_key=self.node_pem,
            certificate_serial=self.issued.serial,
            certificate_fingerprint=self.issued.fingerprint,
            expires=self.issued.expires,
        )


@dataclass
class Consortium:
    """The authority, with what it has issued."""

    folder: Path
    name: str = CONSORTIUM
    members: dict[str, Site] = field(default_factory=dict)
    revoked: list[RevokedCertificate] = field(default_factory=list)
    number: int = 1

    def __post_init__(self) -> None:
        self.ca_key, self.ca = new_authority(self.name, now=NOW)
        self.list_key = SigningKey.generate()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca_file.write_text(self.ca)

    @property
    def ca_file(self) -> Path:
        return self.folder / "authority.crt"

    @property
    def authority(self) -> Authority:
        return Authority(
            consortium=self.name, certificate=self.ca, public_key=self.list_key.public_key, sealing_key="11" * 32
        )

    def issue(self, site: str, *, now: dt.datetime = NOW, consortium: str | None = None, member: bool = False) -> Site:
        """Keys and a certificate; ``member``: also on the list of members."""
        key = ec.generate_private_key(ec.SECP256R1())
        issued = issue_for_site(
            request(key), consortium=consortium or self.name, site=site, authority=self.ca, key=self.ca_key, now=now
        )
        found = Site(
            name=site,
            folder=self.folder / f"{site}-{issued.serial[:8]}",
            issued=issued,
            tls_key=key,
            node=ec.generate_private_key(ec.SECP384R1()),
            identity=SigningKey.generate(),
        )
        found.folder.mkdir()
        found.certificate.write_text(issued.pem)
        found.key.write_bytes(pem_of(key))
        if member:
            self.members[site] = found
        return found

    def revoke(self, site: Site) -> None:
        self.revoked.append(RevokedCertificate(site=site.name, serial=site.issued.serial, since=NOW))

    def install(self, layout: HostLayout, *, number: int | None = None) -> None:
        """Write the lists as they are now, with the next number."""
        self.number = self.number + 1 if number is None else number
        members = Members(
            consortium=self.name, number=self.number, members=tuple(site.member() for site in self.members.values())
        )
        revocations = Revocations(consortium=self.name, number=self.number, entries=tuple(self.revoked))
        signed_members = SignedMembers(
            members=members, signature=sign_document(members, self.list_key, purpose=MEMBERS)
        )
        signed_revocations = SignedRevocations(
            revocations=revocations, signature=sign_document(revocations, self.list_key, purpose=REVOCATIONS)
        )
        write_durably(layout.members, signed_members.model_dump_json().encode())
        write_durably(layout.revocations, signed_revocations.model_dump_json().encode())

    def host(
        self, folder: Path, *, limits: GateLimits | None = None, **changes: object
    ) -> tuple[HostLayout, AggregatorHome]:
        """A host's home folder that this authority has admitted, with free ports."""
        layout = HostLayout(folder)
        ports = free_ports(5)
        home = AggregatorHome(
            consortium=self.name,
            gate=f"localhost:{ports[0]}",
            listen=f"127.0.0.1:{ports[0]}",
            superlink_port=ports[1],
            mlflow_port=ports[2],
            health_port=ports[3],
            gate_health_port=ports[4],
            limits=limits or GateLimits(),
        ).model_copy(update=changes)
        prepare_home(layout, home)
        key = ec.generate_private_key(ec.SECP256R1())
        issued = issue_for_gate(
            request(key), names=["localhost", "127.0.0.1"], authority=self.ca, key=self.ca_key, now=NOW
        )
        layout.tls_certificate.write_text(issued.pem)
        layout.tls_key.write_bytes(pem_of(key))
        layout.authority_certificate.write_text(self.ca)
        layout.authority.write_text(self.authority.model_dump_json())
        self.install(layout)
        return layout, home


def request(key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate request."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ignored")])
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as text."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def client_context(ca: Path, site: Site | None) -> ssl.SSLContext:
    """What a site's client trusts and shows; ``site=None``: no certificate."""
    context = ssl.create_default_context(cafile=str(ca))
    if site is not None:
        context.load_cert_chain(site.certificate, site.key)
    return context


def free_ports(number: int) -> list[int]:
    """Ports on loopback that nobody uses now."""
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found


def client_certificate_of_a_server(consortium: Consortium) -> Site:
    """A certificate of the right authority that is for servers."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issue_for_gate(request(key), names=["localhost"], authority=consortium.ca, key=consortium.ca_key, now=NOW)
    site = Site(
        "north",
        consortium.folder / "server",
        issued,
        key,
        ec.generate_private_key(ec.SECP384R1()),
        SigningKey.generate(),
    )
    site.folder.mkdir()
    site.certificate.write_text(issued.pem)
    site.key.write_bytes(pem_of(key))
    return site
