"""Analyses that take several records of a patient still count patients, and leave the terms of all others as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest

from federation.data.cohort import CohortDefinition
from federation.statistics.counts import CountStep
from federation.statistics.requests import Selection, StatisticsTerms
from site_client.patients import Records
from site_client.statistics.columns import as_columns, selected_records
from tests.statistics_bench import CONTRACT, draw


def visits(patients: int, each: int) -> Records:
    keys = np.repeat([f"patient-{number:03d}" for number in range(patients)], each)
    return Records(site="north", patient_keys=keys, values=draw(patients * each))


def terms(records_per_patient: int | None) -> StatisticsTerms:
    changes = {} if records_per_patient is None else {"records_per_patient": records_per_patient}
    return StatisticsTerms(
        contract=CONTRACT, cohort=CohortDefinition(provenance="synthetic"), sites=("north",), **changes
    )


@pytest.mark.parametrize(("most", "records"), [(1, 40), (2, 80), (4, 120)])
def test_as_many_records_of_each_patient_as_the_terms_say(most: int, records: int) -> None:
    chosen = selected_records(visits(40, 3), terms=terms(most), selection=Selection())
    columns = as_columns(chosen, terms=terms(most), selection=Selection())
    assert (columns.records, columns.patients) == (records, 40)
    assert CountStep().summarise(columns)["patients"] == 40


def test_one_record_is_what_terms_without_a_word_mean() -> None:
    assert terms(1).digest == terms(None).digest
    assert "records_per_patient" not in json.loads(terms(None).canonical_bytes())
    assert terms(2).digest != terms(1).digest


def test_which_records_are_kept_does_not_depend_on_their_values() -> None:
    records = visits(40, 3)
    other = Records(
        site="north", patient_keys=records.patient_keys, values={**records.values, "age": records.values["age"][::-1]}
    )
    first = selected_records(records, terms=terms(2), selection=Selection()).values["lactate"]
    second = selected_records(other, terms=terms(2), selection=Selection()).values["lactate"]
    assert np.array_equal(first, second)
