"""What was issued works in TLS 1.3 as OpenSSL does it: members get in, nobody else, and only the gate is the gate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest

from aggregator.authority.certificates import read_client
from aggregator.host.enrolment import install_admission
from site_client.home_paths import SiteLayout
from tests.small_consortium import SmallConsortium, real_time


@pytest.fixture
def consortium(tmp_path: Path) -> SmallConsortium:
    made = SmallConsortium(tmp_path, now=real_time())
    _install(made)
    made.enrol("st_mary")
    return made


def _install(consortium: SmallConsortium) -> None:
    assert consortium.gate_admission is not None
    heard = consortium.office.authority.fingerprint
    install_admission(consortium.host, consortium.gate_admission, heard=heard, now=consortium.now)


def _handshake(
    consortium: SmallConsortium,
    layout: SiteLayout | None,
    *,
    trusts: Path | None = None,
    name: str = "gate.example.org",
) -> str | None:
    """The site whose certificate the gate saw, or ``None`` if either side refused."""
    gate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    gate.minimum_version = ssl.TLSVersion.TLSv1_3
    gate.load_cert_chain(consortium.host.tls_certificate, consortium.host.tls_key)
    gate.load_verify_locations(consortium.host.authority_certificate)
    gate.verify_mode = ssl.CERT_REQUIRED
    gate.verify_flags |= ssl.VERIFY_X509_STRICT
    client = ssl.create_default_context(cafile=trusts or consortium.host.authority_certificate)
    if layout is not None:
        client.load_cert_chain(layout.tls_certificate, layout.tls_key)
    here, there = socket.socketpair()
    seen: list[bytes] = []

    def serve() -> None:
        with there, contextlib.suppress(OSError), gate.wrap_socket(there, server_side=True) as tls:
            seen.append(tls.getpeercert(binary_form=True) or b"")
            tls.sendall(b"welcome")

    thread = threading.Thread(target=serve)
    thread.start()
    welcome = b""
    with here, contextlib.suppress(OSError), client.wrap_socket(here, server_hostname=name) as tls:
        welcome = tls.recv(7)  # in TLS 1.3 a client learns only now that it was refused
    here.close()
    thread.join()
    return read_client(seen[0]).site if welcome == b"welcome" else None


def test_a_member_gets_in_and_is_recognised(consortium: SmallConsortium) -> None:
    assert _handshake(consortium, consortium.site("st_mary")) == "st_mary"


def test_nobody_else_gets_in(consortium: SmallConsortium, tmp_path: Path) -> None:
    foreign = SmallConsortium(tmp_path / "foreign", now=consortium.now)
    foreign.enrol("st_mary")
    assert _handshake(consortium, None) is None
    # A site of another authority of the same name, which would trust this gate.
    assert _handshake(consortium, foreign.site("st_mary")) is None


def test_a_site_connects_to_the_gate_only(consortium: SmallConsortium, tmp_path: Path) -> None:
    site = consortium.site("st_mary")
    assert _handshake(consortium, site, name="evil.example.org") is None
    foreign = SmallConsortium(tmp_path / "foreign", now=consortium.now)
    _install(foreign)
    assert _handshake(consortium, site, trusts=foreign.host.authority_certificate) is None


def test_a_sites_certificate_makes_no_gate(consortium: SmallConsortium) -> None:
    site = consortium.site("st_mary")
    consortium.host.tls_certificate.write_bytes(site.tls_certificate.read_bytes())
    consortium.host.tls_key.write_bytes(site.tls_key.read_bytes())
    assert _handshake(consortium, site) is None
