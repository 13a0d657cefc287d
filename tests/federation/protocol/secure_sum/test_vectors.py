"""Published vectors of every primitive, and a golden round that a slow second implementation repeats."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from federation.protocol.secure_sum import key_agreement, shamir
from federation.protocol.secure_sum.masking import BLOCK_BYTES, MaskStream
from tests.oracles import slow_secure_sum as slow
from tests.vectors.generate_secure_sum import VECTORS, vectors

RAW = bytes.fromhex
GOLDEN = json.loads(VECTORS.read_text())
LENGTHS = (5, 2)
MEMBERS = [member["site"] for member in GOLDEN["terms"]["members"]]


def test_rfc_7748_section_6_1_x25519() -> None:
    alice = RAW("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = RAW("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    of_alice = RAW("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    of_bob = RAW("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    shared = RAW("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert key_agreement.public_key(alice) == of_alice
    assert key_agreement.public_key(bob) == of_bob
    expected = slow.expand(slow.extract(b"salt", shared), b"info", 32)
    assert key_agreement.agreed_secret(alice, of_bob, salt=b"salt", info=b"info") == expected
    assert key_agreement.agreed_secret(bob, of_alice, salt=b"salt", info=b"info") == expected


def test_rfc_5869_test_case_1_hkdf() -> None:
    salt, info, material = bytes(range(13)), bytes(range(0xF0, 0xFA)), b"\x0b" * 22
    extracted = RAW("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    output = RAW("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    assert slow.extract(salt, material) == extracted
    assert slow.expand(extracted, info, 42) == output
    assert key_agreement.expand(extracted, info=info) == output[:32]


def test_rfc_8439_section_2_4_2_chacha20_of_the_sealing_suite() -> None:
    """Masks are AES-256-CTR; ChaCha20 is in the sealed parcels only. The counter is the first word, little end first."""
    text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    nonce = (1).to_bytes(4, "little") + RAW("000000000000004a00000000")
    enciphered = Cipher(ChaCha20(bytes(range(32)), nonce), None).encryptor().update(text)
    assert enciphered == RAW(
        "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357"
        "1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af9"
        "0bbf74a35be6b40b8eedf2785e42874d"
    )


@pytest.mark.parametrize(
    ("key", "block"),
    [
        (bytes(32), "cea7403d4d606b6e074ec5d3baf39d18"),  # McGrew & Viega, GCM specification, test case 14
        (bytes(range(32)), None),
        (b"\xff" * 32, None),
    ],
)
def test_masks_are_the_aes_256_counter_mode_from_two(key: bytes, block: str | None) -> None:
    stream, written = MaskStream(key), bytearray(2 * BLOCK_BYTES)
    stream.write(memoryview(written)[:BLOCK_BYTES])
    stream.write(memoryview(written)[BLOCK_BYTES:])
    assert bytes(written) == slow.keystream(key, 2 * BLOCK_BYTES)
    assert block is None or written[:16] == RAW(block)


def test_rfc_9180_a_2_1_hpke_base_mode() -> None:
    """The vector's ciphertext has associated data and ours none: its key and nonce seal the text again without."""
    private = RAW("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
    encapsulated = RAW("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
    info = RAW("4f6465206f6e2061204772656369616e2055726e")
    text = b"Beauty is truth, truth beauty"
    key, nonce = slow.hpke_base(private, encapsulated, info)
    assert key == RAW("ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91")
    assert nonce == RAW("5c4d98150661b848853b547f")
    published = RAW("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28")
    assert ChaCha20Poly1305(key).decrypt(nonce, published, b"Count-0") == text
    sealed = encapsulated + ChaCha20Poly1305(key).encrypt(nonce, text, b"")
    assert key_agreement.open_sealed(sealed, private=private, info=info) == text
    assert key_agreement.open_sealed(sealed, private=private, info=info + b"x") is None
    assert key_agreement.open_sealed(encapsulated + published, private=private, info=info) is None


@pytest.mark.parametrize(("threshold", "sites"), [(1, 1), (2, 3), (3, 5), (7, 9), (15, 20)])
def test_shamir_is_the_polynomial_and_its_solution(threshold: int, sites: int) -> None:
    generator = np.random.default_rng(threshold)
    drawn = [generator.bytes(32) for _ in range(threshold - 1)]
    secret, points = generator.bytes(32), list(range(1, sites + 1))
    feed = iter(drawn)
    shares = shamir.split(secret, threshold=threshold, points=points, random_bytes=lambda size: next(feed))
    numbers = [int.from_bytes(content, "big") for content in (*drawn, secret)]
    for point, share in shares.items():  # drawn from the highest power down to the secret
        assert int.from_bytes(share, "big") == slow.polynomial(numbers[::-1], point)
    chosen = sorted(generator.choice(points, threshold, replace=False).tolist())
    some = {point: shares[point] for point in chosen}
    assert slow.at_zero(some) == secret
    assert shamir.Recombination(chosen).secret(some) == secret
    if threshold > 1:
        fewer = dict(list(some.items())[1:])
        assert shamir.Recombination(list(fewer)).secret(fewer) == slow.at_zero(fewer) != secret


def test_the_golden_round_is_what_the_protocol_says_today() -> None:
    assert vectors() == GOLDEN


def _contexts() -> tuple[bytes, bytes]:
    batch = slow.batch_context(GOLDEN["terms"], GOLDEN["batch"])
    return batch, slow.round_context(batch, RAW(GOLDEN["key_list"]), range(4), GOLDEN["batch"]["first_round"])


def _mask(secret: bytes, low: int, high: int) -> tuple[list[int], list[int]]:
    key = slow.mask_key(secret, _contexts()[1], RAW(GOLDEN["model_hash"]), LENGTHS, (low, high))
    return slow.words(slow.keystream(key, 8 * 4 + 4 * 9), LENGTHS)


def _pair(index: int, other: int) -> tuple[list[int], list[int]]:
    private = RAW(GOLDEN["mask_keys"][MEMBERS[index]])
    public = slow.public_key(RAW(GOLDEN["mask_keys"][MEMBERS[other]]))
    return _mask(slow.pair_secret(private, public, _contexts()[0], (index, other)), index, other)


@pytest.mark.parametrize("index", range(4))
def test_the_slow_implementation_makes_the_same_contributions(index: int) -> None:
    site = MEMBERS[index]
    total = ([*GOLDEN["statistics"][site], 1, 1], [*GOLDEN["values"][site], 1, 1, 1, 1])
    total = slow.add(total, _mask(RAW(GOLDEN["seeds"][site]), index, index))
    for other in range(4):
        if other != index:
            total = slow.add(total, _pair(index, other), sign=1 if index < other else -1)
    assert total == slow.words(RAW(GOLDEN["contributions"][site]), LENGTHS)


def _secret(place: int) -> bytes:
    """Of the dealer at this place, from the shares in the answers, 48 bytes a dealer behind head and digest."""
    shares = {}
    for site, answer in GOLDEN["answers"].items():
        start = 39 + 32 + 48 * place
        shares[MEMBERS.index(site) + 1] = RAW(answer)[start : start + 32]
    return slow.at_zero(shares)


def test_the_slow_implementation_opens_the_sum_from_the_answers_alone() -> None:
    survivors = [MEMBERS.index(site) for site in GOLDEN["answers"]]
    (lost,) = set(range(4)) - set(survivors)
    assert _secret(lost).hex() == GOLDEN["mask_keys"][MEMBERS[lost]]
    total = ([0] * 4, [0] * 9)
    for index in survivors:
        assert _secret(index).hex() == GOLDEN["seeds"][MEMBERS[index]]
        total = slow.add(total, slow.words(RAW(GOLDEN["contributions"][MEMBERS[index]]), LENGTHS))
        total = slow.add(total, _mask(_secret(index), index, index), sign=-1)
        public = slow.public_key(RAW(GOLDEN["mask_keys"][MEMBERS[index]]))
        shared = slow.pair_secret(_secret(lost), public, _contexts()[0], (index, lost))
        total = slow.add(total, _mask(shared, index, lost), sign=-1 if index < lost else 1)
    assert total == ([*GOLDEN["statistics_sum"], 3, 3], [*GOLDEN["updates_sum"], 3, 3, 3, 3])
    for ring, bits in (("updates", 32), ("statistics", 64)):
        named = "values" if ring == "updates" else ring
        plain = [sum(column) % 2**bits for column in zip(*(GOLDEN[named][MEMBERS[i]] for i in survivors), strict=True)]
        assert GOLDEN[f"{ring}_sum"] == plain


def test_a_changed_model_hash_would_change_every_mask() -> None:
    context = _contexts()[1]
    keys = {slow.mask_key(bytes(32), context, model, LENGTHS, (0, 1)) for model in (b"m" * 32, b"n" * 32)}
    assert len(keys) == 2
