"""Numbers modulo 2**bits for the wire: the lowest bits of 32-bit words, without gaps.

2**bits divides 2**32, so the lowest bits of a sum modulo 2**32 are the sum of the lowest bits, and those of a uniform mask
are a uniform mask. Cutting words and packing them commutes with masking, adding and unmasking.

Axes: N words. Bit i of the stream is bit ``i % 8`` (the lowest is 0) of byte ``i // 8``; word n has bits ``n * bits`` on.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from federation.errors import InvalidInputError
from federation.protocol.secure_sum.layout import WORD_BITS, Layout, Ring32, Ring64, packed_bytes

_WORDS_AT_A_TIME: Final = 2**14
"""A multiple of 8, so that every block of words begins at a byte. Its bits, a byte each, are half a megabyte."""


def pack(words: Ring32, bits: int, into: memoryview) -> None:
    """Write the lowest bits of every word.

    Args:
        words: ``[N]``.
        bits: Of each, 1 to 32.
        into: :func:`packed_bytes` bytes, overwritten.
    """
    _expect(len(words), bits, len(into))
    room = np.frombuffer(into, dtype=np.uint8)
    for start in range(0, len(words), _WORDS_AT_A_TIME):
        block = np.ascontiguousarray(words[start : start + _WORDS_AT_A_TIME], dtype="<u4").view(np.uint8)
        begin, size = start * bits // 8, packed_bytes(len(block) // 4, bits)
        if bits % 8 == 0:
            room[begin : begin + size] = block.reshape(-1, 4)[:, : bits // 8].reshape(-1)
        else:
            single = np.unpackbits(block.reshape(-1, 4), axis=1, bitorder="little")[:, :bits]
            room[begin : begin + size] = np.packbits(single, bitorder="little")


def unpack(content: memoryview, bits: int, *, words: int) -> Ring32:
    """The words, their upper bits zero.

    Args:
        content: :func:`packed_bytes` bytes.
        bits: Of each word, 1 to 32.
        words: N.
    """
    _expect(words, bits, len(content))
    found = np.zeros(words, dtype="<u4")
    room = found.view(np.uint8).reshape(-1, 4)
    bytes_of = np.frombuffer(content, dtype=np.uint8)
    for start in range(0, words, _WORDS_AT_A_TIME):
        count = min(_WORDS_AT_A_TIME, words - start)
        begin = start * bits // 8
        block = bytes_of[begin : begin + packed_bytes(count, bits)]
        if bits % 8 == 0:
            room[start : start + count, : bits // 8] = block.reshape(count, bits // 8)
        else:
            single = np.zeros((count, WORD_BITS), dtype=np.uint8)
            single[:, :bits] = np.unpackbits(block, count=count * bits, bitorder="little").reshape(count, bits)
            room[start : start + count] = np.packbits(single, axis=1, bitorder="little")
    return found


def unpacked(payload: memoryview, layout: Layout) -> tuple[Ring64, Ring32]:
    """Both parts of a payload.

    Args:
        payload: As many bytes as the layout's ``payload_bytes``.
        layout: Which numbers of how many bits they are.
    """
    if not layout.is_packed:
        return layout.parts(payload)
    split = 8 * layout.words_64
    wide = np.frombuffer(payload, dtype="<u8", count=layout.words_64)
    return wide, unpack(payload[split:], layout.update_bits, words=layout.words_32)


def _expect(words: int, bits: int, num_bytes: int) -> None:
    if not 1 <= bits <= WORD_BITS or num_bytes != packed_bytes(words, bits):
        raise InvalidInputError(
            f"expected {words} numbers of 1 to {WORD_BITS} bits, got {bits} bits in {num_bytes} bytes"
        )
