from __future__ import annotations

import numpy as np
import pytest

from federation.errors import (
    CohortTooSmallError,
    ImplausibleValueError,
    PatientKeyError,
    RecordsError,
    UnknownCodeError,
)
from site_client.data_checks import assess
from site_client.division import divide
from site_client.sources.source import Survey
from tests.site_client.small_site import contract, definition, records

NAN = float("nan")


def judged(of=None, *, agreed=None, survey=None, **cohort):
    return assess(
        Survey(records=of if of is not None else records(), **(survey or {})),
        contract=agreed or contract(),
        definition=definition(**cohort),
    )


def first_error(assessment):
    with pytest.raises(RecordsError) as caught:
        assessment.report.raise_if_failed()
    return caught.value


def test_good_records_pass():
    found = judged()
    assert found.report.passed
    assert found.report.notices == ()
    assert found.cohort is not None
    assert found.report.training_patients + found.report.test_patients == 40
    assert found.report.attrition[-1].patients == 40


def test_counts_by_variable():
    found = judged(
        records(10, chol=[NAN, NAN, 1, 100, 100, 100, 100, 100, 100, 100]), survey={"unknown_codes": {"male": 0}}
    )
    chol = found.report.variables[1]
    assert (chol.variable, chol.missing, chol.missing_fraction, chol.out_of_range) == ("chol", 2, 0.2, 1)
    assert chol.out_of_range_fraction == 1 / 8


def test_what_the_source_could_not_use_is_not_counted_as_missing():
    problem = UnknownCodeError("expected codes, got 2", site="st_mary", variable="male")
    found = judged(
        records(4, male=[NAN, NAN, NAN, 1], age=[NAN, 30, 30, 30]),
        survey={"problems": (problem,), "unknown_codes": {"male": 2}, "unreadable_values": {"age": 1}},
    )
    by_name = {variable.variable: variable for variable in found.report.variables}
    assert (by_name["male"].missing, by_name["male"].unknown_codes, by_name["male"].passed) == (1, 2, False)
    assert by_name["male"].reason == "expected codes, got 2"
    assert (by_name["age"].missing, by_name["age"].unreadable_values) == (0, 1)


@pytest.mark.parametrize(
    ("of", "changes", "kind", "variable", "told"),
    [
        (records(age=[NAN] + [30] * 39), {"age": {"missing": {"rule": "forbid"}}}, RecordsError, "age", "got 1"),
        (records(chol=[NAN] * 9 + [100] * 31), {"chol": {"maximum_missing_fraction": 0.2}}, RecordsError, "chol", "22.5%"),
        (records(age=[17] + [30] * 39), {"age": {"out_of_range": "forbid"}}, ImplausibleValueError, "age", "got 1 outside"),
        (records(age=[150] * 5 + [30] * 35), {}, ImplausibleValueError, "age", "12.5%"),
        (records(chol=[np.inf] + [100] * 39), {}, ImplausibleValueError, "chol", "1 times infinity"),
    ],
)  # fmt: skip
def test_limits_of_the_contract(of, changes, kind, variable, told):
    found = judged(of, agreed=contract(**changes))
    assert found.cohort is None
    assert [one.step for one in found.report.attrition] == ["records read"]
    error = first_error(found)
    assert type(error) is kind
    assert error.variable == variable
    assert told in error.message
    assert error.remedy
    assert found.report.verdict().variables == {one.name: one.name != variable for one in contract().columns}


@pytest.mark.parametrize(
    ("of", "changes"),
    [
        (records(age=[150] * 4 + [30] * 36), {}),
        (records(chol=[NAN] * 8 + [100] * 32), {"chol": {"maximum_missing_fraction": 0.2}}),
        (records(age=[NAN] * 4 + [30] * 36), {}),
    ],
)
def test_exactly_at_a_limit_passes(of, changes):
    assert judged(of, agreed=contract(**changes)).report.passed


def test_an_empty_site():
    error = first_error(judged(records(0)))
    assert type(error) is CohortTooSmallError
    assert error.exit_code == 26


@pytest.mark.parametrize(("patients", "minimum"), [(1, 2), (9, 10)])
def test_too_few_patients(patients, minimum):
    error = first_error(judged(records(patients), minimum_patients=minimum))
    assert type(error) is CohortTooSmallError
    assert f"at least {minimum} eligible patients, got {patients}" in error.message


def test_few_eligible_patients_among_many_are_explained_by_the_attrition_table():
    found = judged(inclusion=[{"variable": "age", "operator": "gt", "value": 109}])
    assert type(first_error(found)) is CohortTooSmallError
    assert [one.patients for one in found.report.attrition][:2] == [40, 0]


def test_a_site_needs_patients_on_both_sides():
    error = first_error(judged(records(3), test_fraction=0.001))
    assert type(error) is CohortTooSmallError
    assert "3 and 0" in error.message


def test_one_outcome_class_is_a_notice():
    found = judged(records(died=1))
    assert found.report.passed
    (notice,) = found.report.notices
    assert notice.kind == "one_class"
    assert "all eligible" in notice.text


def test_one_outcome_class_on_the_training_side_is_a_notice_too():
    _, held_out = divide(records(20), definition=definition())
    died = np.isin(records(20).patient_keys, held_out.patient_keys)
    assert 0 < died.sum() < 20
    (notice,) = judged(records(20, died=died)).report.notices
    assert notice.kind == "one_class"
    assert "all training records" in notice.text


TWICE = ["a", "a", "b", "b", "c", "d", "e", "f", "g", "h"]


def test_repeated_patients_are_an_error_where_one_record_is_expected():
    found = judged(records(keys=TWICE), survey={"repeated_patients": False})
    error = first_error(found)
    assert type(error) is PatientKeyError
    assert error.variable == "patient"
    assert "several of 2 patients" in error.message
    assert "repeated: true" in error.remedy
    assert "conflicting_records" not in {notice.kind for notice in found.report.notices}


@pytest.mark.parametrize("cohort", [{"max_records_per_patient": 2}, {}])
def test_they_are_fine_where_several_are_meant(cohort):
    survey = {"repeated_patients": not cohort}
    assert judged(records(keys=TWICE), survey=survey, **cohort).report.passed


def test_exact_and_differing_duplicates_are_told_apart():
    same = {
        "age": 50,
        "chol": [NAN, NAN, 100, 101, 9, 9, 9, 9, 9, 9],
        "male": 1,
        "pain": 0,
        "stage": 0,
        "died": [1, 1, 0, -0.0] + [0, 1] * 3,
    }
    some = records(keys=TWICE, **same)
    some.index_dates[:] = np.datetime64("2021-01-01")
    found = judged(some, agreed=contract(chol={"out_of_range": "clip", "maximum_out_of_range_fraction": 1.0}))
    duplicates = found.report.duplicates
    assert (duplicates.repeated_patients, duplicates.exact_rows, duplicates.conflicting_patients) == (2, 1, 1)
    assert [notice.kind for notice in found.report.notices] == ["repeated_records", "conflicting_records"]


def test_a_report_holds_no_patient_key_and_no_value():
    found = judged(
        records(keys=["Zuckerhut", "Zuckerhut", "b", "c", "d", "e"], chol=123.456), survey={"repeated_patients": False}
    )
    text = found.report.model_dump_json()
    assert "Zuckerhut" not in text
    assert "123.456" not in text
