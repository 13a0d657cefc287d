"""Fingerprints as people compare them by telephone: eight groups of four digits, the first half of a SHA-256.

Whoever wants to put another document in place of a given one has to find 128 matching bits.
"""

from __future__ import annotations

import re
from typing import Final

from federation.errors import EnrolmentRefusedError, InvalidInputError

_DIGITS: Final = 32
_ALL_DIGITS: Final = 64


def spoken(fingerprint: str) -> str:
    """A fingerprint for reading aloud.

    >>> spoken("0123456789abcdef" * 4)
    '0123 4567 89ab cdef 0123 4567 89ab cdef'

    Args:
        fingerprint: 64 hexadecimal digits.
    """
    return " ".join(fingerprint[start : start + 4] for start in range(0, _DIGITS, 4))


def check_spoken(fingerprint: str, heard: str, *, what: str) -> None:
    """Compare a fingerprint with what was heard.

    Args:
        fingerprint: 64 hexadecimal digits, computed here.
        heard: At least the 32 digits of :func:`spoken`; blanks, colons, hyphens and capitals do not matter.
        what: Whose it is, for the message.

    Raises:
        InvalidInputError: If fewer digits, or something else, was given.
        EnrolmentRefusedError: If they differ.
    """
    digits = re.sub(r"[\s:-]", "", heard).lower()
    if not re.fullmatch(r"[0-9a-f]+", digits) or not _DIGITS <= len(digits) <= _ALL_DIGITS:
        raise InvalidInputError(
            f"expected a fingerprint of at least {_DIGITS} hexadecimal digits for {what}, got {len(digits)} characters",
            remedy="type the eight groups of four digits that the other side reads out",
        )
    if not fingerprint.startswith(digits):
        raise EnrolmentRefusedError(
            f"expected the fingerprint of {what} to be {spoken(digits)}, got {spoken(fingerprint)}",
            remedy="stop: the document is not the one the other side sent. Ask for it again on another way",
            reason="fingerprint",
        )
