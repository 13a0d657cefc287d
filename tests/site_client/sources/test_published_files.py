"""Openly licensed hospital files, read as they were published; skipped by name where ``COHORTIUM_DATA`` is not set."""

from __future__ import annotations

import numpy as np
import pytest

from federation.data.contract import DataContract
from federation.errors import ImplausibleValueError, RecordsUnreadableError, UnknownCodeError
from site_client.extraction import extract
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource
from tests.site_client.small_site import TODAY, definition

HEART = DataContract.from_data(
    {
        "name": "heart",
        "patient_key": "patient",
        "variables": [
            {"name": "age", "kind": "integer", "unit": "year", "minimum": 18, "maximum": 100},
            {"name": "male", "kind": "binary"},
            {"name": "pain", "kind": "categorical", "levels": ["typical", "atypical", "non_anginal", "none"]},
            {"name": "chol", "kind": "continuous", "unit": "mmol/L", "minimum": 1, "maximum": 20,
             "missing": {"rule": "impute", "value": 5.5, "indicator": True}},
        ],
        "outcome": {"name": "disease", "kind": "binary"},
    }
)  # fmt: skip
COLUMNS = [
    "age",
    "sex",
    "cp",
    "trestbps",
    "chol",
    "fbs",
    "restecg",
    "thalach",
    "exang",
    "oldpeak",
    "slope",
    "ca",
    "thal",
    "num",
]


def heart_mapping(site, **changes):
    source = {
        "kind": "csv", "path": f"processed.{site}.data", "header": False, "column_names": COLUMNS, "null_values": ["?"],
    } | changes.pop("source", {})  # fmt: skip
    chol = {"column": "chol", "unit": "mg/dL", "molar_mass": "386.65 g/mol", "missing_codes": [0]}
    variables = {
        "age": {"column": "age", "unit": "year"},
        "male": {"column": "sex"},
        "pain": {"column": "cp", "codes": {"1": "typical", "2": "atypical", "3": "non_anginal", "4": "none"}},
        "chol": chol,
        "disease": {"column": "num", "codes": {"0": 0, "1": 1, "2": 1, "3": 1, "4": 1}},
    } | changes
    return SiteMapping.from_data(
        {"site": site, "source": source, "patient_key": {"row_number": True}, "variables": variables}
    )


@pytest.mark.parametrize(
    ("site", "rows", "diseased", "without_chol"),
    [("cleveland", 303, 139, 0), ("hungarian", 294, 106, 23), ("switzerland", 123, 115, 123), ("va", 200, 149, 56)],
)
def test_heart_disease(heart_disease_folder, site, rows, diseased, without_chol):
    source = TableSource(heart_mapping(site), folder=heart_disease_folder)
    records = source.read(HEART, today=TODAY)
    assert len(records) == rows
    assert records.values["disease"].sum() == diseased
    assert np.isnan(records.values["chol"]).sum() == without_chol
    if without_chol < rows:
        # Around 5.2 to 6.5 mmol/L: the unit was converted.
        assert 5 < np.nanmedian(records.values["chol"]) < 7
    result = extract(source, site=site, contract=HEART, definition=definition(), task="binary", today=TODAY)
    assert result.data.training.num_patients + result.data.test.num_patients == rows
    assert result.readiness.verdict().passed


def test_heart_disease_read_wrongly(heart_disease_folder):
    def read(**changes):
        TableSource(heart_mapping("cleveland", **changes), folder=heart_disease_folder).read(HEART, today=TODAY)

    with pytest.raises(RecordsUnreadableError, match="expected 14 columns") as caught:
        read(source={"delimiter": ";"})
    assert "','" in caught.value.remedy
    with pytest.raises(RecordsUnreadableError) as caught:
        read(source={"header": True, "column_names": None})
    assert "63.0" not in str(caught.value)
    with pytest.raises(UnknownCodeError, match=r"variable pain: .* got 144 values"):
        read(pain={"column": "cp", "codes": {"1": "typical", "2": "atypical", "3": "non_anginal"}})
    with pytest.raises(ImplausibleValueError, match="variable age: expected whole numbers"):
        read(age={"column": "age", "unit": "month"})


def test_diabetes(diabetes130_folder):
    contract = DataContract.from_data(
        {
            "name": "diabetes",
            "patient_key": "patient",
            "variables": [
                {"name": "age", "kind": "ordinal", "levels": [f"[{low}-{low + 10})" for low in range(0, 100, 10)]},
                {"name": "medications", "kind": "integer", "minimum": 0, "maximum": 100},
                {"name": "insulin", "kind": "binary"},
            ],
            "outcome": {"name": "readmitted", "kind": "binary"},
        }
    )
    mapping = SiteMapping.from_data(
        {
            "site": "all",
            "source": {"kind": "csv", "path": "diabetic_data.csv.gz", "null_values": ["?"]},
            "patient_key": {"column": "patient_nbr"},
            "variables": {
                "age": {"column": "age"},
                "medications": {"column": "num_medications"},
                "insulin": {"column": "insulin", "codes": {"No": 0, "Steady": 1, "Up": 1, "Down": 1}},
                "readmitted": {"column": "readmitted", "codes": {"NO": 0, ">30": 0, "<30": 1}},
            },
        }
    )
    source = TableSource(mapping, folder=diabetes130_folder)
    result = extract(
        source,
        site="all",
        contract=contract,
        definition=definition(max_records_per_patient=3),
        task="binary",
        today=TODAY,
    )
    assert result.attrition.steps[0] == ("records read", 101_766, 71_518)
    assert result.attrition.steps[-1][2] == 71_518
    for part in (result.data.training, result.data.test):
        assert np.bincount(part.patient_index).max() == 3
    held_out = result.data.test.num_patients / 71_518
    assert abs(held_out - 0.3) < 5 * (0.3 * 0.7 / 71_518) ** 0.5
