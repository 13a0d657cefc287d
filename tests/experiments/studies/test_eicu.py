"""The eICU studies: joined tables, codes of -1, stays that end before they begin, and what may be an input."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.eicu_stay.study import BANDS
from federation.errors import ConfigurationError, RecordsError, RecordsUnreadableError
from site_client.extraction import check, select
from tests.experiments.studies.made_up_eicu import stay, write
from tests.experiments.studies.reading import TODAY, read_all, usable


def prepared(name: str, tmp_path: Path, stays: list[dict[str, dict[str, str]]], **options: object) -> PreparedStudy:
    data = write(tmp_path / "data", stays)
    return load_study(name, options={"minimum_patients": 2, **options}, seed=1, folder=tmp_path / "sites", data=data)


@pytest.mark.parametrize(("sites", "names"), [("region", ["south", "unrecorded", "west"]), ("hospital", ["hospital-0001", "hospital-0002", "hospital-0000"])])  # fmt: skip
def test_regions_or_hospitals_are_the_sites(sites: str, names: list[str], tmp_path: Path) -> None:
    study = prepared("eicu_mortality", tmp_path, [stay(n) for n in range(30)], sites=sites)
    assert [site.site for site in study.sites] == names
    assert {site.group for site in study.sites} == {"west", "south", "unrecorded"}
    assert [len(records) for records in read_all(study).values()] == [10, 10, 10]


def test_small_hospitals_of_a_region_are_put_together(tmp_path: Path) -> None:
    rows = [stay(n, hospitalid=str(n % 12)) for n in range(60)]
    study = prepared("eicu_mortality", tmp_path, rows, sites="hospital", minimum_patients=10)
    # Regions have four hospitals of five patients each: 0, 3, 6, 9 and so on.
    assert [site.site for site in study.sites] == [f"hospital-000{n}" for n in (1, 7, 2, 8, 0, 6)]
    assert [site.public_patients for site in study.sites] == [10] * 6
    uneven = prepared("eicu_mortality", tmp_path / "b", rows[:-12], sites="hospital", minimum_patients=10)
    assert [site.public_patients for site in uneven.sites] == [16] * 3


def test_a_code_of_minus_one_is_missing_and_counts_as_normal(tmp_path: Path) -> None:
    study = prepared("eicu_mortality", tmp_path, [stay(n) for n in range(30)])
    for records in read_all(study).values():
        assert (records.values["heart_rate_high"] == 31).all()
        assert (records.values["leucocytes_low"] == 0).all()
        assert (records.values["sodium_low"] == 0).all()
        assert (records.values["coma_score"] == 15).all()
        assert usable(study, records).all()


def test_a_distance_is_from_the_nearer_end_of_the_normal_range(tmp_path: Path) -> None:
    rows = [stay(n, sodium="120" if n % 2 else "160", glucose="40", verbal="-1") for n in range(30)]
    study = prepared("eicu_mortality", tmp_path, rows)
    values = read_all(study)["west"].values
    assert set(values["sodium_low"]) == {0.0, 15.0}
    assert set(values["sodium_high"]) == {0.0, 6.0}
    assert (values["glucose_low"] == 20).all()
    assert np.isnan(values["coma_score"]).all()


def test_no_score_and_no_prediction_of_apache_is_an_input(tmp_path: Path) -> None:
    for name in ("eicu_mortality", "eicu_stay"):
        contract = prepared(name, tmp_path / name, [stay(n) for n in range(30)]).definition.contract
        text = " ".join(variable.name for variable in contract.variables)
        assert not any(word in text for word in ("apache", "score_", "died", "stay", "band", "predicted", "discharge"))


def test_a_missing_prediction_excludes_nobody_and_stands_beside(tmp_path: Path) -> None:
    study = prepared("eicu_mortality", tmp_path, [stay(n) for n in range(30)])
    (apache,) = study.definition.beside
    contract = study.definition.contract
    wider = contract.model_copy(update={"variables": (*contract.variables, apache)})
    records = study.sites[0].source.read(wider, today=TODAY)
    assert np.isnan(records.values["apache_mortality"]).sum() == 2
    assert len(select(records, contract=wider, definition=study.definition.cohort).records) == len(records)


@pytest.mark.parametrize(
    ("study_name", "options", "changes"),
    [
        ("eicu_stay", {}, {"unitdischargeoffset": "-60"}),
        ("eicu_stay", {"predicts": "count"}, {"unitdischargeoffset": "-1500"}),
        ("eicu_stay", {"predicts": "quantiles"}, {"unitdischargeoffset": "-1440"}),
        ("eicu_stay", {"stay": "hospital"}, {"hospitaldischargeoffset": "-1500"}),
        ("eicu_stay", {"stay": "hospital", "predicts": "time"}, {"hospitaldischargeoffset": "-1500"}),
        ("eicu_mortality", {}, {"unitdischargeoffset": "-60"}),
        ("eicu_mortality", {}, {"hospitaldischargeoffset": "-1500"}),
    ],
)
def test_a_discharge_before_the_admission_is_left_out_and_counted(
    study_name: str, options: dict[str, object], changes: dict[str, str], tmp_path: Path
) -> None:
    rows = [stay(n, **(changes if n == 3 else {})) for n in range(45)]
    study = prepared(study_name, tmp_path, rows, **options)
    (west,) = [site for site in study.sites if site.site == "west"]
    found = check(
        west.source, site="west", contract=study.definition.contract, definition=study.definition.cohort, today=TODAY
    )
    found.report.raise_if_failed()
    assert found.cohort is not None
    assert len(found.cohort.records) == 14
    before = 15
    steps = {label: left for label, left, _ in found.cohort.attrition.steps}
    (outcome,) = [label for label in steps if label.startswith(study.definition.contract.outcome.name)]
    assert steps[outcome] == before - 1


def test_many_stays_that_end_before_they_begin_stop_the_site(tmp_path: Path) -> None:
    rows = [stay(n, **({"unitdischargeoffset": "-60"} if n % 2 else {})) for n in range(30)]
    study = prepared("eicu_stay", tmp_path, rows, predicts="quantiles")
    site = study.sites[0]
    found = check(
        site.source, site=site.site, contract=study.definition.contract, definition=study.definition.cohort, today=TODAY
    )
    with pytest.raises(RecordsError, match="unit_stay"):
        found.report.raise_if_failed()


def test_of_a_patient_with_several_stays_one_counts(tmp_path: Path) -> None:
    rows = [stay(n, uniquepid=f"p-{n // 2 * 2}", hospitalid="0") for n in range(20)]
    study = prepared("eicu_mortality", tmp_path, rows)
    (site,) = study.sites
    records = site.source.read(study.definition.contract, today=TODAY)
    cohort = select(records, contract=study.definition.contract, definition=study.definition.cohort)
    assert (site.public_patients, len(records), len(cohort.records)) == (10, 20, 10)
    assert cohort.attrition.steps[-1] == ("at most 1 record(s) per patient", 10, 10)


def test_bands_days_and_hours_agree(tmp_path: Path) -> None:
    minutes = {0: 700, 3: 1440, 6: 5761, 9: 12959, 12: 30000}
    rows = [stay(n, unitdischargeoffset=str(minutes.get(n, 2160))) for n in range(30)]
    study = prepared("eicu_stay", tmp_path, rows)
    contract = study.definition.contract
    wider = contract.model_copy(update={"variables": (*contract.variables, *study.definition.beside)})
    records = study.sites[-1].source.read(wider, today=TODAY)
    bands = [BANDS[int(band)] for band in records.values["unit_band"][:5]]
    assert bands == ["day 1", "day 2", "days 5-6", "days 7-9", "day 15 on"]
    assert records.values["unit_stay"][:5].tolist() == [minutes[n] / 1440 for n in minutes]
    assert (records.values["admission_hour"] == 13.5).all()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"not gzip", "BadGzipFile"),
        (gzip.compress(b"other,columns\n1,2\n"), "no rows with its key"),
        (gzip.compress(b"hospitalid,region\n1\n"), "a row of another length"),
        (gzip.compress(b"\xff\xfe"), "UnicodeDecodeError"),
        (gzip.compress(b"hospitalid,region\n" + b"1,x\n" * 500)[:-12], "EOFError"),
    ],
    ids=["not gzip", "other table", "short row", "not text", "cut off"],
)
def test_another_table_is_refused(content: bytes, got: str, tmp_path: Path) -> None:
    data = write(tmp_path, [stay(n) for n in range(6)])
    (data / "eicu_demo" / "hospital.csv.gz").write_bytes(content)
    with pytest.raises(RecordsUnreadableError, match=rf"eICU demo 2\.0\.1 in hospital\.csv\.gz, got {got}"):
        load_study("eicu_mortality", options={}, seed=1, folder=tmp_path / "sites", data=data)


def test_sites_that_are_too_small_are_said(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnreadableError, match="at least 50 patients, got at most 10"):
        prepared("eicu_mortality", tmp_path, [stay(n) for n in range(30)], minimum_patients=50)


@pytest.mark.parametrize(
    ("name", "options"), [("eicu_mortality", {"sites": "ward"}), ("eicu_stay", {"predicts": "days"}), ("eicu_stay", {"minimum_patients": 1})]
)  # fmt: skip
def test_an_impossible_option_names_path_and_value(name: str, options: dict[str, object], tmp_path: Path) -> None:
    ((key, value),) = options.items()
    with pytest.raises(ConfigurationError, match=rf"{key}: .*got {value!r}"):
        load_study(name, options=options, seed=1, folder=tmp_path, data=None)


@pytest.fixture(scope="module")
def published(cohortium_data: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    if not (cohortium_data / "eicu_demo").is_dir():
        pytest.skip("COHORTIUM_DATA has no folder 'eicu_demo'")
    return load_study("eicu_mortality", options={}, seed=1, folder=tmp_path_factory.mktemp("eicu"), data=cohortium_data)


def test_the_published_files_give_the_readmes_numbers(published: PreparedStudy) -> None:
    records = read_all(published)
    assert list(records) == ["midwest", "northeast", "south", "unrecorded", "west"]
    assert sum(len(found) for found in records.values()) == 1838
    assert sum(site.public_patients for site in published.sites) == 1515
    assert sum(int(found.values["died"].sum()) for found in records.values()) == 155
    cohorts = [
        select(found, contract=published.definition.contract, definition=published.definition.cohort).records
        for found in records.values()
    ]
    assert sum(len(cohort) for cohort in cohorts) == 1512
