from __future__ import annotations

import pytest

from federation.errors import MappingError
from site_client.sources.codes import canonical_code, code_text, codes_of, finite_number
from site_client.sources.mapping import VariableMapping
from tests.site_client.small_site import contract


@pytest.mark.parametrize(("code", "text"), [(1, "1"), (1.0, "1.0"), (True, "true"), (" a ", "a"), ("", ""), (-9, "-9")])
def test_the_text_of_a_code(code, text):
    assert code_text(code) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1.0", "1"),
        ("1.", "1"),
        ("-9.000", "-9"),
        ("1", "1"),
        ("1.50", "1.50"),
        ("01", "01"),
        ("V1.0", "V1.0"),
        ("1E2", "1E2"),
    ],
)
def test_whole_numbers_lose_their_point_and_nothing_else_changes(text, canonical):
    assert canonical_code(text) == canonical


@pytest.mark.parametrize(("text", "number"), [("1.5", 1.5), ("nan", None), ("inf", None), ("1_0", None), ("x", None)])
def test_numbers_among_codes(text, number):
    assert finite_number(text) == number


def of(name, **changes):
    return codes_of("st_mary", contract().variable(name), VariableMapping(column="c", **changes))


def test_codes_lead_to_the_terms_of_a_record():
    assert of("pain", codes={"1": "other", "2.0": "none", "9": None}) == {"1": 2.0, "2": 0.0, "9": None}
    assert of("male", codes={"m": True, "f": 0, "x": 1.0}) == {"m": 1.0, "f": 0.0, "x": 1.0}
    assert of("stage", codes={"early": 1, "late": 3.0}) == {"early": 0.0, "late": 2.0}
    assert of("chol", codes={">700": 700}) == {">700": 700.0}


def test_without_codes_the_contracts_own_are_meant():
    assert of("pain") == {"none": 0.0, "typical": 1.0, "other": 2.0}
    assert of("male")["TRUE"] == 1.0
    assert of("chol") == {}


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("pain", {"codes": {"1": "severe"}}, "'none', 'typical', 'other'"),
        ("male", {"codes": {"1": 2}}, "0 or 1"),
        ("male", {"codes": {"1": "yes"}}, "0 or 1"),
        ("chol", {"codes": {"high": "very"}}, "a number"),
        ("chol", {"codes": {"high": "inf"}}, "a number"),
        ("pain", {"codes": {"1": "none", "1.0": "other"}}, "one meaning"),
        ("pain", {"unit": "mg/dL"}, "no unit"),
        ("male", {"scale": 2.0}, "no unit, molar mass or scale"),
    ],
)
def test_codes_that_lead_nowhere(name, changes, told):
    with pytest.raises(MappingError, match=told) as caught:
        of(name, **changes)
    assert caught.value.message.startswith(f"site st_mary · variable {name}: ")
    assert caught.value.remedy
