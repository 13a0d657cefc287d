"""An import makes a store that studies read, or nothing at all; memory holds one picture; what is bad is named or counted."""

from __future__ import annotations

import csv
import datetime as dt
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.errors import (
    CohortiumError,
    InvalidInputError,
    ManifestError,
    MappingError,
    PrivacyRefusedError,
    RecordsUnreadableError,
)
from site_client.commands import app
from site_client.extraction import extract
from site_client.images.imported import ImportChoice, ImportReport
from site_client.images.importing import image_variables, import_images
from site_client.images.labels import file_columns, read_labels
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource
from tests.site_client.arrays.small_store import ECG
from tests.site_client.images.dicom_files import NAME, content, of_unknown_syntax, write

SCAN = {
    "name": "scan", "kind": "image", "modality": "CT of the head", "channels": 1, "height": 28, "width": 28,
    "minimum": 0, "maximum": 80, "unit": "HU", "maximum_outside_fraction": 0.5,
}  # fmt: skip


def contract(**more: object) -> DataContract:
    return DataContract.from_data(
        {
            "name": "head", "patient_key": "patient", "variables": [SCAN],
            "outcome": {"name": "bleeding", "kind": "binary"}, **more,
        }
    )  # fmt: skip


def hospital(folder: Path, *, patients: int = 12, images: int = 2, **changed: bytes) -> Path:
    """Files, and a table that names them; ``changed`` replaces files by their number: ``f3=b"..."``."""
    generator = np.random.default_rng(0)
    files, lines = {}, ["patient;bleeding;scan"]
    for number in range(patients * images):
        stored = generator.integers(1000, 1120, (28, 28)).astype(np.uint16)
        files[f"f{number}"] = content(stored, RescaleSlope=1, RescaleIntercept=-1024)
        lines.append(f"p{number // images};{number // images % 2};f{number}")
    write(folder / "files", files | changed)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def imported(
    folder: Path, agreed: DataContract | None = None, *, progress: Callable = lambda *_: None, **choice: object
) -> ImportReport:
    agreed = agreed or contract()
    table = read_labels(folder / "labels.csv", delimiter=";")
    return import_images(
        folder / "files",
        table=table,
        columns=file_columns(table, tuple(variable.name for variable in image_variables(agreed)), {}),
        contract=agreed,
        store=folder / "store",
        choice=ImportChoice(**choice),
        progress=progress,
    )


def read(folder: Path):
    mapping = {
        "site": "hillcrest", "source": {"kind": "store", "path": "store"},
        "patient_key": {"column": "patient", "repeated": True},
        "variables": {"scan": {"column": "scan"}, "bleeding": {"column": "bleeding"}},
    }  # fmt: skip
    return extract(
        TableSource(SiteMapping.from_data(mapping), folder=folder), site="hillcrest", contract=contract(),
        definition=CohortDefinition(provenance="synthetic", max_records_per_patient=5), task="binary",
        today=dt.date(2026, 1, 1),
    )  # fmt: skip


def test_what_is_imported_is_what_the_files_mean_within_the_window(tmp_path: Path) -> None:
    report = imported(hospital(tmp_path))
    assert (report.records, report.arrays[0].imported, report.arrays[0].unreadable) == (24, 24, {})
    found = read(tmp_path)
    features = np.sort(np.concatenate([found.data.training.features[:], found.data.test.features[:]]), axis=None)
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.integers(1000, 1120, (28, 28)) - 1024.0 for _ in range(24)])
    # 16 bits over the range: half a step is 1 / 65535 on the encoded scale.
    np.testing.assert_allclose(features, np.sort(np.clip(values / 40 - 1, -1, 1), axis=None), atol=1.1 / 65535)
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["records.csv", "scan.npy", "store.json"]


def test_neither_file_names_nor_headers_are_kept(tmp_path: Path) -> None:
    imported(hospital(tmp_path))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "store").iterdir())
    assert b"pseudonym-7" not in kept
    with (tmp_path / "store/records.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["scan"] for row in rows] == [str(number) for number in range(24)]
    assert all((path.stat().st_mode & 0o077) == 0 for path in (tmp_path / "store").glob("*.[cj]*"))


def test_one_name_in_the_last_file_stops_everything_before_anything_is_written(tmp_path: Path) -> None:
    folder = hospital(tmp_path, f23=content(PatientName=NAME, PatientBirthDate="19611114", InstitutionName="St Mary"))
    with pytest.raises(PrivacyRefusedError) as refused:
        imported(folder, on_unreadable="count")
    for said in ("InstitutionName (1 file)", "PatientBirthDate (1 file)", "PatientName (1 file)"):
        assert said in str(refused.value)
    for secret in (NAME, "19611114", "St Mary", "f23"):
        assert secret not in str(refused.value)
    assert not (folder / "store").exists()


def test_a_file_that_changes_after_it_was_checked_is_not_imported(tmp_path: Path) -> None:
    folder = hospital(tmp_path)

    def swap(what: str, done: int, total: int) -> None:
        if what == "importing" and done == 5:
            (folder / "files/f20").write_bytes(content(PatientName=NAME))

    with pytest.raises(PrivacyRefusedError, match="PatientName"):
        imported(folder, progress=swap)
    assert not (folder / "store").exists()


BAD = {
    "f1": (content()[:700], "truncated or damaged DICOM file"),
    "f2": (of_unknown_syntax(), "transfer syntax 1.2.840.10008.1.2.4.106"),
    "f3": (b"not an image at all", "neither DICOM, NIfTI-1 nor PNG"),
    "f4": (content(np.zeros((28, 28, 3), dtype=np.uint8), BitsStored=8, HighBit=7), "3 channels"),
}


def test_files_that_cannot_be_used_stop_the_import_with_reasons_and_lines(tmp_path: Path) -> None:
    folder = hospital(tmp_path, **{name: made for name, (made, _) in BAD.items()})
    with pytest.raises(RecordsUnreadableError) as refused:
        imported(folder)
    for _, reason in BAD.values():
        assert reason in str(refused.value)
    assert "lines 3, 4, 5, 6 of the table" in str(refused.value)
    assert not (folder / "store").exists()


def test_or_their_records_are_left_out_and_counted_in_the_attrition_table(tmp_path: Path) -> None:
    bright = content(np.full((28, 28), 3000, dtype=np.uint16))
    folder = hospital(tmp_path, f5=bright, **{name: made for name, (made, _) in BAD.items()})
    report = imported(folder, on_unreadable="count")
    assert (report.arrays[0].imported, sum(report.arrays[0].unreadable.values()), report.arrays[0].implausible) == (
        19,
        4,
        1,
    )
    found = read(folder)
    steps = {step: records for step, records, _ in found.attrition.steps}
    assert (steps["records read"], steps["scan present"]) == (24, 19)
    (scan,) = [entry for entry in found.readiness.variables if entry.variable == "scan"]
    assert (scan.unreadable_values, scan.out_of_range, scan.missing) == (4, 1, 0)
    assert any("truncated" in notice.text for notice in found.readiness.notices)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "link", "x" * 5000, "a\0b"])
