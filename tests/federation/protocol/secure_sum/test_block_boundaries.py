"""Where a vector lies in memory, and how it is cut into blocks, changes no byte of what is masked."""

from __future__ import annotations

import numpy as np
import pytest

from federation.protocol.secure_sum.masking import BLOCK_BYTES, Mask, MaskStream, mask
from federation.protocol.secure_sum.quantization import UpdateEncoding

KEYS = [bytes([number]) * 32 for number in range(3)]
WORDS = BLOCK_BYTES // 4


def at(offset: int, words: int, dtype: str) -> np.ndarray:
    """A vector whose first byte lies that many bytes after a cache line."""
    size = np.dtype(dtype).itemsize
    room = np.zeros(words * size + 128, dtype=np.uint8)
    start = (offset - room.ctypes.data) % 64
    return room[start : start + words * size].view(dtype)


def keystream(key: bytes, num_bytes: int) -> np.ndarray:
    """All of it in one go, in pieces as long as a stream gives."""
    stream, out = MaskStream(key), bytearray(num_bytes)
    for start in range(0, num_bytes, BLOCK_BYTES):
        stream.write(memoryview(out)[start : start + BLOCK_BYTES])
    return np.frombuffer(out, dtype=np.uint8)


def masks() -> list[Mask]:
    return [Mask(key, is_added=number != 1) for number, key in enumerate(KEYS)]


@pytest.mark.parametrize("offset", [0, 4, 8, 16, 32, 48, 60])
@pytest.mark.parametrize("words", [1, 3, WORDS - 13, WORDS - 4, WORDS - 1, WORDS, WORDS + 1, 2 * WORDS + 5])
def test_an_unaligned_vector_gets_the_same_masks(offset, words):
    wide, narrow = at(offset // 8 * 8, 7, "<u8"), at(offset, words, "<u4")
    mask(wide, narrow, masks())
    total_64, total_32 = np.zeros(7, dtype="<u8"), np.zeros(words, dtype="<u4")
    for number, key in enumerate(KEYS):
        content = keystream(key, 8 * 7 + 4 * words)
        sign = -1 if number == 1 else 1
        total_64 += (sign * content[:56].view("<u8").astype(object) % 2**64).astype("<u8")
        total_32 += (sign * content[56:].copy().view("<u4").astype(np.int64) % 2**32).astype("<u4")
    assert wide.tobytes() == total_64.tobytes()
    assert narrow.tobytes() == total_32.tobytes()


@pytest.mark.parametrize("offset", [0, 16, 40])
def test_rounding_is_the_same_wherever_the_vector_lies(offset):
    encoding = UpdateEncoding(value_range=4.0, total_weight=3, sites=3)
    values = np.random.default_rng(0).standard_normal(2 * WORDS + 9, dtype=np.float32)
    found = []
    for place in (0, offset):
        source = encoding.source(values, weight=1, generator=np.random.default_rng(1))
        narrow, read = at(place, len(values), "<u4"), bytearray()
        mask(np.empty(0, dtype="<u8"), narrow, masks(), fill_32=source.write, read=read.extend)
        assert bytes(read) == narrow.tobytes()
        found.append(narrow.tobytes())
    assert found[0] == found[1]
