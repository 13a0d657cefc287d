"""Shamir's secret sharing (1979) over the integers modulo 2**256 - 189, a prime.

A secret is 32 bytes below the prime; ``threshold`` shares recover it, fewer say nothing about it. Shares are plain
field elements: who may see which, and whether one was changed, is the business of the protocol around them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from federation.errors import InvalidInputError

PRIME: Final = 2**256 - 189
ELEMENT_BYTES: Final = 32

RandomBytes = Callable[[int], bytes]
"""So many bytes from a cryptographic source, such as the ``bytes`` method of a stream of ``federation.privacy.randomness``."""


def draw_element(random_bytes: RandomBytes) -> bytes:
    """A uniform element of the field, as 32 bytes, big end first. All but 2**-248 of the draws are kept."""
    while True:
        content = random_bytes(ELEMENT_BYTES)
        if len(content) != ELEMENT_BYTES:
            raise InvalidInputError(f"expected {ELEMENT_BYTES} random bytes, got {len(content)}")
        if int.from_bytes(content, "big") < PRIME:
            return bytes(content)


def split(secret: bytes, *, threshold: int, points: Sequence[int], random_bytes: RandomBytes) -> dict[int, bytes]:
    """Share a secret.

    Args:
        secret: 32 bytes that are below :data:`PRIME`, big end first.
        threshold: How many shares recover it.
        points: Where the polynomial is evaluated: distinct, from 1 to ``PRIME - 1``.
        random_bytes: Source of the ``threshold - 1`` other coefficients.

    Returns:
        A share of 32 bytes for every point.

    Raises:
        InvalidInputError: If the secret, the threshold or a point is out of range, or a point is repeated.
    """
    _check_points(points)
    if not 1 <= threshold <= len(points):
        raise InvalidInputError(f"expected a threshold from 1 to {len(points)}, got {threshold}")
    others = [_element(draw_element(random_bytes)) for _ in range(threshold - 1)]
    coefficients = [*others, _element(secret)]
    shares: dict[int, bytes] = {}
    for point in points:
        value = 0
        for coefficient in coefficients:
            value = (value * point + coefficient) % PRIME
        shares[point] = value.to_bytes(ELEMENT_BYTES, "big")
    return shares


class Recombination:
    """Recovers the secrets that were shared at these points. Making one is the expensive part; it serves many secrets.

    Args:
        points: As many as the threshold, distinct.
    """

    def __init__(self, points: Sequence[int]) -> None:
        _check_points(points)
        self._factors = {point: _lagrange_at_zero(point, points) for point in points}

    def secret(self, shares: Mapping[int, bytes]) -> bytes:
        """The secret of these shares.

        Args:
            shares: One for each point; more are ignored.

        Raises:
            InvalidInputError: If one is missing or not an element of the field.
        """
        missing = sorted(set(self._factors) - set(shares))
        if missing:
            raise InvalidInputError(f"expected a share for every point, none came for {missing}")
        total = sum(factor * _element(shares[point]) for point, factor in self._factors.items())
        return (total % PRIME).to_bytes(ELEMENT_BYTES, "big")


def _lagrange_at_zero(point: int, points: Sequence[int]) -> int:
    numerator, denominator = 1, 1
    for other in points:
        if other != point:
            numerator = numerator * other % PRIME
            denominator = denominator * (other - point) % PRIME
    return numerator * pow(denominator, -1, PRIME) % PRIME


def _element(content: bytes) -> int:
    value = int.from_bytes(content, "big")
    if len(content) != ELEMENT_BYTES or value >= PRIME:
        raise InvalidInputError(
            f"expected {ELEMENT_BYTES} bytes below the prime, got {len(content)} bytes out of range"
        )
    return value


def _check_points(points: Sequence[int]) -> None:
    if len(set(points)) != len(points) or not all(1 <= point < PRIME for point in points):
        raise InvalidInputError("expected distinct points from 1 to the prime, got others")
