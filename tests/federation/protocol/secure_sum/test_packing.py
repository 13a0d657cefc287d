"""Fewer bits a number: what travels is the lowest bits of what was masked, and their sum is the sum's."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError, SecureSumError, SecureSumRefusedError
from federation.protocol.secure_sum.contributing import Numbers, answer_unmask, mask_numbers, sign_survivors
from federation.protocol.secure_sum.folding import AwaitingInputs
from federation.protocol.secure_sum.layout import Layout, packed_bytes
from federation.protocol.secure_sum.messages import RECEIPT_BYTES
from federation.protocol.secure_sum.packing import pack, unpack
from federation.protocol.secure_sum.quantization import UpdateEncoding
from federation.protocol.secure_sum.round_phases import Masked
from federation.protocol.secure_sum.terms import KeyBatch
from tests.federation.protocol.secure_sum.consortium import MODEL, STREAMS, Consortium

BATCH = KeyBatch(purpose="train", first_round=1, rounds=1)
BITS = st.integers(1, 32)


def packed(words: np.ndarray, bits: int) -> bytes:
    room = bytearray(packed_bytes(len(words), bits))
    pack(words, bits, memoryview(room))
    return bytes(room)


def slowly(words: np.ndarray, bits: int) -> bytes:
    """The oracle: one number of any length, from the last word to the first."""
    whole = sum((int(word) % 2**bits) << (bits * place) for place, word in enumerate(words))
    return whole.to_bytes(packed_bytes(len(words), bits), "little")


@given(words=st.lists(st.integers(0, 2**32 - 1), max_size=60), bits=BITS)
def test_the_bytes_are_those_of_one_long_number(words: list[int], bits: int) -> None:
    vector = np.array(words, dtype="<u4")
    content = packed(vector, bits)
    assert content == slowly(vector, bits)
    assert np.array_equal(unpack(memoryview(content), bits, words=len(words)), vector & np.uint32(2**bits - 1))


@pytest.mark.parametrize("bits", [8, 11, 16, 20, 24, 31])
@pytest.mark.parametrize("size", [2**14 - 1, 2**14, 2**14 + 1, 2**15 + 9])
def test_blocks_join_without_a_gap(bits: int, size: int) -> None:
    vector = np.random.default_rng(size).integers(0, 2**32, size=size, dtype=np.uint32)
    content = packed(vector, bits)
    assert content == slowly(vector, bits)
    assert np.array_equal(unpack(memoryview(content), bits, words=size), vector & np.uint32(2**bits - 1))


@given(first=st.integers(0, 2**32 - 1), second=st.integers(0, 2**32 - 1), bits=BITS)
def test_cutting_commutes_with_adding(first: int, second: int, bits: int) -> None:
    one, two = np.array([first], dtype="<u4"), np.array([second], dtype="<u4")
    cut = unpack(memoryview(packed(one, bits)), bits, words=1) + unpack(memoryview(packed(two, bits)), bits, words=1)
    assert packed(cut, bits) == packed(one + two, bits)


@pytest.mark.parametrize(("bits", "size"), [(0, 4), (33, 4), (16, 9), (16, 7)])
def test_other_lengths_are_refused(bits: int, size: int) -> None:
    with pytest.raises(InvalidInputError, match="bits"):
        pack(np.zeros(4, dtype="<u4"), bits, memoryview(bytearray(size)))
    with pytest.raises(InvalidInputError, match="bits"):
        unpack(memoryview(bytes(size)), bits, words=4)


@given(updates=st.integers(0, 2**28 - 1), statistics=st.integers(0, 2**28 - 1), bits=st.integers(8, 32))
def test_a_layout_s_bytes_are_its_own(updates: int, statistics: int, bits: int) -> None:
    if updates + statistics == 0:
        return
    layout = Layout(updates=updates, statistics=statistics, update_bits=bits)
    assert Layout.from_bytes(layout.to_bytes()) == layout
    if bits == 32:
        assert layout.to_bytes() == updates.to_bytes(4, "big") + statistics.to_bytes(4, "big")


@pytest.mark.parametrize("lacking", [25, 31, 200, 255])
def test_a_layout_of_no_bits_is_refused(lacking: int) -> None:
    first, second = 1 | lacking // 16 << 28, lacking % 16 << 28
    with pytest.raises(InvalidInputError, match="bits a number"):
        Layout.from_bytes(first.to_bytes(4, "big") + second.to_bytes(4, "big"))


def test_check_words_make_up_128_bits_whatever_the_ring() -> None:
    for bits in range(8, 33):
        layout = Layout(updates=10, update_bits=bits)
        assert 128 <= (layout.words_32 - layout.updates) * bits < 128 + bits


@given(
    bits=st.integers(10, 32),
    units=st.lists(st.floats(-1, 1, width=64), min_size=1, max_size=20),
    weights=st.lists(st.integers(1, 1000), min_size=1, max_size=8),
)
def test_a_decoded_sum_is_within_the_stated_error(bits: int, units: list[float], weights: list[int]) -> None:
    encoding = UpdateEncoding(value_range=3.0, total_weight=sum(weights), sites=len(weights), bits=bits)
    values = np.array(units) * 3.0
    total = np.zeros(len(values), dtype="<u4")
    for seed, weight in enumerate(weights):
        block = np.empty(len(values), dtype="<u4")
        encoding.source(values, weight=weight, generator=np.random.default_rng(seed)).write(0, block)
        total += block
    decoded = encoding.decode(total & np.uint32(2**bits - 1))
    error = np.abs(decoded - values * sum(weights))
    assert error.max() <= encoding.error_bound(len(weights)) * (1 + 1e-9)


def test_rounding_to_few_bits_has_no_bias() -> None:
    encoding = UpdateEncoding(value_range=1.0, total_weight=3, sites=3, bits=12)
    values = np.full(30_000, 0.3 * encoding.step)
    block = np.empty(len(values), dtype="<u4")
    encoding.source(values, weight=1, generator=np.random.default_rng(1)).write(0, block)
    decoded = encoding.decode(block & np.uint32(2**12 - 1)) / encoding.step
    assert set(np.unique(decoded)) == {0.0, 1.0}
    deviation = np.sqrt(0.3 * 0.7 / len(values))
    assert abs(decoded.mean() - 0.3) < 5 * deviation
    assert abs(decoded.mean() - 0.32) > 5 * deviation  # the same test notices a bias of a fiftieth of a step


def test_too_few_bits_for_so_many_sites_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="send more bits"):
        UpdateEncoding(value_range=1.0, total_weight=100, sites=100, bits=8)


def contributions(
    bits: int, *, sent: dict[str, int] | None = None
) -> tuple[Consortium, dict[str, tuple[Masked, bytearray]], AwaitingInputs]:
    """Every site's phase and message, and a server that waits for ``bits`` of them."""
    consortium = Consortium.of(4)
    ready, held = consortium.agree(BATCH)
    values = {site: np.linspace(-1, 1, 50) * (place + 1) / 4 for place, site in enumerate(held)}
    messages = {}
    for site, keys in held.items():
        encoding = UpdateEncoding(value_range=1.0, total_weight=4, sites=4, bits=(sent or {}).get(site, bits))
        numbers = Numbers(updates=encoding.source(values[site], weight=1, generator=STREAMS.stream("round", site)))
        messages[site] = mask_numbers(
            keys, numbers, round_number=1, model_hash=MODEL, earlier=None, signing_key=consortium.keys[site]
        )
    layout = Layout(updates=50, update_bits=bits)
    return consortium, messages, AwaitingInputs.begin(ready, round_number=1, layout=layout, model_hash=MODEL)


