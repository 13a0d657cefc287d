from __future__ import annotations

import pytest

from federation.data.cohort import CohortDefinition, Criterion
from federation.data.contract import DataContract
from federation.errors import ManifestError

CONTRACT = DataContract.from_data(
    {
        "name": "c",
        "patient_key": "key",
        "variables": [
            {"name": "age", "kind": "continuous", "unit": "year", "minimum": 0, "maximum": 120},
            {"name": "pain", "kind": "categorical", "levels": ["none", "typical"]},
        ],
        "outcome": {"name": "died", "kind": "binary"},
    }
)


def cohort(*inclusion: dict, **changes: object) -> CohortDefinition:
    return CohortDefinition.from_data({"provenance": "synthetic", "inclusion": list(inclusion), **changes})


@pytest.mark.parametrize(
    ("operator", "value"),
    [("eq", 1), ("ge", 18.5), ("eq", "none"), ("in", [1, 2]), ("between", [18, 90]), ("present", None)],
)
def test_values_that_fit_their_operator(operator, value):
    criterion = Criterion.from_data({"variable": "age", "operator": operator, "value": value})
    assert Criterion.from_data(criterion.as_data()) == criterion


@pytest.mark.parametrize(
    ("operator", "value"),
    [("eq", None), ("ge", [1, 2]), ("in", 1), ("in", []), ("between", [1]), ("between", 3), ("present", 1)],
)
def test_values_that_do_not(operator, value):
    with pytest.raises(ManifestError, match="fits operator"):
        Criterion.from_data({"variable": "age", "operator": operator, "value": value})


def test_an_unknown_operator_is_told_with_the_known_ones():
    with pytest.raises(ManifestError, match="'between'"):
        Criterion.from_data({"variable": "age", "operator": "over", "value": 1})


def test_provenance_has_no_default_because_it_unlocks_seeds():
    with pytest.raises(ManifestError, match="provenance"):
        CohortDefinition.from_data({})


@pytest.mark.parametrize(
    "changes",
    [
        {"test_fraction": 0},
        {"test_fraction": 1},
        {"max_records_per_patient": 0},
        {"minimum_patients": 1},
        {"salt": "x"},
    ],
)
def test_impossible_definitions(changes):
    with pytest.raises(ManifestError, match=next(iter(changes))):
        cohort(**changes)


def test_criteria_are_checked_against_the_contract():
    cohort({"variable": "pain", "operator": "in", "value": ["none", "typical"]}).check_against(CONTRACT)
    with pytest.raises(ManifestError, match="weight"):
        cohort({"variable": "weight", "operator": "present"}).check_against(CONTRACT)
    with pytest.raises(ManifestError, match="severe") as caught:
        cohort({"variable": "pain", "operator": "eq", "value": "severe"}).check_against(CONTRACT)
    assert "typical" in caught.value.remedy
