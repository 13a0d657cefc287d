from __future__ import annotations

import math

import pytest

from federation.errors import MappingError
from site_client.sources.conversions import (
    Status,
    assumed_units,
    conversion_query,
    status_column,
    value_column,
)
from site_client.sources.database import Resources, open_database
from tests.site_client.small_site import MAPPING, contract, mapping

NAMES = [variable.name for variable in contract().columns]
COLUMNS = ("pid", "date", "age", "chol", "sex", "pain", "stage", "died")
PLAIN = ("p", "2021-01-01", "50", "200", "m", "1", "1", "0")


def converted(name: str, text: str | None, *, through=None):
    """Value and status of one variable when its column holds a text."""
    through = through or mapping()
    column = through.variables[name].column
    row = [text if title == column else cell for title, cell in zip(COLUMNS, PLAIN, strict=True)]
    index = NAMES.index(name)
    with open_database(Resources(), site="st_mary") as database:
        database.load("t", COLUMNS, iter([row]))
        found = database.arrays(conversion_query(through, contract(), relation="t"))
        return float(found[value_column(index)][0]), Status(int(found[status_column(index)][0]))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("chol", "200", 200.0),
        ("chol", " 2e2\t", 200.0),
        ("chol", "\u00a0200.0", 200.0),
        ("chol", "+.5", 0.5),
        ("male", "f", 0.0),
        ("pain", "2", 2.0),
        ("pain", "2.00", 2.0),
        ("stage", "3.0", 2.0),
        ("died", "true", 1.0),
        ("died", "0.0", 0.0),
    ],
)
def test_usable_values(name, text, value):
    assert converted(name, text) == (value, Status.USABLE)


@pytest.mark.parametrize(
    ("name", "text", "status"),
    [
        ("chol", None, Status.MISSING),
        ("chol", "  ", Status.MISSING),
        ("male", "u", Status.MISSING),
        ("chol", "12 mg", Status.UNREADABLE),
        ("chol", "1,5", Status.UNREADABLE),
        ("chol", "1_0", Status.UNREADABLE),
        ("chol", "NaN", Status.NOT_FINITE),
        ("chol", "-inf", Status.NOT_FINITE),
        ("chol", "1e308", Status.NOT_FINITE),
        ("male", "M", Status.UNKNOWN_CODE),
        ("pain", "01", Status.UNKNOWN_CODE),
        ("stage", "1.5", Status.UNKNOWN_CODE),
    ],
)
def test_unusable_values(name, text, status):
    value, found = converted(name, text)
    assert math.isnan(value)
    assert found == status


@pytest.mark.parametrize("text", ["-1", "-1.0", "-1.00", "x", "?"])
def test_missing_codes_and_null_values(text):
    source = MAPPING["source"] | {"null_values": ["?"]}
    through = mapping(
        source=source, variables={"chol": {"column": "chol", "unit": "mg/dL", "missing_codes": [-1, "x"]}}
    )
    assert converted("chol", text, through=through)[1] is Status.MISSING


def test_a_decimal_comma():
    through = mapping(source=MAPPING["source"] | {"decimal_separator": ","})
    assert converted("chol", "180,5", through=through) == (180.5, Status.USABLE)


@pytest.mark.parametrize("hostile", ["'); DROP TABLE t; --", '"', "''", "\\", "{x}"])
def test_codes_columns_and_formats_are_data_not_sql(hostile):
    through = mapping(variables={"male": {"column": "sex", "codes": {hostile: 1}, "missing_codes": [hostile + "x"]}})
    assert converted("male", hostile, through=through) == (1.0, Status.USABLE)
    assert converted("male", hostile + "x", through=through)[1] is Status.MISSING
    dated = mapping(index_date={"column": "date", "format": "%Y" + hostile.replace("\\", "")})
    converted("chol", "1", through=dated)


def test_units_that_the_mapping_leaves_out():
    through = mapping(variables={"age": {"column": "age"}, "stage": {"column": "stage"}})
    assert assumed_units(through, contract()) == ("age",)


def test_a_level_that_the_contract_does_not_have():
    with pytest.raises(MappingError, match="variable pain"):
        conversion_query(mapping(variables={"pain": {"column": "p", "codes": {"1": "x"}}}), contract(), relation="t")
