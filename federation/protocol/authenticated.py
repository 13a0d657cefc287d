"""Requests that only the coordinator can have written, and replies that only the asked site can have.

Flower and the gateways carry bytes that they could change, copy or replay. So each message is framed and signed: a request by the
coordinator's key, a reply by the site's identity key. The signature covers study, site, direction, the heads of the audit logs,
the SHA-256 of the payload, and in a reply the SHA-256 of the whole request that it answers. A message that was made for another
study, site, direction or request is therefore worth nothing, and nobody but the two ends can make one.

::

    tag, 28 bytes | length of the header, 4 bytes, little-endian | header, canonical JSON | signature, 64 bytes | payload

What is inside the payload is :mod:`federation.protocol.messages`' business. A repeated request is answered with the same payload;
what surrounds it may differ, because audit logs grow.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, NoReturn

from pydantic import Field

from federation.documents import Document
from federation.errors import SignatureRefusedError, TransportError
from federation.identifiers import SiteId
from federation.protocol.audit_head import HeadsShown
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.messages import MAXIMUM_BYTES
from federation.protocol.signatures import SigningKey, verify

TAG: Final = b"cohortium/authenticated/1\0\0\0"
MOST_HEADER_BYTES: Final = 2**20
MOST_MESSAGE_BYTES: Final = MAXIMUM_BYTES
_LENGTH_BYTES: Final = 4
_SIGNATURE_BYTES: Final = 64
_FRAME_BYTES: Final = len(TAG) + _LENGTH_BYTES

Direction = Literal["request", "reply"]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Header(Document):
    """What is signed."""

    direction: Direction
    study: Digest
    site: SiteId
    answers: Hexadecimal | None = None
    payload_sha256: Hexadecimal
    heads: HeadsShown | None = None


@dataclass(frozen=True)
class Claim:
    """What a message says of itself. Nothing of it is verified: it says which key to verify with, and no more."""

    direction: Direction
    study: str
    site: str


@dataclass(frozen=True)
class Opened:
    """A message whose signature holds.

    Args:
        study: Digest of the study's manifest.
        site: Whom it is for (a request) or of (a reply).
        payload: Bytes of an envelope.
        heads: Heads of audit logs that came with it; whether they are right is :mod:`federation.governance.audit_exchange`'s.
        sha256: Of the whole message, hexadecimal.
    """

    study: str
    site: str
    payload: bytes = field(repr=False)
    heads: HeadsShown | None
    sha256: str


def sign_request(payload: bytes, *, key: SigningKey, study: str, site: str, heads: HeadsShown | None = None) -> bytes:
    """A request to one site about one study.

    Args:
        payload: Bytes of an envelope.
        key: The coordinator's.
        study: Digest of the study's manifest, ``sha256:`` and 64 hexadecimal digits.
        site: Who is asked.
        heads: Head of the coordinator's audit log, and the last head of the site's log, countersigned.

    Raises:
        TransportError: If the message would be too long.
    """
    header = _Header(
        direction="request", study=study, site=site, payload_sha256=_sha256(payload), heads=_nothing_less(heads)
    )
    return _framed(header, payload, key)


def sign_reply(
    payload: bytes, *, key: SigningKey, study: str, site: str, request: bytes, heads: HeadsShown | None = None
) -> bytes:
    """The answer to one request.

    Args:
        payload: Bytes of an envelope; the same for a repeated request.
        key: The site's identity.
        study: Digest of the study's manifest.
        site: Who answers.
        request: The whole signed request that is answered.
        heads: Head of the site's audit log, and the last head of the coordinator's log, countersigned.

    Raises:
        TransportError: If the message would be too long.
    """
    header = _Header(
        direction="reply",
        study=study,
        site=site,
        answers=_sha256(request),
        payload_sha256=_sha256(payload),
        heads=_nothing_less(heads),
    )
    return _framed(header, payload, key)


def open_request(content: bytes, *, public_key: str, study: str, site: str) -> Opened:
    """What a site's agent does first with what its gateway hands it.

    Args:
        content: What arrived.
        public_key: The coordinator's, from the approved proposal.
        study: Digest of the manifest that it must be for.
        site: This site.

    Raises:
        TransportError: If it is too long or no authenticated message.
        SignatureRefusedError: If it is for another study, site or direction, or the signature does not hold.
            ``facts["reason"]`` says which: ``direction``, ``study``, ``site``, ``payload``, ``signature``.
    """
    return _opened(content, direction="request", public_key=public_key, study=study, site=site, answers=None)


def open_reply(content: bytes, *, public_key: str, study: str, site: str, request: bytes) -> Opened:
    """What the coordinator does first with an answer.

    Args:
        content: What arrived.
        public_key: The site's, from the roster.
        study: Digest of the manifest.
        site: Who was asked.
        request: The whole signed request that was sent.

    Raises:
        TransportError: If it is too long or no authenticated message.
        SignatureRefusedError: As :func:`open_request`; ``facts["reason"]`` is ``request`` if it answers another one.
    """
    return _opened(content, direction="reply", public_key=public_key, study=study, site=site, answers=_sha256(request))


def claim_of(content: bytes) -> Claim:
    """What a message says of itself, unverified: for choosing the key, or for routing.

    Raises:
        TransportError: If it is too long or no authenticated message.
    """
    header, _, _ = _parsed(content)
    return Claim(direction=header.direction, study=header.study, site=header.site)


def unverified_payload(content: bytes) -> bytes:
    """The payload of a message that the caller made itself; nothing is verified.

    Raises:
        TransportError: If it is too long or no authenticated message.
    """
    return _parsed(content)[2]


def _framed(header: _Header, payload: bytes, key: SigningKey) -> bytes:
    signed = header.canonical_bytes()
    total = _FRAME_BYTES + len(signed) + _SIGNATURE_BYTES + len(payload)
    if len(signed) > MOST_HEADER_BYTES or total > MOST_MESSAGE_BYTES:
        raise TransportError(
            f"expected a message of at most {MOST_MESSAGE_BYTES} bytes with a header of at most {MOST_HEADER_BYTES}, "
            f"got {total} and {len(signed)}"
        )
    signature = bytes.fromhex(key.sign(signed, purpose=_purpose(header.direction)))
    return b"".join((TAG, len(signed).to_bytes(_LENGTH_BYTES, "little"), signed, signature, payload))


def _parsed(content: bytes) -> tuple[_Header, str, bytes]:
    """Header, signature and payload."""
    if len(content) > MOST_MESSAGE_BYTES:
        raise TransportError(f"expected a message of at most {MOST_MESSAGE_BYTES} bytes, got {len(content)}")
    length = int.from_bytes(content[len(TAG) : _FRAME_BYTES], "little")
    end = _FRAME_BYTES + length
    if not content.startswith(TAG) or length > MOST_HEADER_BYTES or len(content) < end + _SIGNATURE_BYTES:
        raise TransportError("expected an authenticated message, got bytes that are not framed as one")
    signed = content[_FRAME_BYTES:end]
    header = _header(signed)
    return header, content[end : end + _SIGNATURE_BYTES].hex(), content[end + _SIGNATURE_BYTES :]


def _header(signed: bytes) -> _Header:
    try:
        header = _Header.from_json(signed, error=TransportError)
    except (TransportError, RecursionError):
        header = None  # the parser's words would quote what came
    if header is None or header.canonical_bytes() != signed:
        raise TransportError("expected the header of an authenticated message in canonical form, got another")
    return header


def _opened(
    content: bytes, *, direction: Direction, public_key: str, study: str, site: str, answers: str | None
) -> Opened:
    header, signature, payload = _parsed(content)
    expected = {"direction": direction, "study": study, "site": site, "answers": answers}
    for name, value in expected.items():
        if getattr(header, name) != value:
            _refuse("request" if name == "answers" else name, f"a {direction} for {name} {value}")
    if not verify(header.canonical_bytes(), purpose=_purpose(direction), public_key=public_key, signature=signature):
        signer = "the coordinator" if direction == "request" else f"site {site}"
        _refuse("signature", f"a {direction} signed by {signer} (key {public_key[:16]}…)")
    if header.payload_sha256 != _sha256(payload):
        _refuse("payload", f"the payload that the {direction}'s signature covers")
    return Opened(study=study, site=site, payload=payload, heads=header.heads, sha256=_sha256(content))


def _refuse(reason: str, expected: str) -> NoReturn:
    raise SignatureRefusedError(
        f"expected {expected}, got another",
        remedy="a message was changed, replayed or made by somebody else on its way: tell the consortium lead",
        reason=reason,
    )


def _nothing_less(heads: HeadsShown | None) -> HeadsShown | None:
    """No heads at all and an empty pair of heads are the same statement."""
    return None if heads is None or heads == HeadsShown() else heads


def _purpose(direction: Direction) -> str:
    return f"authenticated-{direction}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
