"""Outcomes in time, from a site's table to encoded patients: what is an error, what is left out and counted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.data.survival import decode_times, encode_times
from federation.errors import ImplausibleValueError, InternalError, ManifestError, RecordsError
from site_client.extraction import ExtractionResult, check, extract
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource

TODAY = dt.date(2024, 6, 1)
VARIABLES = [{"name": "age", "kind": "integer", "unit": "year", "minimum": 18, "maximum": 110}]
OUTCOME = {"name": "days", "kind": "time_to_event", "unit": "day", "maximum": 4000, "event": "died"}
GOOD = [("60", "12", "1", "0"), ("40", "400", "0", "0"), ("70", "0", "1", "0"), ("50", "90.5", "0", "30")]


def _contract(**changes: Any) -> DataContract:
    return DataContract.from_data(
        {"name": "c", "patient_key": "patient", "variables": VARIABLES, "outcome": OUTCOME | changes}
    )


def _source(folder: Path, rows: list[tuple[str, str, str, str]], *, entry: bool) -> TableSource:
    lines = [f"p{number},{','.join(row)}" for number, row in enumerate(rows)]
    (folder / "table.csv").write_text("patient,age,t,e,start\n" + "\n".join(lines) + "\n")
    variables: dict[str, Any] = {
        "age": {"column": "age", "unit": "year"},
        "days": {"column": "t", "unit": "day"},
        "died": {"column": "e"},
    }
    if entry:
        variables["entered"] = {"column": "start", "unit": "day"}
    mapping = {
        "site": "st_mary",
        "source": {"kind": "csv", "path": "table.csv"},
        "patient_key": {"column": "patient"},
        "variables": variables,
    }
    return TableSource(SiteMapping.from_data(mapping), folder=folder)


def _extracted(folder: Path, rows: list[tuple[str, str, str, str]], **changes: Any) -> ExtractionResult:
    contract = _contract(**changes)
    cohort = CohortDefinition(provenance="synthetic", test_fraction=0.5, minimum_patients=2)
    source = _source(folder, rows, entry="entry" in changes)
    return extract(source, site="st_mary", contract=contract, definition=cohort, task="survival", today=TODAY)


def _all_outcomes(result: ExtractionResult) -> list[float]:
    return sorted([*result.data.training.outcomes.tolist(), *result.data.test.outcomes.tolist()])


def test_times_and_events_become_one_number(tmp_path: Path) -> None:
    assert _all_outcomes(_extracted(tmp_path, GOOD)) == [-401, -91.5, 1, 13]


def test_time_counts_from_entry(tmp_path: Path) -> None:
    assert _all_outcomes(_extracted(tmp_path, GOOD, entry="entered")) == [-401, -61.5, 1, 13]


def test_an_event_before_entry_is_left_out_and_counted(tmp_path: Path) -> None:
    result = _extracted(tmp_path, [*GOOD, ("44", "10", "1", "11")], entry="entered")
    assert ("days not before entered", 4, 4) in result.attrition.steps
    assert len(_all_outcomes(result)) == 4


def test_negative_and_too_long_times_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*GOOD, ("44", "-3", "1", "0"), ("45", "4001", "1", "0")]
    result = _extracted(tmp_path, rows, maximum_out_of_range_fraction=0.5)
    assert ("days present", 4, 4) in result.attrition.steps


def test_a_missing_event_is_left_out_and_counted(tmp_path: Path) -> None:
    result = _extracted(tmp_path, [*GOOD, ("44", "7", "", "0")])
    assert ("died present", 4, 4) in result.attrition.steps


@pytest.mark.parametrize(
    ("row", "rule", "error"),
    [
        (("44", "-3", "1", "0"), {"out_of_range": "forbid"}, ImplausibleValueError),
        (("44", "-3", "1", "0"), {"maximum_out_of_range_fraction": 0.0}, ImplausibleValueError),
        (("44", "7", "", "0"), {"missing": {"rule": "forbid"}}, RecordsError),
        (("44", "", "1", "0"), {"missing": {"rule": "forbid"}}, RecordsError),
        (("44", "7", "2", "0"), {}, RecordsError),
    ],
    ids=["negative, forbidden", "too many negative", "missing event", "missing time", "unknown code"],
)
def test_what_a_contract_forbids_stops_the_site_without_a_patients_value(
    row: tuple[str, str, str, str], rule: dict[str, Any], error: type[RecordsError], tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        _extracted(tmp_path, [*GOOD, row], **rule)
    assert "p4" not in str(caught.value)


def test_a_site_without_an_event_is_told_so(tmp_path: Path) -> None:
    contract, rows = _contract(), [(age, time, "0", start) for age, time, _, start in GOOD]
    cohort = CohortDefinition(provenance="synthetic", test_fraction=0.5, minimum_patients=2)
    found = check(
        _source(tmp_path, rows, entry=False), site="st_mary", contract=contract, definition=cohort, today=TODAY
    )
    assert [notice.kind for notice in found.report.notices] == ["one_class"]


@pytest.mark.parametrize(
    "outcome",
    [
        {"event": "age"},
        {"event": "days"},
        {"maximum": 0},
        {"missing": {"rule": "impute", "value": 3}},
        {"out_of_range": "clip"},
        {"entry": "died"},
    ],
    ids=str,
)
def test_impossible_outcomes_are_no_contract(outcome: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        _contract(**outcome)


def test_an_outcome_in_time_is_no_feature() -> None:
    with pytest.raises(ManifestError):
        DataContract.from_data(
            {"name": "c", "patient_key": "p", "variables": [OUTCOME], "outcome": {"name": "y", "kind": "binary"}}
        )


def test_encoding_undone_and_refused() -> None:
    contract, time = _contract(), np.array([0.0, 3.0, 3999.0])
    encoded = encode_times(contract, {"days": time, "died": np.array([1.0, 0.0, 1.0])})
    back, events = decode_times(encoded)
    assert back.tolist() == time.tolist()
    assert events.tolist() == [True, False, True]
    for bad in (np.array([-1.0, 1, 1]), np.array([np.nan, 1, 1])):
        with pytest.raises(InternalError):
            encode_times(contract, {"days": bad, "died": np.ones(3)})
