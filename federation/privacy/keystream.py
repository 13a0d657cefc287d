"""The ChaCha20 key-stream in bulk. Home of ``cryptography``'s ciphers.

A NumPy generator over ChaCha20 gives a word in 20 ns, OpenSSL's key-stream in 1 ns. Bulk noise therefore takes one new
key from its generator and expands it here; the generator moves on, so no key is ever used twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.random import Generator
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.privacy.randomness import Label, RandomStreams

KEY_BYTES: Final = 32
_NONCE: Final = bytes(16)
"""Counter and nonce zero: a key serves one stream only."""
_WORD: Final = np.dtype("<u8")
_ZEROS: Final = bytes(2**16)
"""Kept: making new ones costs as much as the key-stream. Few, so that they leave room in a core's cache."""
_FEW_ZEROS: Final = memoryview(_ZEROS)


class KeyStream:
    """The words of one ChaCha20 key-stream (RFC 8439), from its beginning.

    Args:
        key: 32 secret bytes. Never shown.

    Raises:
        InvalidInputError: If the key has another length.
    """

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InvalidInputError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
        self._encryptor = Cipher(ChaCha20(key, _NONCE), mode=None).encryptor()

    @classmethod
    def from_generator(cls, generator: Generator) -> KeyStream:
        """The stream of the generator's next 32 bytes."""
        return cls(generator.bytes(KEY_BYTES))

    @classmethod
    def from_streams(cls, streams: RandomStreams, *labels: Label) -> KeyStream:
        """What :meth:`from_generator` gives of ``streams.stream(*labels)`` at its beginning, without the generator.

        Making one takes as long as a step of a small network, and asks the operating system for numbers that nobody needs.
        """
        words = np.empty(KEY_BYTES // _WORD.itemsize, dtype=_WORD)
        cls(streams.stream_key(*labels)).write(words)
        return cls(words.tobytes())

    @classmethod
    def of(cls, source: Generator | KeyStream) -> KeyStream:
        """A key-stream goes on where it is; a generator gives a key for a new one."""
        return source if isinstance(source, KeyStream) else cls.from_generator(source)

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next ``[count]`` words, uniform on 0 to 2**64 - 1."""
        words = np.empty(count, dtype=_WORD)
        self.write(words)
        return words.astype(np.uint64, copy=False)

    def write(self, words: NDArray[np.uint64]) -> None:
        """The next words, into memory that is there.

        Args:
            words: ``[count]`` contiguous, overwritten with eight bytes of the stream each, least byte first.
        """
        taken = words.view(np.uint8).data
        # The stream itself is what zeros are encrypted to.
        for start in range(0, len(taken), len(_ZEROS)):
            part = taken[start : start + len(_ZEROS)]
            self._encryptor.update_into(_ZEROS if len(part) == len(_ZEROS) else _FEW_ZEROS[: len(part)], part)
