from __future__ import annotations

from pathlib import Path

import pytest

from experiments.studies.catalogue import load_study, study_names
from federation.errors import ConfigurationError, RecordsUnreadableError

STUDIES = (
    "demo", "early_warning", "ecg_beats", "eicu_mortality", "eicu_stay", "generated_images", "heart_disease", "readmission",
    "synthetic", "tcga_brca",
)  # fmt: skip


def test_the_studies() -> None:
    assert study_names() == STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_readme_with_what_a_reader_needs(name: str, repository: Path) -> None:
    text = (repository / "experiments" / "studies" / name / "README.md").read_text()
    for heading in (
        "**Question.**",
        "**Cohort.**",
        "**Licence.**",
        "**Variables.**",
        "**Heterogeneity.**",
        "**Expected result.**",
        "**Ethics.**",
    ):
        assert heading in text
    assert f"`cohortium simulate study={name}" in text  # the command behind the expected figures


def test_an_unknown_study_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"got 'heart_desease'\n.*did you mean 'heart_disease'"):
        load_study("heart_desease", options={}, seed=1, folder=tmp_path, data=None)


@pytest.mark.parametrize(
    ("name", "option", "nearest"),
    [
        ("heart_disease", "recip", "recipe"),
        ("readmission", "num_hospital", "num_hospitals"),
        ("synthetic", "heterogenity", "heterogeneity"),
    ],
)
def test_an_unknown_option_names_the_nearest(name: str, option: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"did you mean '{nearest}'"):
        load_study(name, options={option: 1}, seed=1, folder=tmp_path, data=None)


def test_the_demo_has_no_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="num_sites: Extra inputs are not permitted"):
        load_study("demo", options={"num_sites": 5}, seed=1, folder=tmp_path, data=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file"),
    [("heart_disease", "heart_disease/processed.va.data"), ("readmission", "diabetes130/diabetic_data.csv.gz")],
)
def test_absent_records_name_the_variable_and_the_file(name: str, file: str, tmp_path: Path) -> None:
    with pytest.raises(RecordsUnreadableError, match=f"(?s){file}.*no COHORTIUM_DATA.*set COHORTIUM_DATA.*README"):
        load_study(name, options={}, seed=1, folder=tmp_path, data=None)
    with pytest.raises(RecordsUnreadableError, match=f"{file}.*COHORTIUM_DATA={tmp_path}, got no such file"):
        load_study(name, options={}, seed=1, folder=tmp_path, data=tmp_path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("readmission", {"num_hospitals": 0}),
        ("readmission", {"alpha": 0}),
        ("synthetic", {"patients_per_site": 1}),
        ("synthetic", {"missing_fraction": 1.5}),
        ("heart_disease", {"recipe": "flambi"}),
    ],
)
def test_an_impossible_option_names_path_and_value(name: str, options: dict[str, object], tmp_path: Path) -> None:
    ((key, value),) = options.items()
    with pytest.raises(ConfigurationError, match=rf"{key}: .*got {value!r}"):
        load_study(name, options=options, seed=1, folder=tmp_path, data=None)
