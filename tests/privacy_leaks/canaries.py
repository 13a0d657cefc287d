"""A thousand seeded patient names, and a search for them in whatever leaves a site."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote

import numpy as np

_FIRST = ("Aurelia", "Bożena", "Cosimo", "Dörthe", "Eulalia", "Fjodor", "Guðrún", "Hesperia", "Ximénez", "Zdeněk")
_SYLLABLES = ("qua", "vel", "zor", "mik", "tan", "dru", "sil", "bax", "ney", "pol", "wex", "juf")
NUMBER = 1000


def _family(generator: np.random.Generator) -> str:
    """Letters only, so that it would pass wherever a class name passes."""
    return "".join(generator.choice(_SYLLABLES, 5)).capitalize()


def _names() -> tuple[str, ...]:
    generator = np.random.default_rng(20261125)
    families: dict[str, None] = {}
    while len(families) < NUMBER:
        families.setdefault(_family(generator))
    kinds = (
        lambda first, family, number: f"{first} {family}",
        lambda first, family, number: f"{family}-{number:08d}",
        lambda first, family, number: family,
        lambda first, family, number: f"{family}, {first} *{1920 + number % 90}",
    )
    return tuple(
        kinds[number % 4](_FIRST[number % len(_FIRST)], family, number) for number, family in enumerate(families)
    )


NAMES = _names()
FAMILIES = tuple(name.split(",")[0].split("-")[0].split(" ")[-1] for name in NAMES)
"""The part of each name that is unlike any word of the program; it is what is searched for."""


def _forms(family: str) -> Iterable[bytes]:
    """How a name may be written in bytes."""
    text = family.encode()
    yield text.lower()
    yield text.hex().encode()
    yield family.encode("utf-16-le").lower()
    yield quote(family).lower().encode()
    yield json.dumps(family).strip('"').lower().encode()
    for shift in range(3):  # base64 of a text that holds it, at each of three places
        whole = base64.b64encode(b"\0" * shift + text)
        yield whole[4 if shift else 0 : -4].lower()


_PLAIN = tuple(family.lower().encode() for family in FAMILIES)
_PATTERNS = tuple(form for family in FAMILIES for form in set(_forms(family)))
_SMALL = 2**18


def found_in(content: bytes) -> list[str]:
    """The names that stand in the content; empty if nobody is named. Every form is searched up to 256 KiB."""
    lowered = content.lower()
    patterns = _PATTERNS if len(lowered) <= _SMALL else _PLAIN
    return [pattern.decode(errors="replace") for pattern in patterns if pattern in lowered]
