"""Units: from what a hospital records to what the contract asks for. The one home of pint.

Conversions are affine, ``contract value = local value * factor + offset``, which covers temperatures. Amounts of
substance turn into masses, ``mmol/L`` into ``mg/dL``, if the molar mass is given.

>>> convert_factor("degF", "degC", variable="temperature").apply(212.0)
100.0
"""

from __future__ import annotations

import functools
import math
import re
import tokenize
from dataclasses import dataclass

import numpy as np
import pint
from pint.facets.plain import PlainQuantity

from federation.errors import MappingError

Quantity = PlainQuantity[float]

_EXTRA_UNITS = (
    "beat = count",
    "bpm = beat / minute",
    "breath = count",
    "international_unit = [international_unit] = IU",
)
"""Units of clinical records that pint does not ship."""

_SPAN = 1e6
"""Two points this far apart give the slope of a conversion without cancellation."""

_UNIT = re.compile(r"[\w%°µμ ()/.*^-]{0,64}")
_BAD_POWER = re.compile(r"(?:\*\*|\^)(?!-?\d{1,2}(?!\s*(?:[\d.^]|\*\*)))")
"""A power that is not a small whole number: pint would compute ``9**9**9`` to its last digit."""

_UNREADABLE = (
    pint.PintError,
    tokenize.TokenError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What pint raises on text that is not a unit."""


@dataclass(frozen=True)
class UnitConversion:
    """``contract value = local value * factor + offset``."""

    factor: float = 1.0
    offset: float = 0.0

    def apply(self, value: float) -> float:
        """The value in the contract's unit."""
        return round(value * self.factor + self.offset, 9)


@functools.cache
def _registry() -> pint.UnitRegistry[float]:
    registry: pint.UnitRegistry[float] = pint.UnitRegistry(cache_folder=None)
    for definition in _EXTRA_UNITS:
        registry.define(definition)
    return registry


def convert_factor(
    local_unit: str, contract_unit: str, *, variable: str, site: str = "", molar_mass: str | None = None
) -> UnitConversion:
    """The affine conversion from a local unit to the contract's.

    Args:
        local_unit: Unit of the site's column, such as ``mmol/L``.
        contract_unit: Unit of the contract, such as ``mg/dL``.
        variable: Contract variable, for the message.
        site: Site, for the message.
        molar_mass: Such as ``386.65 g/mol``: needed between amount of substance and mass.

    Raises:
        MappingError: A unit is unknown, or the two measure different things.
    """
    if local_unit == contract_unit:
        return UnitConversion()
    source = _quantity(local_unit, variable=variable, site=site)
    target = _quantity(contract_unit, variable=variable, site=site)
    mass = None if molar_mass is None else _molar_mass(molar_mass, variable=variable, site=site)
    try:
        with np.errstate(over="ignore"):  # logarithmic units overflow, and are then refused below
            low, middle, high = (_converted(value, source, target, mass) for value in (0.0, _SPAN, 2 * _SPAN))
    except (pint.PintError, ArithmeticError, ValueError):
        low = middle = high = math.nan
    factor = (middle - low) / _SPAN
    if not (math.isfinite(factor) and factor != 0 and math.isclose(high - middle, middle - low, rel_tol=1e-9)):
        raise MappingError(
            f"expected a unit that converts to {contract_unit!r}, got {local_unit!r}",
            site=site,
            variable=variable,
            remedy=_remedy(source, target, molar_mass),
        )
    return UnitConversion(factor=factor, offset=low)


def _quantity(unit: str, *, variable: str, site: str) -> Quantity:
    registry = _registry()
    try:
        if not _UNIT.fullmatch(unit) or _BAD_POWER.search(unit):
            raise ValueError(unit)
        # A temperature must stay a bare unit; `10^9/L` has a factor and parses only as an expression.
        try:
            return registry.Quantity(1.0, registry.parse_units(unit))
        except ValueError:
            return registry.Quantity(registry.parse_expression(unit))
    except _UNREADABLE:
        known = None
    if known is None:
        raise MappingError(
            f"expected a unit that pint knows, got {unit!r}",
            site=site,
            variable=variable,
            remedy="write it as in 'mg/dL', 'mmHg', 'degC', '1/min', '10^9/L' or 'dimensionless'",
        )
    return known


def _converted(value: float, source: Quantity, target: Quantity, mass: Quantity | None) -> float:
    quantity = _registry().Quantity(value * float(source.magnitude), source.units)
    if mass is None or source.is_compatible_with(target):
        converted = quantity.to(target.units)
    else:
        converted = quantity.to(target.units, "chemistry", mw=mass)
    return float(converted.magnitude) / float(target.magnitude)


def _molar_mass(text: str, *, variable: str, site: str) -> Quantity:
    mass = _quantity(text, variable=variable, site=site)
    if not mass.check("[mass]/[substance]") or not float(mass.magnitude) > 0:
        raise MappingError(
            f"expected a molar mass such as '386.65 g/mol', got {text!r}",
            site=site,
            variable=variable,
            remedy="correct molar_mass in the mapping",
        )
    return mass


def _remedy(source: Quantity, target: Quantity, molar_mass: str | None) -> str:
    substance = "[substance]"
    if molar_mass is None and (substance in source.dimensionality) != (substance in target.dimensionality):
        return "correct `unit` in the mapping, or add `molar_mass`, such as '386.65 g/mol'"
    return "correct `unit` in the mapping: it is the unit of the site's own column"