@pytest.mark.parametrize("bits", [12, 16, 20, 24, 32])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_whole_round_opens_the_sum_also_without_a_site(bits: int, lost: int) -> None:
    consortium, messages, server = contributions(bits)
    inside = list(messages)[lost:]
    for site in inside:
        assert len(messages[site][1]) == server.layout.payload_bytes + RECEIPT_BYTES
        server = server.fold(messages[site][1])
    waiting, announcement = server.close()
    signed = {
        site: sign_survivors(messages[site][0], announcement, signing_key=consortium.keys[site]) for site in inside
    }
    for _, message in signed.values():
        waiting = waiting.add(message)
    answers, question = waiting.close()
    for site in inside:
        answers = answers.add(answer_unmask(signed[site][0], question, signing_key=consortium.keys[site])[1])
    opened = answers.open()
    encoding = UpdateEncoding(value_range=1.0, total_weight=4, sites=4, bits=bits)
    expected = sum(np.linspace(-1, 1, 50) * (place + 1) / 4 for place, site in enumerate(messages) if site in inside)
    assert np.abs(encoding.decode(opened.updates) - expected).max() <= encoding.error_bound(len(inside)) * (1 + 1e-9)


def test_a_site_that_sends_other_bits_is_left_out() -> None:
    _, messages, server = contributions(16, sent={"site-001": 24})
    other = next(site for site in messages if len(messages[site][1]) != server.layout.payload_bytes + RECEIPT_BYTES)
    with pytest.raises(SecureSumRefusedError):
        server.fold(messages[other][1])


def test_a_changed_packed_byte_is_noticed() -> None:
    _, messages, server = contributions(20)
    message = bytearray(next(iter(messages.values()))[1])
    message[7] ^= 1
    with pytest.raises(SecureSumRefusedError, match="signed"):
        server.fold(message)


def test_a_mask_that_is_left_over_shows_in_few_bits_too() -> None:
    """A server that folds one contribution of another round's masks opens nothing."""
    consortium, messages, server = contributions(12)
    for _, message in messages.values():
        server = server.fold(message)
    server.narrow[:] += np.uint32(1)  # what a mask that did not cancel does to every word
    waiting, announcement = server.close()
    signed = {s: sign_survivors(p, announcement, signing_key=consortium.keys[s]) for s, (p, _) in messages.items()}
    for _, message in signed.values():
        waiting = waiting.add(message)
    answers, question = waiting.close()
    for site, (phase, _) in signed.items():
        answers = answers.add(answer_unmask(phase, question, signing_key=consortium.keys[site])[1])
    with pytest.raises(SecureSumError, match="check word"):
        answers.open()


def test_packed_bytes_of_masked_zeros_look_random() -> None:
    """A chi-squared test over all byte values; that of unmasked zeros fails it by far."""
    consortium = Consortium.of(3)
    _, held = consortium.agree(BATCH)
    site, keys = next(iter(held.items()))
    encoding = UpdateEncoding(value_range=1.0, total_weight=3, sites=3, bits=20)
    numbers = Numbers(updates=encoding.source(np.zeros(200_000), weight=1, generator=STREAMS.stream("zeros")))
    _, message = mask_numbers(
        keys, numbers, round_number=1, model_hash=MODEL, earlier=None, signing_key=consortium.keys[site]
    )
    payload = np.frombuffer(message, dtype=np.uint8)[:-RECEIPT_BYTES]
    counts = np.bincount(payload, minlength=256)
    expected = len(payload) / 256
    assert np.sum((counts - expected) ** 2 / expected) < 255 + 6 * np.sqrt(2 * 255)
    assert hashlib.sha256(payload.tobytes()).digest() != hashlib.sha256(bytes(len(payload))).digest()
