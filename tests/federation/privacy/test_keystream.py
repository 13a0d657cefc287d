"""The key-stream is RFC 8439's, and a key serves once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError
from federation.privacy.keystream import KeyStream
from federation.privacy.randomness import RandomStreams, seeded_streams


def test_equals_the_vector_of_the_standard() -> None:
    """RFC 8439, appendix A.1, test vector 1: key and nonce zero, counter 0."""
    words = KeyStream(bytes(32)).words(8)
    expected = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    assert words.astype("<u8").tobytes() == expected


def test_goes_on_where_it_stopped() -> None:
    key = bytes(range(32))
    whole = KeyStream(key).words(100)
    parts = KeyStream(key)
    np.testing.assert_array_equal(np.concatenate([parts.words(33), parts.words(0), parts.words(67)]), whole)


def test_writes_long_streams_piece_by_piece() -> None:
    key, count = bytes(range(32)), 3 * 2**13 + 5  # pieces have 2**13 words
    written = np.empty(count, dtype=np.uint64)
    KeyStream(key).write(written)
    parts = KeyStream(key)
    np.testing.assert_array_equal(np.concatenate([parts.words(1000) for _ in range(24)] + [parts.words(581)]), written)


def test_a_generator_gives_every_stream_another_key() -> None:
    generator = seeded_streams(1, provenance="synthetic").stream("noise")
    first, second = (KeyStream.from_generator(generator).words(50) for _ in range(2))
    assert not np.intersect1d(first, second).size


@pytest.mark.parametrize("length", [0, 31, 33])
def test_refuses_another_length(length: int) -> None:
    with pytest.raises(InvalidInputError, match="32 bytes"):
        KeyStream(bytes(length))


@given(master=st.binary(min_size=32, max_size=32), labels=st.lists(st.one_of(st.text(), st.integers()), max_size=3))
def test_a_stream_without_its_generator_is_the_stream_with_it(master: bytes, labels: list[str | int]) -> None:
    streams = RandomStreams(master)
    found = KeyStream.from_streams(streams, *labels).words(50)
    np.testing.assert_array_equal(found, KeyStream.from_generator(streams.stream(*labels)).words(50))
