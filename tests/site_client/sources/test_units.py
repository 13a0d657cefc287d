from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import MappingError
from site_client.sources.units import UnitConversion, convert_factor


@pytest.mark.parametrize(
    ("local", "agreed", "value", "expected"),
    [
        ("mg/dL", "mg/dL", 200, 200),
        ("g/L", "mg/dL", 2, 200),
        ("mg/dl", "mg/dL", 200, 200),
        ("kPa", "mmHg", 16, 120.009852),
        ("cm", "m", 172, 1.72),
        ("month", "year", 6, 0.5),
        ("%", "dimensionless", 55, 0.55),
        ("bpm", "1/min", 72, 72),
        ("10^9/L", "1/uL", 4.5, 4500),
        ("kg/m**2", "g/cm^2", 25, 2.5),
        ("degF", "degC", 98.6, 37.0),
        ("degF", "degC", -40, -40),
        ("degC", "kelvin", 0, 273.15),
    ],
)
def test_values_are_converted(local, agreed, value, expected):
    assert convert_factor(local, agreed, variable="v").apply(value) == pytest.approx(expected, rel=1e-6)


def test_a_molar_mass_turns_substance_into_mass_and_back():
    cholesterol = convert_factor("mmol/L", "mg/dL", variable="chol", molar_mass="386.65 g/mol")
    assert cholesterol.apply(5.2) == pytest.approx(201.058)
    back = convert_factor("mg/dL", "mmol/L", variable="chol", molar_mass="386.65 g/mol")
    assert back.apply(201.058) == pytest.approx(5.2)


@given(st.sampled_from([("degF", "degC"), ("kPa", "mmHg"), ("month", "year"), ("lb", "kg")]), st.floats(-1e4, 1e4))
def test_there_and_back_is_the_same(units, value):
    there = convert_factor(*units, variable="v")
    back = convert_factor(*reversed(units), variable="v")
    assert back.apply(there.apply(value)) == pytest.approx(value, abs=1e-4)


def test_the_same_unit_costs_nothing_and_loses_nothing():
    assert convert_factor("whatever", "whatever", variable="v") == UnitConversion(1.0, 0.0)


@pytest.mark.parametrize(
    ("local", "agreed", "molar_mass", "told"),
    [
        ("kg", "mg/dL", None, "converts to 'mg/dL'"),
        ("mmol/L", "mg/dL", None, "molar_mass"),
        ("mmol/L", "mg/dL", "386 g", "'386.65 g/mol'"),
        ("wibble", "mg/dL", None, "pint knows"),
        ("mg/dL", "wibble", None, "pint knows"),
        ("dBm", "W", None, "converts to 'W'"),
        ("(", "m", None, "pint knows"),
        ("9**9**9", "m", None, "pint knows"),
        ("9^(9^99)", "m", None, "pint knows"),
        ("__import__('os')", "m", None, "pint knows"),
        ("\x00", "m", None, "pint knows"),
    ],
)
def test_a_unit_that_does_not_convert_names_site_variable_and_remedy(local, agreed, molar_mass, told):
    with pytest.raises(MappingError) as caught:
        convert_factor(local, agreed, variable="chol", site="st_mary", molar_mass=molar_mass)
    assert caught.value.message.startswith("site st_mary · variable chol: ")
    assert told in str(caught.value)
    assert caught.value.remedy
    assert caught.value.exit_code == 22
