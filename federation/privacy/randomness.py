"""Random streams: ChaCha20 keyed by label, so that no draw depends on a global seed or on the order of other draws.

A :class:`RandomStreams` holds one secret 256-bit master key. ``stream("noise", 3)`` is a NumPy generator over the
ChaCha20 keystream (RFC 8439) whose key is HMAC-SHA256 of the labels under the master key. The same labels give the same
stream *from its beginning*, so a private step must never run twice under one master key and round: a real site takes
:func:`fresh_streams` for every study it trains in and never repeats a round's draws with other parameters.

>>> streams = seeded_streams(7, provenance="synthetic")
>>> int(streams.stream("sampling", 1).integers(100)) == int(streams.stream("sampling", 1).integers(100))
True
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from numpy.random import Generator
from randomgen import ChaCha

from federation.errors import InvalidInputError, TestModeRefusedError
from federation.identifiers import Provenance

_KEY_BYTES: Final = 32
_ROUNDS: Final = 20
_SEEDABLE: Final[frozenset[Provenance]] = frozenset({"synthetic", "public"})

Label = str | int


class RandomStreams:
    """Independent random streams, one per sequence of labels.

    Args:
        master_key: 32 secret bytes. Never shown, not even by ``repr``.

    Raises:
        InvalidInputError: If the key has another length.
    """

    __slots__ = ("_master_key",)

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != _KEY_BYTES:
            raise InvalidInputError(f"expected a master key of {_KEY_BYTES} bytes, got {len(master_key)}")
        self._master_key = bytes(master_key)

    def stream(self, *labels: Label) -> Generator:
        """A new generator at the beginning of the stream of these labels.

        Args:
            *labels: Text or whole numbers; ``"1"`` and ``1`` are different labels.
        """
        key = int.from_bytes(self.stream_key(*labels), "little")
        # randomgen's bit generators have NumPy's interface without sharing its base class.
        return Generator(ChaCha(key=key, rounds=_ROUNDS))  # pyright: ignore[reportArgumentType]

    def stream_key(self, *labels: Label) -> bytes:
        """The 32 secret bytes that :meth:`stream` of these labels is keyed by."""
        return self._derive(b"stream", labels)

    def child(self, *labels: Label) -> RandomStreams:
        """Streams of their own, for a part that must not share any with another part."""
        return RandomStreams(self._derive(b"child", labels))

    def _derive(self, purpose: bytes, labels: tuple[Label, ...]) -> bytes:
        return hmac.digest(self._master_key, purpose + b"\0" + _encode(labels), hashlib.sha256)

    def __repr__(self) -> str:
        return "RandomStreams(<secret key>)"

    def __reduce__(self) -> tuple[object, ...]:
        # A key that travels to another process makes the same noise there.
        raise InvalidInputError(
            "expected random streams to stay in the process that made them, got an attempt to copy them elsewhere",
            remedy="derive the key where it is used",
        )


def _encode(labels: tuple[Label, ...]) -> bytes:
    """Every label with its type and length, so that no two sequences have the same bytes."""
    parts: list[bytes] = []
    for label in labels:
        content = label.encode() if isinstance(label, str) else str(int(label)).encode()
        parts += [b"s" if isinstance(label, str) else b"i", len(content).to_bytes(8, "big"), content]
    return b"".join(parts)


def fresh_streams() -> RandomStreams:
    """Streams under a new key from the operating system: what a site with patients uses."""
    return RandomStreams(secrets.token_bytes(_KEY_BYTES))


def public_streams(purpose: str, seed: int) -> RandomStreams:
    """Streams that everybody can recompute, for values that are public anyway, such as initial parameters.

    Args:
        purpose: Separates uses of the same seed.
        seed: Public whole number.
    """
    return RandomStreams(hashlib.sha256(b"cohortium/public\0" + _encode((purpose, seed))).digest())


def seeded_streams(seed: int, *, provenance: Provenance) -> RandomStreams:
    """Reproducible streams, for tests and simulations on records that nobody has to protect.

    Args:
        seed: Any whole number.
        provenance: Of the cohort the streams are used on.

    Raises:
        TestModeRefusedError: If the cohort is neither synthetic nor public: whoever knows the seed can remove the
        noise.
    """
    if provenance not in _SEEDABLE:
        raise TestModeRefusedError(
            f"expected a synthetic or public cohort for seeded randomness, got provenance {provenance!r}",
            remedy="train without a seed: on patients the noise must be unpredictable",
        )
    return RandomStreams(hashlib.sha256(b"cohortium/seeded\0" + _encode((seed,))).digest())
