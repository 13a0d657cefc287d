"""Argument checks called with keywords, so that the message names the value.

>>> positive(noise_multiplier=1.1)
>>> positive(noise_multiplier=0)
Traceback (most recent call last):
    ...
federation.errors.InvalidInputError: expected noise_multiplier > 0, got 0
"""

from __future__ import annotations

import math

from federation.errors import InvalidInputError


def positive(**values: float) -> None:
    """Refuse values that are not finite and above zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InvalidInputError(f"expected {name} > 0, got {value!r}")


def not_negative(**values: float) -> None:
    """Refuse values that are not finite and at least zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInputError(f"expected {name} >= 0, got {value!r}")


def probability(**values: float) -> None:
    """Refuse values outside (0, 1]."""
    for name, value in values.items():
        if not (math.isfinite(value) and 0 < value <= 1):
            raise InvalidInputError(f"expected 0 < {name} <= 1, got {value!r}")


def finite(**values: float) -> None:
    """Refuse NaN and infinity."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise InvalidInputError(f"expected {name} to be finite, got {value!r}")
