from __future__ import annotations

import copy

import pytest

from federation.data.contract import DataContract, ExcludeMissing
from federation.errors import ManifestError

CONTRACT = {
    "name": "example",
    "patient_key": "patient",
    "variables": [
        {"name": "age", "kind": "continuous", "unit": "year", "minimum": 0, "maximum": 120},
        {"name": "count", "kind": "integer", "minimum": 0, "maximum": 9},
        {"name": "male", "kind": "binary"},
        {"name": "pain", "kind": "categorical", "levels": ["none", "typical"]},
    ],
    "outcome": {"name": "died", "kind": "binary"},
    "index_date": {"name": "admitted", "earliest": "2020-01-01"},
}


def changed(path: str, value: object) -> dict:
    data = copy.deepcopy(CONTRACT)
    place: object = data
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    place[last] = value
    return data


def test_defaults_are_written_out():
    contract = DataContract.from_data(CONTRACT)
    assert contract.variable("age").missing == ExcludeMissing()
    assert contract.as_data()["variables"][0]["out_of_range"] == "missing"
    assert [variable.name for variable in contract.columns] == ["age", "count", "male", "pain", "died"]


def test_a_round_trip_keeps_the_digest_and_any_change_changes_it():
    contract = DataContract.from_data(CONTRACT)
    assert DataContract.from_data(contract.as_data()).digest == contract.digest
    assert DataContract.from_data(changed("variables.0.maximum", 121)).digest != contract.digest
    assert DataContract.from_data(changed("index_date.earliest", "2020-01-02")).digest != contract.digest


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("variables.0.maximum", 0, "minimum < maximum"),
        ("variables.0.maximum", "120", "variables[0].continuous.maximum"),
        ("variables.0.kind", "number", "variables[0]"),
        ("variables.0.colour", "red", "colour"),
        ("variables.0.missing", {"rule": "impute", "value": 130}, "between 0.0 and 120.0"),
        ("variables.0.missing", {"rule": "guess"}, "missing"),
        ("variables.0.reference", {"mean": 1, "standard_deviation": 0, "source": "x"}, "standard_deviation"),
        ("variables.1.maximum", 9.5, "whole bounds"),
        ("variables.2.missing", {"rule": "impute", "value": 2}, "0 or 1"),
        ("variables.3.levels", ["none"], "levels"),
        ("variables.3.levels", ["none", "none"], "distinct levels"),
        ("variables.3.missing", {"rule": "impute", "value": "other"}, "'none', 'typical'"),
        ("variables.3.name", "age", "distinct names"),
        ("variables.3.name", "Age", "lower-case"),
        ("outcome.name", "patient", "distinct names"),
        ("outcome.missing", {"rule": "impute", "value": 1}, "not to be imputed"),
        ("index_date.earliest", "01.02.2020", "index_date.earliest"),
        ("variables", [], "variables"),
    ],
)
def test_a_wrong_contract_is_told_with_its_place(path, value, told):
    with pytest.raises(ManifestError) as caught:
        DataContract.from_data(changed(path, value))
    assert told in caught.value.message
    assert caught.value.remedy


def test_an_unknown_variable_is_told_with_the_known_ones():
    with pytest.raises(ManifestError, match="got 'weight'") as caught:
        DataContract.from_data(CONTRACT).variable("weight")
    assert "'age'" in caught.value.remedy


def test_a_json_schema_can_be_exported():
    schema = DataContract.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "patient_key", "variables", "outcome"}
