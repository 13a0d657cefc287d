"""Streams are ChaCha20, keyed by label, and cannot be predicted or carried away."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError, TestModeRefusedError
from federation.privacy.randomness import RandomStreams, _encode, fresh_streams, public_streams, seeded_streams

KEY = bytes(range(32))


@given(key=st.binary(min_size=32, max_size=32))
def test_words_are_the_chacha20_keystream(key: bytes) -> None:
    streams = RandomStreams(key)
    derived = streams._derive(b"stream", ("noise", 1))
    encryptor = Cipher(algorithms.ChaCha20(derived, bytes(16)), None).encryptor()
    keystream = np.frombuffer(encryptor.update(bytes(8 * 100)), dtype="<u8")
    np.testing.assert_array_equal(streams.stream("noise", 1).bit_generator.random_raw(100), keystream)


def test_same_labels_give_the_same_stream_from_its_beginning() -> None:
    streams = RandomStreams(KEY)
    first = streams.stream("noise", 1).standard_normal(5)
    streams.stream("sampling", 1).standard_normal(1000)
    np.testing.assert_array_equal(streams.stream("noise", 1).standard_normal(5), first)


def test_different_labels_keys_and_children_give_different_streams() -> None:
    streams = RandomStreams(KEY)
    others = [
        streams.stream("noise", 1),
        streams.stream("noise", 2),
        streams.stream("noise", "1"),
        streams.stream("noise1"),
        streams.stream("nois", "e1"),
        streams.stream(),
        streams.child("noise", 1).stream(),
        streams.child("noise").stream(1),
        RandomStreams(KEY[::-1]).stream("noise", 1),
    ]
    assert len({int(generator.integers(2**62)) for generator in others}) == len(others)


labels = st.lists(st.one_of(st.text(max_size=6), st.integers(-(10**6), 10**6)), max_size=4).map(tuple)


@given(first=labels, second=labels)
def test_encoding_of_labels_is_unambiguous(first: tuple[str | int, ...], second: tuple[str | int, ...]) -> None:
    same = [(type(a), a) for a in first] == [(type(a), a) for a in second]
    assert (_encode(first) == _encode(second)) == same


def test_a_label_cannot_imitate_several() -> None:
    assert (
        len({_encode(("a", "b")), _encode(("asb",)), _encode(("ab",)), _encode(("a", "", "b")), _encode(("a", 1))}) == 5
    )


def test_global_seeds_neither_determine_nor_change_a_stream() -> None:
    draws = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        draws.append(fresh_streams().stream("noise").standard_normal(3))
    assert not np.array_equal(*draws)
    np.random.seed(1)
    before = RandomStreams(KEY).stream("noise").standard_normal(3)
    np.random.seed(2)
    torch.manual_seed(3)
    np.testing.assert_array_equal(RandomStreams(KEY).stream("noise").standard_normal(3), before)


def test_seeds_are_refused_on_patients() -> None:
    with pytest.raises(TestModeRefusedError, match="patients"):
        seeded_streams(1, provenance="patients")


@pytest.mark.parametrize("provenance", ["synthetic", "public"])
def test_seeds_reproduce_where_nobody_is_at_risk(provenance: str) -> None:
    first, second = (seeded_streams(5, provenance=provenance).stream("x").integers(2**62) for _ in range(2))
    assert first == second
    assert first != seeded_streams(6, provenance=provenance).stream("x").integers(2**62)


def test_public_streams_depend_on_purpose_and_seed_only() -> None:
    assert public_streams("a", 1).stream().integers(2**62) == public_streams("a", 1).stream().integers(2**62)
    assert public_streams("a", 1).stream().integers(2**62) != public_streams("b", 1).stream().integers(2**62)
    assert public_streams("a", 1).stream().integers(2**62) != seeded_streams(1, provenance="public").stream().integers(
        2**62
    )


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_keys_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InvalidInputError, match="32 bytes"):
        RandomStreams(bytes(length))


def test_key_is_neither_shown_nor_copied() -> None:
    streams = RandomStreams(KEY)
    assert KEY.hex() not in repr(streams)
    assert repr(KEY) not in repr(streams)
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InvalidInputError, match="stay in the process"):
            carry(streams)
