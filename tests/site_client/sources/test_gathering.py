from __future__ import annotations

import numpy as np
import pytest

from federation.errors import PatientKeyError
from site_client.sources import gathering
from tests.site_client.small_site import ROWS, TODAY, contract, mapping, read, source, write


def test_chunks_do_not_show(tmp_path, monkeypatch):
    rows = [f"p{number},2021-01-01,{20 + number % 80},{100 + number},m,1,1,{number % 2}" for number in range(23)]
    write(tmp_path, rows)
    whole = read(tmp_path)
    monkeypatch.setattr(gathering, "_CHUNK_ROWS", 4)
    pieces = read(tmp_path)
    np.testing.assert_array_equal(pieces.patient_keys, whole.patient_keys)
    np.testing.assert_array_equal(pieces.index_dates, whole.index_dates)
    for name, column in whole.values.items():
        np.testing.assert_array_equal(pieces.values[name], column)
    assert whole.patient_keys[22] == "p22"


def test_rows_without_a_patient_are_counted_and_left_out(tmp_path):
    write(tmp_path, [",2021-01-01,50,200,m,1,1,0", *ROWS, "  ,2021-01-01,50,200,m,1,1,0"])
    found = source(tmp_path).survey(contract(), today=TODAY)
    assert found.records.patient_keys.tolist() == ["a", "b", "c", "d"]
    (problem,) = found.problems
    assert isinstance(problem, PatientKeyError)
    assert "2 rows without one" in problem.message


@pytest.mark.parametrize(("months", "whole"), [("720", True), ("726", False)])
def test_a_converted_integer_must_be_whole(tmp_path, months, whole):
    write(tmp_path, [f"a,2021-03-01,{months},233,m,1,1,0"])
    through = mapping(variables={"age": {"column": "age", "unit": "month"}})
    found = source(tmp_path, through=through).survey(contract(), today=TODAY)
    assert (found.records.values["age"][0] == 60) == whole
    assert found.unreadable_values["age"] == (0 if whole else 1)


def test_a_contract_without_index_date_needs_none(tmp_path):
    write(tmp_path)
    assert read(tmp_path, of=contract(index_date=None), through=mapping(index_date=None)).index_dates is None


def test_a_missing_date_is_missing_and_no_problem_yet(tmp_path):
    write(tmp_path, [*ROWS, "e,,50,200,m,1,1,0"])
    found = source(tmp_path).survey(contract(), today=TODAY)
    assert found.problems == ()
    assert np.isnat(found.records.index_dates).tolist() == [False] * 4 + [True]
