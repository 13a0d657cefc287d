"""Local codes and what they mean: levels, 0 or 1, numbers, or missing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from federation.data.arrays import Image, Mask, Signal
from federation.data.contract import Binary, Continuous, Integer, Variable
from federation.errors import MappingError
from site_client.sources.mapping import Code, VariableMapping

_BINARY_CODES: Mapping[str, Code | None] = {
    "0": 0,
    "1": 1,
    "false": 0,
    "true": 1,
    "False": 0,
    "True": 1,
    "FALSE": 0,
    "TRUE": 1,
}
"""Codes of a binary variable whose mapping gives none."""


def code_text(code: Code) -> str:
    """A code of the mapping as the text that a table would hold."""
    return str(code).lower() if isinstance(code, bool) else str(code).strip()


def canonical_code(text: str) -> str:
    """``1.0`` and ``1.`` become ``1``; anything else stays."""
    return re.sub(r"^([+-]?[0-9]+)\.0*$", r"\1", text)


def finite_number(text: str) -> float | None:
    """The number that a code is, or ``None``."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def codes_of(site: str, variable: Variable, local: VariableMapping) -> dict[str, float | None]:
    """Canonical local code to value, ``None`` for missing.

    Raises:
        MappingError: A code leads nowhere in the contract, has two meanings, or stands beside a unit.
    """
    if not isinstance(variable, Continuous | Integer) and (local.unit or local.molar_mass or local.scale != 1.0):
        raise MappingError(
            f"expected no unit, molar mass or scale on a variable of kind {variable.kind!r}",
            site=site,
            variable=variable.name,
            remedy="remove them, and map local codes with `codes`",
        )
    codes: dict[str, float | None] = {}
    for local_code, target in (local.codes if local.codes is not None else _own_codes(variable)).items():
        code = canonical_code(code_text(local_code))
        value = None if target is None else _target(site, variable, target)
        if code in codes and codes[code] != value:
            raise MappingError(
                f"expected one meaning for code {code!r}, got two",
                site=site,
                variable=variable.name,
                remedy="codes such as 1 and 1.0 are the same: keep one of them",
            )
        codes[code] = value
    return codes


def _own_codes(variable: Variable) -> Mapping[str, Code | None]:
    match variable:
        case Continuous() | Integer() | Image() | Signal() | Mask():
            return {}
        case Binary():
            return _BINARY_CODES
        case _:
            return {level: level for level in variable.levels}


def _target(site: str, variable: Variable, target: Code) -> float:
    match variable:
        case Continuous() | Integer() | Image() | Signal() | Mask():
            value, accepted = finite_number(code_text(target)), "a number"
        case Binary():
            value, accepted = (
                {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}.get(canonical_code(code_text(target))),
                "0 or 1",
            )
        case _:
            levels = [canonical_code(level) for level in variable.levels]
            text = canonical_code(code_text(target))
            value, accepted = float(levels.index(text)) if text in levels else None, f"one of {list(variable.levels)}"
    if value is None:
        raise MappingError(
            f"expected codes that lead to {accepted} or null, got {target!r}",
            site=site,
            variable=variable.name,
            remedy="correct `codes` of this variable in the mapping",
        )
    return value
