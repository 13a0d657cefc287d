"""Certificates: names are the caller's, keys P-256, and nothing passes that another authority or kind of certificate signed."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from aggregator.authority import certificates
from aggregator.authority.key_proofs import check_node_proof, check_tls_proof, request_key
from federation.errors import EnrolmentRefusedError, InvalidInputError

NOW = dt.datetime(2031, 5, 1, tzinfo=dt.UTC)
KEY, AUTHORITY = certificates.new_authority("cardio", now=NOW)
LEAF = ec.generate_private_key(ec.SECP256R1())


def _csr(key: object, *, name: str = "site st_mary", san: str | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if san:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(san)]), critical=False
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=3), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()  # pyright: ignore[reportArgumentType] - wrong ones too


def _issue(request: str, *, site: str = "st_mary") -> certificates.Issued:
    return certificates.issue_for_site(request, consortium="cardio", site=site, authority=AUTHORITY, key=KEY, now=NOW)


def test_names_and_rights_in_the_request_are_ignored() -> None:
    request = _csr(LEAF, name="university", san="cohortium://cardio/site/university")
    issued = _issue(request)
    leaf = x509.load_pem_x509_certificate(issued.pem.encode())
    assert certificates.verify_client(issued.pem.encode(), authority=AUTHORITY, now=NOW).site == "st_mary"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("cohortium://cardio/site/st_mary")]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert b"university" not in leaf.public_bytes(Encoding.DER)
    assert issued.expires - NOW == dt.timedelta(days=90)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP192R1()),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "p192", "p224", "p384", "k1", "ed25519"],
)
def test_only_p256_is_certified(key: object) -> None:
    with pytest.raises(EnrolmentRefusedError):
        _issue(_csr(key))


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    der = bytearray(x509.load_pem_x509_csr(_csr(LEAF).encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    for text in (forged, "", "ward 3", AUTHORITY):
        with pytest.raises(EnrolmentRefusedError):
            request_key(text)


def test_certificates_of_others_are_refused() -> None:
    other_key, other = certificates.new_authority("cardio", now=NOW)
    issued = _issue(_csr(LEAF)).pem.encode()
    gate = certificates.issue_for_gate(_csr(LEAF), names=["gate.example.org"], authority=AUTHORITY, key=KEY, now=NOW)
    forged = certificates.issue_for_site(
        _csr(LEAF), consortium="cardio", site="st_mary", authority=other, key=other_key, now=NOW
    )
    certificates.verify_client(issued, authority=AUTHORITY, now=NOW)
    for content, authority, now in (
        (issued, other, NOW),  # another authority
        (forged.pem.encode(), AUTHORITY, NOW),
        (gate.pem.encode(), AUTHORITY, NOW),  # a server's
        (AUTHORITY.encode(), AUTHORITY, NOW),  # the authority itself
        (issued, AUTHORITY, NOW + dt.timedelta(days=90, seconds=1)),
        (issued, AUTHORITY, NOW - dt.timedelta(hours=2)),
        (b"ward 3", AUTHORITY, NOW),
    ):
        with pytest.raises(EnrolmentRefusedError):
            certificates.verify_client(content, authority=authority, now=now)


def test_every_changed_byte_of_a_certificate_is_noticed_or_says_nothing() -> None:
    original = x509.load_pem_x509_certificate(_issue(_csr(LEAF)).pem.encode())
    der, passed = original.public_bytes(Encoding.DER), 0
    for place in range(len(der)):
        changed = bytearray(der)
        changed[place] ^= 1
        try:
            certificates.verify_client(bytes(changed), authority=AUTHORITY, now=NOW)
        except EnrolmentRefusedError:
            continue
        # The number of unused bits of the signature: part neither of what is signed nor of the signature.
        read, passed = x509.load_der_x509_certificate(bytes(changed)), passed + 1
        assert (read.tbs_certificate_bytes, read.signature) == (original.tbs_certificate_bytes, original.signature)
    assert passed <= 1


def test_the_gates_certificate_names_what_the_officer_said() -> None:
    names = ["gate.example.org", "10.0.0.7", "::1"]
    issued = certificates.issue_for_gate(_csr(LEAF, name="evil"), names=names, authority=AUTHORITY, key=KEY, now=NOW)
    certificates.verify_server(issued.pem, names=names, authority=AUTHORITY, now=NOW)
    for wrong in ("evil", "other.example.org", "10.0.0.8"):
        with pytest.raises(EnrolmentRefusedError):
            certificates.verify_server(issued.pem, names=[wrong], authority=AUTHORITY, now=NOW)
    with pytest.raises(EnrolmentRefusedError):  # a site's certificate is no server's
        certificates.verify_server(_issue(_csr(LEAF)).pem, names=names, authority=AUTHORITY, now=NOW)
    for bad in ("*.example.org", "gate example", "-gate", "gäte.example.org"):
        with pytest.raises(InvalidInputError):
            certificates.issue_for_gate(_csr(LEAF), names=[bad], authority=AUTHORITY, key=KEY, now=NOW)


def test_proofs_of_ec_keys() -> None:
    request, signature = _csr(LEAF), LEAF.sign(b"claim", ec.ECDSA(SHA256())).hex()
    assert check_tls_proof(request, b"claim", signature)
    assert not check_tls_proof(request, b"claims", signature)
    assert not check_tls_proof(request, b"claim", "00" * 70)
    assert not check_tls_proof(request, b"claim", "0")
    assert not check_tls_proof(_csr(ec.generate_private_key(ec.SECP256R1())), b"claim", signature)


@pytest.mark.parametrize("kind", ["p256", "rsa", "spelling", "text"])
def test_node_keys_are_p384_in_flowers_own_spelling(kind: str) -> None:
    node = ec.generate_private_key(ec.SECP384R1())
    pem = _public(node)
    keys = {
        "p256": _public(LEAF),
        "rsa": _public(rsa.generate_private_key(65537, 2048)),
        "spelling": pem.replace("\n", "\r\n"),
        "text": "ward 3",
    }
    with pytest.raises(EnrolmentRefusedError):
        check_node_proof(keys[kind], b"claim", "00" * 70)
    assert not check_node_proof(pem, b"claim", "00" * 70)


def _public(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
