"""The secure sum a second time, slowly: Python's integers, ``hmac`` and single cipher calls. Imports nothing of the protocol."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

PRIME = 2**256 - 189


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(data: object) -> bytes:
    """RFC 8785 for data of ASCII text and small whole numbers."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def extract(salt: bytes, material: bytes) -> bytes:
    """RFC 5869, section 2.2."""
    return hmac.new(salt, material, hashlib.sha256).digest()


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2.3."""
    block, output = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.new(key, block + info + bytes([number]), hashlib.sha256).digest()
        output += block
    return output[:length]


def exchange(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def public_key(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def keystream(key: bytes, length: int) -> bytes:
    """SP 800-38A, section 6.5, from the counter 2 (SP 800-38D with a zero nonce): each block enciphered by itself."""
    encryptor = Cipher(AES256(key), ECB()).encryptor()
    blocks = [encryptor.update(counter.to_bytes(16, "big")) for counter in range(2, 2 - (-length // 16))]
    return b"".join(blocks)[:length]


def polynomial(coefficients: Sequence[int], point: int) -> int:
    """Its value, the constant coefficient first: powers written out."""
    return sum(coefficient * point**power for power, coefficient in enumerate(coefficients)) % PRIME


def at_zero(shares: Mapping[int, bytes]) -> bytes:
    """The constant coefficient by Gaussian elimination of the Vandermonde system, not by Lagrange's formula."""
    rows = [
        [pow(point, power, PRIME) for power in range(len(shares))] + [int.from_bytes(share, "big")]
        for point, share in shares.items()
    ]
    size = len(rows)
    for place in range(size):
        pivot = next(row for row in range(place, size) if rows[row][place])
        rows[place], rows[pivot] = rows[pivot], rows[place]
        inverse = pow(rows[place][place], PRIME - 2, PRIME)
        rows[place] = [value * inverse % PRIME for value in rows[place]]
        for row in range(size):
            if row != place:
                factor = rows[row][place]
                rows[row] = [(a - factor * b) % PRIME for a, b in zip(rows[row], rows[place], strict=True)]
    return rows[0][-1].to_bytes(32, "big")


def hpke_base(private: bytes, encapsulated: bytes, info: bytes) -> tuple[bytes, bytes]:
    """RFC 9180, sections 4.1 and 5.1: key and base nonce of the suite X25519, HKDF-SHA256, ChaCha20-Poly1305."""
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"

    def labelled_extract(of: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + of + label + material)

    def labelled_expand(of: bytes, key: bytes, label: bytes, content: bytes, length: int) -> bytes:
        return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + of + label + content, length)

    pair = exchange(private, encapsulated)
    shared = labelled_expand(
        kem, labelled_extract(kem, b"", b"eae_prk", pair), b"shared_secret", encapsulated + public_key(private), 32
    )
    context = b"\0" + labelled_extract(suite, b"", b"psk_id_hash", b"")
    context += labelled_extract(suite, b"", b"info_hash", info)
    secret = labelled_extract(suite, shared, b"secret", b"")
    key = labelled_expand(suite, secret, b"key", context, 32)
    return key, labelled_expand(suite, secret, b"base_nonce", context, 12)


def tagged(label: bytes, *fields: bytes) -> bytes:
    return sha256(b"cohortium/secure-sum/", label, b"/1\0", *fields)


def two(value: int) -> bytes:
    return value.to_bytes(2, "big")


def batch_context(terms: dict[str, object], batch: dict[str, object]) -> bytes:
    digest = "sha256:" + sha256(canonical(terms)).hex()
    return sha256(b"cohortium/secure-sum/batch/1\0", digest.encode(), b"\0", canonical(batch))


def round_context(batch: bytes, key_list: bytes, holders: Sequence[int], round_number: int) -> bytes:
    agreement = tagged(b"agreement", batch, sha256(key_list))
    listed = sha256(*(two(site) for site in holders))
    return tagged(b"round", agreement, listed, round_number.to_bytes(4, "big"))


def mask_key(secret: bytes, context: bytes, model: bytes, lengths: tuple[int, int], pair: tuple[int, int]) -> bytes:
    layout = b"".join(length.to_bytes(4, "big") for length in lengths)
    low, high = sorted(pair)
    return expand(secret, tagged(b"mask", context, model, layout, two(low), two(high)), 32)


def pair_secret(private: bytes, public: bytes, batch: bytes, pair: tuple[int, int], position: int = 0) -> bytes:
    low, high = sorted(pair)
    info = tagged(b"pair", batch, two(position), two(low), two(high))
    return expand(extract(batch, exchange(private, public)), info, 32)


def words(content: bytes, lengths: tuple[int, int]) -> tuple[list[int], list[int]]:
    """The 64-bit and the 32-bit words, check words included."""
    updates, statistics = lengths
    wide = 8 * (statistics + 2) if statistics else 0
    end = wide + (4 * (updates + 4) if updates else 0)
    return (
        [int.from_bytes(content[at : at + 8], "little") for at in range(0, wide, 8)],
        [int.from_bytes(content[at : at + 4], "little") for at in range(wide, end, 4)],
    )


def add(one: tuple[list[int], list[int]], other: tuple[list[int], list[int]], sign: int = 1):
    return tuple(
        [(a + sign * b) % 2**bits for a, b in zip(left, right, strict=True)]
        for left, right, bits in zip(one, other, (64, 32), strict=True)
    )