def test_nothing_outside_of_the_folder_is_read(tmp_path: Path, name: str) -> None:
    folder = hospital(tmp_path)
    (folder / "secret").write_bytes(content())
    (folder / "files/link").symlink_to(folder / "secret")
    text = (folder / "labels.csv").read_text(encoding="utf-8")
    (folder / "labels.csv").write_text(text.replace(";f3\n", f";{name}\n"), encoding="utf-8")
    report = imported(folder, on_unreadable="count")
    assert report.arrays[0].imported == 23
    assert set(report.arrays[0].unreadable) <= _NO_FILE


_NO_FILE = {"outside of the folder", "no such file", "a file that cannot be opened", "a name that no file can have"}


def test_a_store_is_never_written_over(tmp_path: Path) -> None:
    folder = hospital(tmp_path)
    imported(folder)
    before = {path.name: path.read_bytes() for path in (folder / "store").iterdir()}
    with pytest.raises(InvalidInputError, match="new or empty"):
        imported(folder)
    assert {path.name: path.read_bytes() for path in (folder / "store").iterdir()} == before


def test_memory_holds_one_picture_and_not_all(tmp_path: Path) -> None:
    large = content(np.zeros((256, 256), dtype=np.uint16))
    agreed = contract(variables=[SCAN | {"height": 256, "width": 256}])

    def peak(folder: Path, patients: int) -> int:
        files = {f"f{number}": large for number in range(2 * patients)}
        hospital(folder, patients=patients, **files)
        tracemalloc.start()
        imported(folder, agreed)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(tmp_path / "warm", 2)
    few, many = peak(tmp_path / "few", 5), peak(tmp_path / "many", 100)
    assert many - few < 190 * 256 * 256 * 2 // 20, (few, many)


def test_tables_and_contracts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = hospital(tmp_path)
    with pytest.raises(ManifestError, match="without signals"):
        imported(folder, contract(variables=[SCAN, ECG]))
    with pytest.raises(MappingError, match="--column"):
        file_columns({"patient": [], "file": []}, ("scan",), {})
    with pytest.raises(MappingError):
        file_columns({"scan": [], "file": []}, ("scan",), {"scan": "file"})
    for text in ("", "patient;scan\n", "a;a\n1;2\n", "a;b\n1;2;3\n", 'a;b\n"1;2\n'):
        (folder / "labels.csv").write_text(text, encoding="utf-8")
        with pytest.raises(RecordsUnreadableError):
            read_labels(folder / "labels.csv", delimiter=";")


def run(folder: Path, *words: str):
    (folder / "contract.yaml").write_text(yaml.safe_dump(contract().as_data()), encoding="utf-8")
    return CliRunner().invoke(app, ["images", *words])


def words_of_import(folder: Path) -> list[str]:
    paths = [
        "--table",
        str(folder / "labels.csv"),
        "--contract",
        str(folder / "contract.yaml"),
        "--to",
        str(folder / "store"),
    ]
    return ["import", str(folder / "files"), *paths, "--delimiter", ";"]


def test_the_command_imports_and_says_what_it_did(tmp_path: Path) -> None:
    folder = hospital(tmp_path)
    shown = run(folder, *words_of_import(folder))
    assert shown.exit_code == 0, shown.output
    assert "24 records" in shown.output
    read(folder)
    other = hospital(tmp_path / "other")
    told = json.loads(run(other, *words_of_import(other), "--json").output)
    assert told["arrays"][0]["imported"] == 24


def test_the_commands_refuse_identifying_files_with_their_exit_code(tmp_path: Path) -> None:
    folder = hospital(tmp_path, f7=content(PatientBirthDate="19611114"))
    refused = run(folder, *words_of_import(folder))
    assert isinstance(refused.exception, PrivacyRefusedError)
    assert CohortiumError.exit_code != refused.exception.exit_code == 41
    told = run(folder, "check", str(folder / "files"), "--json")
    assert told.exit_code == 41
    assert json.loads(told.output) == {"files": 24, "stops": {"PatientBirthDate": 1}, "warnings": {}, "unreadable": {}}
    shown = run(folder, "check", str(folder / "files"))
    assert "PatientBirthDate" in shown.output
    assert "19611114" not in shown.output
    (folder / "files/f7").write_bytes(content())
    assert "nothing found" in run(folder, "check", str(folder / "files")).output
