from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from experiments.partition import size_shares
from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.readmission.hospitals import DECEASED_OR_HOSPICE, PartitionedHospital, write_hospitals
from federation.errors import ConfigurationError, RecordsUnreadableError
from federation.privacy.randomness import seeded_streams
from tests.experiments.studies.reading import read_all, usable

HEADER = [
    "encounter_id",
    "patient_nbr",
    "discharge_disposition_id",
    *(f"other_{index}" for index in range(46)),
    "readmitted",
]


def made_up_table(path: Path, *, patients: int = 400) -> Path:
    """Patients with one to three encounters in the shape of the published table; every tenth patient dies."""
    rows = [
        [
            str(1000 * patient + visit),
            str(patient),
            "11" if patient % 10 == 0 else "1",
            *["x"] * 46,
            "<30" if patient % 5 == visit else "NO",
        ]
        for patient in range(patients)
        for visit in range(1 + patient % 3)
    ]
    with gzip.open(path, "wt", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *rows])
    return path


def divide(
    encounters: Path, folder: Path, *, seed: int = 1, max_patients: int | None = None
) -> tuple[PartitionedHospital, ...]:
    return write_hospitals(
        encounters,
        folder=folder,
        shares=size_shares(4, skew=0.5),
        concentration=20.0,
        max_patients=max_patients,
        streams=seeded_streams(seed, provenance="synthetic"),
    )


def rows_of(hospital: PartitionedHospital) -> list[dict[str, str]]:
    with hospital.path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_eligible_patient_is_in_one_hospital_with_all_encounters(tmp_path: Path) -> None:
    hospitals = divide(made_up_table(tmp_path / "table.csv.gz"), tmp_path)
    assert [hospital.site for hospital in hospitals] == ["hospital-01", "hospital-02", "hospital-03", "hospital-04"]
    found = [{row["patient_nbr"] for row in rows_of(hospital)} for hospital in hospitals]
    assert [len(patients) for patients in found] == [hospital.patients for hospital in hospitals]
    assert sum(len(patients) for patients in found) == len(set().union(*found)) == 360
    assert sum(len(rows_of(hospital)) for hospital in hospitals) == sum(
        1 + patient % 3 for patient in range(400) if patient % 10
    )
    assert list(rows_of(hospitals[0])[0]) == HEADER


def test_fewer_patients_on_request_and_the_seed_decides(tmp_path: Path) -> None:
    table = made_up_table(tmp_path / "table.csv.gz")

    def keys(seed: int) -> set[str]:
        hospitals = divide(table, tmp_path / str(seed), seed=seed, max_patients=100)
        return {row["patient_nbr"] for hospital in hospitals for row in rows_of(hospital)}

    assert len(keys(1)) == 100
    assert keys(1) == keys(1)
    assert keys(1) != keys(2)


def test_too_many_hospitals_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 20 patients for each of 4 hospitals, got 70"):
        divide(made_up_table(tmp_path / "table.csv.gz"), tmp_path, max_patients=70)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv.gz"]


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (gzip.compress(b"a;b;c\n1;2;3\n"), "1 columns"),
        (b"not gzip at all", "BadGzipFile"),
        (gzip.compress(b",".join(name.encode() for name in HEADER) + b"\n"), "no eligible patient"),
        (gzip.compress(b",".join(name.encode() for name in HEADER) + b"\n1,2,3\n"), "a row of 3 columns"),
        (gzip.compress(b"\xff\xfe\x00"), "UnicodeDecodeError"),
        (gzip.compress(b"x" * 5000)[:-20], "EOFError"),
    ],
    ids=["one column", "not gzip", "nobody", "short row", "not text", "cut off"],  # gzip bytes hold the time
)
def test_another_file_is_refused_and_nothing_written(content: bytes, got: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv.gz"
    table.write_bytes(content)
    with pytest.raises(
        RecordsUnreadableError, match=f"published comma-separated table of 50 columns in table.csv.gz, got {got}"
    ):
        divide(table, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def study(diabetes130_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    options = {"num_hospitals": 4, "max_patients": 6000}
    folder = tmp_path_factory.mktemp("readmission")
    return load_study("readmission", options=options, seed=42, folder=folder, data=diabetes130_folder.parent)


def test_hospitals_hold_eligible_encounters_only(study: PreparedStudy) -> None:
    records = read_all(study)
    for site in study.sites:
        read = records[site.site]
        assert len(np.unique(read.patient_keys)) == site.public_patients
        assert len(read) > site.public_patients
        assert usable(study, read).mean() > 0.999  # three encounters of unknown sex in the whole table
    assert sum(site.public_patients for site in study.sites) == 6000
    everyone = np.concatenate([np.unique(read.patient_keys) for read in records.values()])
    assert len(np.unique(everyone)) == 6000
    outcome = np.concatenate([read.values["readmitted"] for read in records.values()])
    assert 0.09 < outcome.mean() < 0.14
    assert study.definition.cohort.max_records_per_patient == 4


def test_the_primary_diagnosis_is_grouped_as_published(study: PreparedStudy, diabetes130_folder: Path) -> None:
    diagnosis = study.definition.contract.variable("diagnosis")
    read = np.concatenate([records.values["diagnosis"] for records in read_all(study).values()])
    share = {level: float((read == index).mean()) for index, level in enumerate(diagnosis.levels)}
    counts = dict.fromkeys(diagnosis.levels, 0)
    with gzip.open(diabetes130_folder / "diabetic_data.csv.gz", "rt") as stream:
        for row in csv.DictReader(stream):
            if row["discharge_disposition_id"] not in DECEASED_OR_HOSPICE:
                counts[group(row["diag_1"])] += 1
    total = sum(counts.values())
    for level, count in counts.items():
        assert share[level] == pytest.approx(count / total, abs=0.02)


def group(code: str) -> str:
    """Table 2 of Strack et al. 2014, written once more."""
    whole = code.partition(".")[0]
    if whole == "250":
        return "diabetes"
    if not whole.isdigit():
        return "other"
    number = int(whole)
    for name, ranges in {
        "circulatory": ((390, 459), (785, 785)),
        "respiratory": ((460, 519), (786, 786)),
        "digestive": ((520, 579), (787, 787)),
        "injury": ((800, 999),),
        "musculoskeletal": ((710, 739),),
        "genitourinary": ((580, 629), (788, 788)),
        "neoplasm": ((140, 239),),
    }.items():
        if any(low <= number <= high for low, high in ranges):
            return name
    return "other"
