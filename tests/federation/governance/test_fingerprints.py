"""Fingerprints by telephone: spelling does not matter, a missing half and a wrong digit do."""

from __future__ import annotations

import hashlib

import pytest

from federation.errors import EnrolmentRefusedError, InvalidInputError
from federation.governance.fingerprints import check_spoken, spoken

FINGERPRINT = hashlib.sha256(b"ward").hexdigest()


@pytest.mark.parametrize(
    "heard",
    [
        spoken(FINGERPRINT),
        spoken(FINGERPRINT).upper(),
        FINGERPRINT,
        FINGERPRINT[:32],
        "-".join(FINGERPRINT),
        f" {FINGERPRINT}\n",
    ],
)
def test_any_spelling_of_the_right_digits_passes(heard: str) -> None:
    check_spoken(FINGERPRINT, heard, what="the authority")


def test_every_wrong_digit_of_the_spoken_half_is_noticed() -> None:
    for place in range(32):
        digits = list(FINGERPRINT[:32])
        digits[place] = "0" if digits[place] != "0" else "1"
        with pytest.raises(EnrolmentRefusedError):
            check_spoken(FINGERPRINT, "".join(digits), what="the authority")


@pytest.mark.parametrize("heard", ["", FINGERPRINT[:31], FINGERPRINT + "0", "ward 3", FINGERPRINT[:31] + "g"])
def test_too_little_or_something_else_proves_nothing(heard: str) -> None:
    with pytest.raises(InvalidInputError):
        check_spoken(FINGERPRINT, heard, what="the authority")
