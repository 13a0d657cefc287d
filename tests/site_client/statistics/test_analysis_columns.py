"""Which records of a site an analysis is of, and what a site refuses to sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from federation.data.contract import DataContract
from federation.errors import (
    InvalidInputError,
    ManifestError,
    PrivacyRefusedError,
    RecordsError,
    TransportError,
    UnknownCodeError,
)
from federation.statistics.counts import CountStep
from federation.statistics.requests import Selection, StatisticsTerms, StepRequest
from site_client.patients import Records
from site_client.statistics.columns import as_columns, selected_records
from site_client.statistics.earlier_selections import EarlierSelections
from site_client.statistics.site import StatisticsSite

CONTRACT = DataContract.from_data(
    {
        "name": "small",
        "patient_key": "patient",
        "variables": [
            {"name": "age", "kind": "integer", "minimum": 0, "maximum": 120},
            {"name": "ward", "kind": "categorical", "levels": ["a", "b"], "missing": {"rule": "impute", "value": "b"}},
            {
                "name": "dose",
                "kind": "continuous",
                "unit": "mg",
                "minimum": 0,
                "maximum": 9,
                "missing": {"rule": "forbid"},
            },
        ],
        "outcome": {"name": "died", "kind": "binary"},
    }
)
TERMS = StatisticsTerms.from_data(
    {
        "contract": CONTRACT.as_data(),
        "cohort": {"provenance": "patients", "exclusion": [{"variable": "age", "operator": "lt", "value": 18}]},
        "sites": ["north", "south", "east"],
        "threshold": 3,
    }
)
NAN = np.nan


def records(**changes: list[float]) -> Records:
    values = {
        "age": [70, 60, 50, 40, 30, 10, NAN, 55],
        "ward": [0, 1, NAN, 1, 0, 0, 1, 1],
        "dose": [1, 2, 3, 4, 5, 6, 7, 8],
        "died": [0, 1, 0, 1, 0, 1, 0, NAN],
    } | changes
    keys = np.array(["p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"])
    return Records(site="north", patient_keys=keys, values={k: np.array(v, dtype=float) for k, v in values.items()})


def selected(selection: Selection, **changes: list[float]) -> Records:
    return selected_records(records(**changes), terms=TERMS, selection=selection)


def test_the_cohort_and_what_must_be_known_decide_who_is_in() -> None:
    assert list(selected(Selection()).patient_keys) == ["p1", "p2", "p3", "p4", "p5", "p7", "p8"]
    assert list(selected(Selection(complete=("age",))).patient_keys) == ["p1", "p2", "p3", "p4", "p5", "p8"]
    both = Selection.from_data({"complete": ["died"], "where": [{"variable": "age", "operator": "ge", "value": 50}]})
    assert list(selected(both).patient_keys) == ["p1", "p2", "p3"]


def test_values_that_must_be_known_are_imputed_as_agreed_and_others_are_left() -> None:
    for complete, expected in ((("ward",), 1.0), ((), NAN)):
        selection = Selection(complete=complete)
        columns = as_columns(selected(selection), terms=TERMS, selection=selection)
        assert np.array_equal(columns.values["ward"][2], expected, equal_nan=True)
        assert columns.records == 7


def test_a_forbidden_gap_matters_where_the_variable_is_used() -> None:
    gap = {"dose": [1, NAN, 3, 4, 5, 6, 7, 8]}
    assert len(selected(Selection(), **gap)) == 7
    with pytest.raises(RecordsError, match="variable dose: expected no missing value, got 1"):
        selected(Selection(complete=("dose",)), **gap)


@pytest.mark.parametrize("code", [2.0, -1.0, 0.5])
def test_a_level_that_the_contract_lacks_is_an_error(code: float) -> None:
    with pytest.raises(UnknownCodeError, match="site north · variable ward: expected levels of the contract, got 1"):
        selected(Selection(), ward=[0, 1, NAN, 1, 0, 0, 1, code])


def test_a_variable_that_the_contract_lacks_is_an_error() -> None:
    with pytest.raises(ManifestError, match="expected a variable of the contract"):
        selected(Selection(complete=("weight",)))


def test_of_a_patient_with_several_records_one_counts() -> None:
    twice = records()
    both = Records(
        site="north",
        patient_keys=np.concatenate([twice.patient_keys, twice.patient_keys]),
        values={name: np.concatenate([column, column]) for name, column in twice.values.items()},
    )
    assert len(selected_records(both, terms=TERMS, selection=Selection())) == 7


def test_two_selections_of_nearly_the_same_patients_are_not_both_answered(tmp_path: Path) -> None:
    memory = EarlierSelections(folder=tmp_path / "memory", threshold=3)
    everybody = selected(Selection())
    memory.admit(everybody, terms=TERMS)
    memory.admit(everybody, terms=TERMS)
    for left_out in (1, 2):
        with pytest.raises(PrivacyRefusedError, match="by at least 3 patients of this site") as caught:
            memory.admit(everybody.rows(np.arange(7 - left_out)), terms=TERMS)
        assert caught.value.facts["reason"] == "differencing"
    memory.admit(everybody.rows(np.arange(4)), terms=TERMS)
    # As many patients as an earlier selection, but others: two leave and two come.
    with pytest.raises(PrivacyRefusedError):
        EarlierSelections(folder=tmp_path / "memory", threshold=5).admit(everybody.rows(np.arange(2, 6)), terms=TERMS)


def test_the_memory_outlives_the_site_and_shows_no_patient(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    EarlierSelections(folder=folder, threshold=3).admit(selected(Selection()), terms=TERMS)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert b"p1" not in path.read_bytes()
    with pytest.raises(PrivacyRefusedError):
        EarlierSelections(folder=folder, threshold=3).admit(selected(Selection()).rows(np.arange(6)), terms=TERMS)


def test_a_site_answers_under_its_own_terms_and_never_in_the_open_for_patients(tmp_path: Path) -> None:
    memory = EarlierSelections(folder=tmp_path, threshold=3)
    site = StatisticsSite(records=records(), terms=TERMS, earlier=memory)
    request = StepRequest(terms=TERMS.digest, number=1, selection=Selection(), step=CountStep())
    with pytest.raises(PrivacyRefusedError, match="secure sums for records of patients"):
        site.open_answer(request)
    public = TERMS.model_copy(update={"cohort": TERMS.cohort.model_copy(update={"provenance": "public"})})
    with pytest.raises(TransportError, match="this study's terms"):
        StatisticsSite(records=records(), terms=public, earlier=memory).open_answer(request)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"kind": "level_counts", "coded": [{"variable": "weight", "levels": 2}]}, "unknown ['weight']"),
        ({"kind": "level_counts", "coded": [{"variable": "age", "levels": 10_000}] * 3}, "at most 8388608 numbers"),
        ({"kind": "level_counts", "coded": [{"variable": "age", "levels": 2}]}, "expected 2 levels of age"),
    ],
)
def test_a_step_that_does_not_fit_the_contract_is_refused(
    step: dict[str, object], message: str, tmp_path: Path
) -> None:
    public = TERMS.model_copy(update={"cohort": TERMS.cohort.model_copy(update={"provenance": "public"})})
    site = StatisticsSite(records=records(), terms=public, earlier=EarlierSelections(folder=tmp_path, threshold=3))
    request = StepRequest.from_data({"terms": public.digest, "number": 1, "selection": {}, "step": step})
    with pytest.raises(InvalidInputError) as caught:
        site.open_answer(request)
    assert message in str(caught.value)
    assert "70" not in str(caught.value)


def test_a_low_threshold_is_no_choice_for_real_patients() -> None:
    with pytest.raises(ManifestError, match="at least 3"):
        StatisticsTerms.from_data(TERMS.as_data() | {"threshold": 2})
