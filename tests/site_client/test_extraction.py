from __future__ import annotations

import numpy as np
import pytest

from federation.errors import CohortTooSmallError, ManifestError, MappingError, PatientKeyError, UnknownCodeError
from site_client.extraction import check, encode, extract, standardise
from tests.site_client.small_site import (
    TODAY,
    MemorySource,
    contract,
    definition,
    mapping,
    records,
    source,
    write,
)

NAN = float("nan")


def extracted(
    of=None, *, origin=None, agreed=None, task="binary", site="st_mary", preprocessing="public_ranges", **cohort
):
    return extract(
        origin or MemorySource(of if of is not None else records()),
        site=site,
        contract=agreed or contract(),
        definition=definition(**cohort),
        task=task,
        preprocessing=preprocessing,
        today=TODAY,
    )


def test_records_become_encoded_patients():
    result = extracted()
    training, test = result.data.training, result.data.test
    assert result.data.site == "st_mary"
    assert training.feature_names == ("age", "chol", "chol?missing", "male", "pain=typical", "pain=other", "stage")
    assert training.features.dtype == np.float32
    assert np.abs(np.vstack([training.features, test.features])).max() <= 1
    assert training.num_patients + test.num_patients == 40
    assert result.readiness.passed
    assert result.attrition.steps[-1][1:] == (40, 40)
    assert (result.readiness.training_patients, result.readiness.test_patients) == (
        training.num_patients,
        test.num_patients,
    )


def test_the_rows_of_a_patient_stay_together():
    names = [f"p{number // 3}" for number in range(60)]
    result = extracted(records(keys=names), max_records_per_patient=3)
    for part in (result.data.training, result.data.test):
        assert part.num_records == 3 * part.num_patients
        assert np.bincount(part.patient_index).tolist() == [3] * part.num_patients


def test_the_order_of_the_file_does_not_matter():
    shuffled = np.argsort(np.sin(np.arange(40)))
    one, other = extracted(), extracted(records().rows(shuffled))
    for part in ("training", "test"):
        np.testing.assert_array_equal(getattr(one.data, part).features, getattr(other.data, part).features)
        np.testing.assert_array_equal(getattr(one.data, part).outcomes, getattr(other.data, part).outcomes)


def test_nothing_is_fitted_with_public_ranges():
    """A patient's features are the same whoever else is at the site."""
    few = records(40).rows(np.arange(12))
    whole = {tuple(row) for row in np.vstack([part.features for part in parts(extracted())]).tolist()}
    assert {tuple(row) for row in np.vstack([part.features for part in parts(extracted(few))]).tolist()} <= whole


def parts(result):
    return result.data.training, result.data.test


def test_site_standardised_uses_the_training_records_of_the_site():
    plain, result = extracted(), extracted(preprocessing="site_standardised")
    features = result.data.training.features
    spread = plain.data.training.features.std(axis=0)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(features[:, spread > 0].std(axis=0, ddof=1), 1, rtol=1e-5)
    source_features = plain.data.training.features.astype(np.float64)
    mean, deviation = source_features.mean(axis=0), source_features.std(axis=0, ddof=1)
    deviation[deviation == 0] = 1
    np.testing.assert_allclose(
        result.data.test.features, (plain.data.test.features - mean) / deviation, rtol=1e-4, atol=1e-6
    )


def test_one_training_record_has_no_spread_and_a_constant_feature_keeps_its_scale():
    data = extracted(records(40, male=1)).data
    assert np.isfinite(standardise(data).training.features).all()
    one = type(data)(site=data.site, training=data.training.patients(np.array([0])), test=data.test)
    assert np.isfinite(standardise(one).test.features).all()
    assert standardise(one).training.features.tolist() == [[0.0] * 7]


def test_missing_values_are_imputed_and_indicated():
    result = extracted(records(40, chol=[NAN] * 20 + [200] * 20))
    features = np.vstack([part.features for part in parts(result)])
    assert np.unique(features[:, 1]).tolist() == [np.float32((200 - 375) / 325)]
    assert features[:, 2].sum() == 20


@pytest.mark.parametrize(
    ("task", "outcome", "expected"),
    [
        ("multiclass", {"kind": "categorical", "name": "died", "levels": ["a", "b", "c"]}, {0.0, 1.0, 2.0}),
        (
            "regression",
            {"kind": "continuous", "name": "died", "unit": "day", "minimum": 0, "maximum": 2},
            {-1.0, 0.0, 1.0},
        ),
    ],
)
def test_outcomes_of_other_tasks(task, outcome, expected):
    result = extracted(records(died=np.arange(40) % 3), agreed=contract(outcome=outcome), task=task)
    assert {value for part in parts(result) for value in part.outcomes.tolist()} == expected


def test_no_record_is_an_empty_dataset():
    empty = encode(records(0), contract=contract(), definition=definition(), task="binary")
    assert (empty.num_patients, empty.features.shape) == (0, (0, 7))


def test_a_file_from_end_to_end(tmp_path):
    rows = [f"p{number},2021-01-01,{20 + number % 80},{100 + number},m,1,1,{number % 2}" for number in range(30)]
    write(tmp_path, rows)
    result = extracted(origin=source(tmp_path))
    assert sum(part.num_patients for part in parts(result)) == 30


def test_duplicate_patients_in_a_file(tmp_path):
    rows = [f"p{number % 20},2021-01-01,{20 + number % 80},150,m,1,1,{number % 2}" for number in range(30)]
    write(tmp_path, rows)
    with pytest.raises(PatientKeyError, match="several of 10 patients"):
        extracted(origin=source(tmp_path))
    assert extracted(origin=source(tmp_path), max_records_per_patient=2).attrition.steps[-1][1:] == (30, 20)
    meant = source(tmp_path, through=mapping(patient_key={"column": "pid", "repeated": True}))
    result = extracted(origin=meant)
    assert result.attrition.steps[-1][1:] == (20, 20)
    assert [notice.kind for notice in result.readiness.notices] == ["conflicting_records"]


@pytest.mark.parametrize(("rows", "told"), [([], "expected records"), (["a,2021-01-01,50,200,m,1,1,1"], "got 1")])
def test_an_empty_site_and_a_site_with_one_patient(tmp_path, rows, told):
    write(tmp_path, rows)
    with pytest.raises(CohortTooSmallError, match=told):
        extracted(origin=source(tmp_path))


def test_the_first_problem_is_raised_and_the_check_tells_all(tmp_path):
    write(tmp_path, ["a,2021-01-01,50,200,?,9,1,1", "b,2021-01-01,50,200,?,1,1,1"])
    with pytest.raises(UnknownCodeError, match="variable male"):
        extracted(origin=source(tmp_path))
    found = check(source(tmp_path), site="st_mary", contract=contract(), definition=definition(), today=TODAY)
    assert [problem.variable for problem in found.report.problems] == ["male", "pain"]


def test_another_sites_records_are_refused():
    with pytest.raises(MappingError, match="'st_john', got those of 'st_mary'"):
        extracted(site="st_john")


def test_a_cohort_that_does_not_fit_the_contract_is_found_before_records_are_read():
    class Untouchable:
        def read(self, contract, *, today):
            raise AssertionError

    with pytest.raises(ManifestError, match="weight"):
        extracted(origin=Untouchable(), inclusion=[{"variable": "weight", "operator": "present"}])
