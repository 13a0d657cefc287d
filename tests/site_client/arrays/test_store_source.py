"""What a store holds becomes a study's records: in the right order, encoded by public facts, with every bad array counted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from federation.data.contract import DataContract
from federation.errors import CohortiumError, InternalError, ManifestError, MappingError, RecordsUnreadableError
from site_client.arrays.streamed import StreamedRows
from site_client.data_profile import profile
from site_client.extraction import check, extract
from site_client.patient_files import read_patients, write_patients
from site_client.sources.mapping import SiteMapping
from site_client.sources.source import survey
from site_client.sources.tables import TableSource
from tests.site_client.arrays.small_store import AGE, COHORT, DOSE, ECG, SCAN, contract, mapping, write_small_store

TODAY = dt.date(2026, 1, 1)


def extracted(folder: Path, agreed: DataContract, **changes: object):
    task = "segmentation" if agreed.outcome.kind == "mask" else "binary"
    return extract(
        TableSource(mapping(agreed), folder=folder),
        site="hillcrest", contract=agreed, definition=COHORT, task=task, today=TODAY, **changes,
    )  # fmt: skip


def test_arrays_and_table_are_encoded_side_by_side_in_the_contracts_order(tmp_path: Path) -> None:
    agreed = contract(DOSE, ECG, AGE)
    stored = write_small_store(tmp_path / "store", agreed)
    data = extracted(tmp_path, agreed).data
    features = np.concatenate([data.training.features[:], data.test.features[:]])
    assert data.training.feature_names[:4] == ("dose=middle", "dose=high", "ecg[0]", "ecg[1]")
    assert len(data.training.feature_names) == features.shape[1] == 2 + 24 + 1
    expected = np.clip(stored["ecg"].reshape(40, 24) / 5.0, -1, 1)
    # Every stored array is there once, whatever the order of the patients.
    order, found = np.argsort(expected.sum(axis=1)), np.argsort(features[:, 2:26].sum(axis=1))
    np.testing.assert_allclose(features[found, 2:26], expected[order], rtol=1e-6, atol=1e-6)


def test_rows_of_a_patient_and_its_table_stay_together(tmp_path: Path) -> None:
    agreed = contract(AGE, SCAN)
    stored = write_small_store(tmp_path / "store", agreed)
    data = extracted(tmp_path, agreed).data
    ages = (tmp_path / "store/records.csv").read_text().splitlines()[1:]
    age_of = {f"{(float(line.split(',')[1]) - 50) / 50:.4f}": row for row, line in enumerate(ages)}
    for part in (data.training, data.test):
        for row in range(part.num_records):
            record = part.features[row : row + 1][0]
            source = age_of[f"{record[0]:.4f}"]
            np.testing.assert_allclose(record[1:], np.clip(stored["scan"][source].ravel() / 50 - 1, -1, 1), atol=1e-6)
            assert part.outcomes[row] == source // 2 % 2


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "uint16"])
def test_whole_numbers_are_read_as_the_values_that_they_mean(tmp_path: Path, dtype: str) -> None:
    agreed = contract(SCAN)
    stored = write_small_store(tmp_path / "store", agreed, dtype=dtype)
    features = extracted(tmp_path, agreed).data.training.features[:]
    values = {f"{value:.4f}" for value in np.clip(stored["scan"].astype(float).ravel() / 50 - 1, -1, 1)}
    assert {f"{value:.4f}" for value in features.ravel()} <= values


def test_missing_unreadable_and_implausible_arrays_are_counted_apart_and_left_out(tmp_path: Path) -> None:
    agreed = contract(SCAN)
    write_small_store(tmp_path / "store", agreed, cells={3: "", 4: "-1", 5: "-1", 6: "-2"})
    source = TableSource(mapping(agreed), folder=tmp_path)
    found = check(source, site="hillcrest", contract=agreed, definition=COHORT, today=TODAY)
    (scan,) = [entry for entry in found.report.variables if entry.variable == "scan"]
    assert (scan.missing, scan.unreadable_values, scan.out_of_range) == (1, 2, 1)
    assert found.report.passed
    steps = {step.step: step.records for step in found.report.attrition}
    assert (steps["records read"], steps["scan present"]) == (40, 36)
    shown = profile(survey(source, agreed, today=TODAY), contract=agreed)
    (scan,) = [entry for entry in shown.variables if entry.variable == "scan"]
    assert (scan.kind, scan.patients, scan.missing, scan.unreadable_values, scan.out_of_range) == ("image", 19, 1, 2, 1)
    assert not scan.quantiles
    assert not scan.levels


def test_too_many_implausible_arrays_fail_the_readiness_check(tmp_path: Path) -> None:
    agreed = contract(SCAN)
    write_small_store(tmp_path / "store", agreed, cells=dict.fromkeys(range(8), "-2"))
    report = check(
        TableSource(mapping(agreed), folder=tmp_path), site="hillcrest", contract=agreed, definition=COHORT, today=TODAY
    ).report
    assert [problem.error for problem in report.problems] == ["ImplausibleValueError"]


def test_a_file_of_patients_holds_row_numbers_and_reads_the_same_records(tmp_path: Path) -> None:
    agreed = contract(AGE, SCAN, outcome={"name": "shape", "kind": "mask", "height": 8, "width": 8})
    write_small_store(tmp_path / "store", agreed)
    data = extracted(tmp_path, agreed).data
    write_patients(tmp_path / "patients.safetensors", data)
    again = read_patients(tmp_path / "patients.safetensors")
    assert again.training.feature_names == data.training.feature_names
    for part, same in ((data.training, again.training), (data.test, again.test)):
        np.testing.assert_array_equal(part.features[:], same.features[:])
        np.testing.assert_array_equal(part.outcomes[:], same.outcomes[:])
        np.testing.assert_array_equal(part.patient_index, same.patient_index)
    assert set(np.unique(data.training.outcomes[:])) == {0.0, 1.0}
    assert (tmp_path / "patients.safetensors").stat().st_size < (tmp_path / "store/scan.npy").stat().st_size


@pytest.mark.parametrize("name", ["scan.npy", "records.csv", "store.json"])
@pytest.mark.parametrize("fault", ["flip", "cut", "gone"])
def test_a_store_that_was_changed_is_refused(tmp_path: Path, name: str, fault: str) -> None:
    agreed = contract(SCAN)
    write_small_store(tmp_path / "store", agreed)
    path = tmp_path / "store" / name
    content = path.read_bytes()
    match fault:
        case "flip":
            path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case _:
            path.unlink()
    with pytest.raises(CohortiumError) as refused:
        extracted(tmp_path, agreed)
    assert isinstance(refused.value, RecordsUnreadableError)


def test_patients_whose_store_was_changed_since_are_refused(tmp_path: Path) -> None:
    agreed = contract(SCAN)
    write_small_store(tmp_path / "store", agreed)
    write_patients(tmp_path / "patients.safetensors", extracted(tmp_path, agreed).data)
    path = tmp_path / "store/scan.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RecordsUnreadableError, match="were imported"):
        read_patients(tmp_path / "patients.safetensors")


@pytest.mark.parametrize("row", ["40", "1.5", "1e300"])
def test_a_row_that_the_file_has_not_is_refused(tmp_path: Path, row: str) -> None:
    agreed = contract(SCAN)
    write_small_store(tmp_path / "store", agreed, cells={3: row})
    with pytest.raises(CohortiumError):
        extracted(tmp_path, agreed)


def test_another_shape_or_unit_than_the_contracts_is_refused(tmp_path: Path) -> None:
    write_small_store(tmp_path / "store", contract(SCAN))
    for change in ({"height": 4, "width": 16}, {"unit": "HU"}):
        with pytest.raises(RecordsUnreadableError, match="expected arrays of"):
            extracted(tmp_path, contract(SCAN | change))


def test_an_array_in_a_plain_table_is_refused_with_the_way_out(tmp_path: Path) -> None:
    agreed = contract(SCAN)
    write_small_store(tmp_path / "store", agreed)
    plain = mapping(agreed).as_data() | {"source": {"kind": "csv", "path": "store/records.csv"}}
    source = TableSource(SiteMapping.from_data(plain, error=MappingError), folder=tmp_path)
    with pytest.raises(MappingError, match="kind 'store'"):
        source.read(agreed, today=TODAY)


def test_streamed_features_are_never_had_as_a_whole(tmp_path: Path) -> None:
    agreed = contract(SCAN)
    write_small_store(tmp_path / "store", agreed)
    data = extracted(tmp_path, agreed).data
    assert isinstance(data.training.features, StreamedRows)
    with pytest.raises(InternalError):
        data.training.in_memory  # noqa: B018 - the access is what is tested
    with pytest.raises((TypeError, InternalError)):
        np.asarray(data.training.features, dtype=np.float32)
    with pytest.raises(InternalError):
        extracted(tmp_path, agreed, preprocessing="site_standardised")


@pytest.mark.parametrize(
    ("variables", "outcome"),
    [
        ([SCAN | {"missing": {"rule": "impute", "value": 0}}], None),
        ([SCAN | {"minimum": 100}], None),
        ([SCAN | {"height": 60_000, "width": 60_000}], None),
        ([SCAN], ECG),
        ([{"name": "shape", "kind": "mask", "height": 8, "width": 8}], None),
    ],
)
def test_a_contract_that_no_array_could_keep_is_refused(variables: list[dict], outcome: dict | None) -> None:
    with pytest.raises(ManifestError):
        contract(*variables, outcome=outcome)
