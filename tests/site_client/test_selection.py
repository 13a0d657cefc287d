from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.data.cohort import Criterion
from federation.errors import ManifestError, RecordsError
from site_client.selection import describe, out_of_range, select, within_range
from tests.site_client.small_site import contract, definition, records

NAN = float("nan")


def criterion(variable, operator, value=None):
    return {"variable": variable, "operator": operator, "value": value}


def kept(*inclusion, exclusion=(), of=None, **changes):
    cohort = select(
        of or records(10),
        contract=contract(),
        definition=definition(inclusion=list(inclusion), exclusion=list(exclusion), **changes),
    )
    return [int(name.split("-")[1]) for name in cohort.records.patient_keys]


TEN = {"age": np.arange(20, 30.0), "pain": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0], "stage": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (criterion("age", "eq", 23), [3]),
        (criterion("age", "ne", 23), [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        (criterion("age", "lt", 22), [0, 1]),
        (criterion("age", "le", 22), [0, 1, 2]),
        (criterion("age", "gt", 27), [8, 9]),
        (criterion("age", "ge", 27.5), [8, 9]),
        (criterion("age", "in", [21, 25]), [1, 5]),
        (criterion("age", "between", [21, 23]), [1, 2, 3]),
        (criterion("pain", "eq", "typical"), [1, 4, 7]),
        (criterion("pain", "in", ["none", "other"]), [0, 2, 3, 5, 6, 8, 9]),
        (criterion("stage", "ge", "2"), [1, 2, 4, 5, 7, 8]),
        (criterion("male", "eq", True), [1, 3, 5, 7, 9]),
        (criterion("male", "eq", 0), [0, 2, 4, 6, 8]),
    ],
)
def test_criteria(condition, expected):
    ten = records(10, **TEN)
    assert kept(condition, of=ten) == expected
    assert kept(exclusion=[condition], of=ten) == [number for number in range(10) if number not in expected]


def test_a_missing_value_meets_no_criterion():
    some = records(4, chol=[NAN, 100, NAN, 300])
    for operator, value in (("ne", 5), ("lt", 999), ("present", None)):
        assert kept(criterion("chol", operator, value), of=some) == [1, 3]
        assert kept(exclusion=[criterion("chol", operator, value)], of=some) == [0, 2]


@pytest.mark.parametrize(
    "condition",
    [
        criterion("age", "eq", "old"),
        criterion("age", "eq", True),
        criterion("male", "eq", 2),
        criterion("male", "ge", True),
        criterion("pain", "lt", "other"),
        criterion("weight", "present"),
        criterion("pain", "eq", "severe"),
    ],
)
def test_a_criterion_that_does_not_fit_its_variable(condition):
    with pytest.raises(ManifestError) as caught:
        kept(condition)
    assert condition["variable"] in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("missing", [NAN, 18, 110, NAN]), ("clip", [18, 18, 110, 110]), ("forbid", [17, 18, 110, 111])],
)
def test_range_rules(rule, expected):
    agreed = contract(age={"out_of_range": rule})
    some = records(4, age=[17, 18, 110, 111])
    np.testing.assert_array_equal(within_range(some, contract=agreed).values["age"], expected)
    assert some.values["age"].tolist() == [17, 18, 110, 111]
    assert out_of_range(agreed.variable("age"), some.values["age"]).tolist() == [True, False, False, True]


def test_an_implausible_value_is_missing_before_criteria_are_looked_at():
    assert kept(criterion("age", "ge", 18), of=records(3, age=[50, 999, 60])) == [0, 2]


def test_missing_rules():
    some = records(4, age=[NAN, 50, 51, 52], chol=[100, NAN, 100, 100], died=[0, 1, NAN, 1])
    assert kept(of=some) == [1, 3]
    with pytest.raises(RecordsError, match="variable age: expected no missing value, got 1"):
        select(some, contract=contract(age={"missing": {"rule": "forbid"}}), definition=definition())


def test_a_record_without_date_is_left_out():
    some = records(3)
    some.index_dates[1] = np.datetime64("NaT")
    assert kept(of=some) == [0, 2]


def test_the_attrition_table_tells_every_step():
    names = ["p-1", "p-1", "p-2", "p-3", "p-3"]
    some = records(keys=names, age=[20, 21, 30, 40, NAN], died=[0, 1, NAN, 1, 1])
    cohort = select(
        some,
        contract=contract(),
        definition=definition(inclusion=[criterion("age", "ge", 20)], exclusion=[criterion("male", "eq", 2 - 1)]),
    )
    steps = {step: (rows, patients) for step, rows, patients in cohort.attrition.steps}
    assert cohort.attrition.steps[0] == ("records read", 5, 3)
    assert steps["included: age ge 20"] == (4, 3)
    assert steps["excluded: male eq 1"] == (2, 2)
    assert steps["died present"] == (1, 1)
    assert cohort.attrition.steps[-1] == ("at most 1 record(s) per patient", 1, 1)


@given(st.lists(st.sampled_from("abcd"), max_size=20), st.integers(18, 110))
def test_steps_never_grow_and_end_with_what_is_left(names, threshold):
    some = records(keys=names)
    cohort = select(some, contract=contract(), definition=definition(inclusion=[criterion("age", "ge", threshold)]))
    counts = [(rows, patients) for _, rows, patients in cohort.attrition.steps]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == (len(cohort.records), len(set(cohort.records.patient_keys)))


def test_criteria_in_words():
    assert describe(Criterion.from_data(criterion("age", "between", [18, 90]))) == "age between 18 and 90"
    assert describe(Criterion.from_data(criterion("age", "present"))) == "age present"
