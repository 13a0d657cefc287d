from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.privacy_plan.rehearsal import ASSUMPTIONS, rehearsal_site, rehearsal_streams, synthetic_site
from experiments.studies.synthetic.study import SyntheticOptions, define
from federation.data.contract import Categorical, Continuous, DataContract, ForbidMissing, Integer, Ordinal
from federation.data.encoding import encode_features, encode_outcome
from federation.errors import ConfigurationError, InvalidInputError, ManifestError
from federation.identifiers import TaskKind
from tests.experiments.privacy_plan.planned_study import private_study
from tests.small_study import contract as small_contract

TASKS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")


def _every_kind(task: TaskKind = "binary") -> DataContract:
    return define(SyntheticOptions(task=task)).contract


@pytest.mark.parametrize("task", TASKS)
def test_records_keep_to_the_contract(task: TaskKind) -> None:
    contract = _every_kind(task)
    records = synthetic_site(contract, task, site="north", num_patients=400, streams=rehearsal_streams(1))
    assert len(np.unique(records.patient_keys)) == len(records) == 400
    for variable in contract.columns:
        column = records.values[variable.name]
        present = column[~np.isnan(column)]
        assert np.isnan(column).any() <= (not isinstance(variable.missing, ForbidMissing))
        if isinstance(variable, Continuous | Integer):
            assert present.min() >= variable.minimum
            assert present.max() <= variable.maximum
        else:
            levels = len(variable.levels) if isinstance(variable, Categorical | Ordinal) else 2
            assert set(np.unique(present)) <= set(range(levels))
        if isinstance(variable, Integer):
            assert np.array_equal(present, np.rint(present))


def test_an_outcome_occurs_as_often_as_assumed() -> None:
    records = synthetic_site(_every_kind(), "binary", site="north", num_patients=4000, streams=rehearsal_streams(1))
    outcome = records.values[_every_kind().outcome.name]
    # Twice the standard errors of the sample and of the population in which the truth was set, three times over.
    assert abs(outcome.mean() - ASSUMPTIONS.prevalence) < 0.05


def test_there_is_something_to_learn_and_it_is_the_same_at_every_site() -> None:
    contract = DataContract.from_data(small_contract())
    fits = []
    for site in ("north", "south"):
        records = synthetic_site(contract, "binary", site=site, num_patients=6000, streams=rehearsal_streams(3))
        complete = np.all([~np.isnan(records.values[variable.name]) for variable in contract.variables], axis=0)
        rows = records.rows(complete)
        features = encode_features(contract, rows.values).astype(np.float64)
        outcome = encode_outcome(contract, "binary", rows.values["died"]).astype(np.float64)
        design = np.column_stack([np.ones(len(features)), features])
        fits.append(np.linalg.lstsq(design, outcome, rcond=None)[0][1:])
    assert np.linalg.norm(fits[0]) > 0.3
    assert np.corrcoef(*fits)[0, 1] > 0.98
    other = synthetic_site(contract, "binary", site="north", num_patients=50, streams=rehearsal_streams(4))
    again = synthetic_site(contract, "binary", site="north", num_patients=50, streams=rehearsal_streams(4))
    for name, column in other.values.items():
        assert np.array_equal(column, again.values[name], equal_nan=True)


def test_sites_and_seeds_differ() -> None:
    contract = DataContract.from_data(small_contract())
    columns = [
        synthetic_site(contract, "binary", site=site, num_patients=50, streams=rehearsal_streams(seed)).values["x0"]
        for site, seed in (("north", 1), ("south", 1), ("north", 2))
    ]
    assert not np.array_equal(columns[0], columns[1], equal_nan=True)
    assert not np.array_equal(columns[0], columns[2], equal_nan=True)


def test_what_cannot_be_drawn_is_refused() -> None:
    contract = DataContract.from_data(small_contract())
    with pytest.raises(InvalidInputError, match="expected at least 1 patient at site north, got 0"):
        synthetic_site(contract, "binary", site="north", num_patients=0, streams=rehearsal_streams(1))
    with pytest.raises(ConfigurationError, match="for task regression"):
        synthetic_site(contract, "regression", site="north", num_patients=9, streams=rehearsal_streams(1))


def test_every_site_has_the_patients_it_declared() -> None:
    study = private_study()
    for entry in study.roster:
        found = rehearsal_site(study, entry.site, streams=rehearsal_streams(1))
        assert found.data.site == entry.site
        assert found.data.training.num_patients == entry.training_patients
        assert found.data.test.num_patients >= 1
        assert found.readiness.passed


@settings(max_examples=25, deadline=None)
@given(
    patients=st.integers(1, 150),
    test_fraction=st.sampled_from([0.05, 0.3, 0.8]),
    records=st.sampled_from([1, 3, 100]),
    at_least=st.sampled_from([-1.0, 0.0, 0.6]),
    most_missing=st.sampled_from([0.0, 0.02, 1.0]),
    seed=st.integers(0, 50),
)
def test_the_declared_number_is_met_whatever_the_cohort(
    patients: int, test_fraction: float, records: int, at_least: float, most_missing: float, seed: int
) -> None:
    contract = small_contract()
    for variable in contract["variables"]:
        variable["maximum_missing_fraction"] = most_missing
    study = private_study(
        contract=contract,
        cohort={
            "provenance": "patients",
            "inclusion": [{"variable": "x1", "operator": "ge", "value": at_least}],
            "test_fraction": test_fraction,
            "max_records_per_patient": records,
        },
        roster=[{"site": "north", "weight": 1.0, "training_patients": patients}],
        aggregation={"quorum": 1},
    )
    data = rehearsal_site(study, "north", streams=rehearsal_streams(seed)).data
    assert data.training.num_patients == patients
    assert data.test.num_patients >= 1
    assert np.bincount(data.training.patient_index).max() <= records
    assert data.training.features[:, 1].min() >= np.float32(at_least)


def test_a_cohort_that_admits_nobody_is_told() -> None:
    nobody = {"provenance": "patients", "inclusion": [{"variable": "x0", "operator": "gt", "value": 1.0}]}
    with pytest.raises(ManifestError, match="expected 120 training patients of site north") as caught:
        rehearsal_site(private_study(cohort=nobody), "north", streams=rehearsal_streams(1))
    assert "no more of the patients than the contract says" in caught.value.remedy


def test_a_site_that_is_not_in_the_roster_has_no_rehearsal() -> None:
    with pytest.raises(ManifestError, match="expected a site of the roster, got 'east'"):
        rehearsal_site(private_study(), "east", streams=rehearsal_streams(1))
