from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.demo.hospitals import HOSPITALS
from site_client.patients import Records
from tests.experiments.studies.reading import read_all


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    return load_study("demo", options={}, seed=42, folder=tmp_path_factory.mktemp("demo"), data=None)


@pytest.fixture(scope="module")
def records(study: PreparedStudy) -> dict[str, Records]:
    return read_all(study)


def test_five_hospitals_of_the_declared_sizes(study: PreparedStudy, records: dict[str, Records]) -> None:
    assert {site: len(read) for site, read in records.items()} == {
        "riverside": 200,
        "lakeside": 150,
        "hillcrest": 105,
        "northgate": 69,
        "seaview": 45,
    }
    assert [site.public_patients for site in study.sites] == [200, 150, 105, 69, 45]
    assert study.ready == ()


def test_every_mapping_gives_back_the_published_numbers(study: PreparedStudy, records: dict[str, Records]) -> None:
    published = load_breast_cancer()
    names = [variable.name for variable in study.definition.contract.variables]
    seen: list[int] = []
    for read in records.values():
        rows = np.array([int(key.rsplit("-", 1)[1]) for key in read.patient_keys])
        seen += rows.tolist()
        for column, name in enumerate(names):
            np.testing.assert_allclose(read.values[name], published["data"][rows, column], rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(read.values["malignant"], published["target"][rows] == 0)
    assert sorted(seen) == list(range(569))


def test_names_of_the_contract_are_the_published_features(study: PreparedStudy) -> None:
    published = [str(name) for name in load_breast_cancer()["feature_names"]]
    for variable, name in zip(study.definition.contract.variables, published, strict=True):
        statistic, _, quantity = variable.name.partition("_")
        expected = (
            f"{quantity.replace('_', ' ')} error"
            if statistic == "error"
            else f"{statistic} {quantity.replace('_', ' ')}"
        )
        assert expected == name


def test_case_mix_differs_as_described(records: dict[str, Records]) -> None:
    prevalence = {site: read.values["malignant"].mean() for site, read in records.items()}
    radius = {site: read.values["mean_radius"].mean() for site, read in records.items()}
    assert prevalence["hillcrest"] > 0.6 > prevalence["lakeside"] > prevalence["riverside"] - 0.05
    assert max(radius, key=radius.__getitem__) == "hillcrest"


@pytest.mark.parametrize("seed", [42, 43, 44, 45, 46])
def test_every_hospital_has_both_outcomes_to_train_and_test_on(seed: int, tmp_path: Path) -> None:
    for read in read_all(load_study("demo", options={}, seed=seed, folder=tmp_path, data=None)).values():
        positive = int(read.values["malignant"].sum())
        assert positive >= 5
        assert len(read) - positive >= 5


def test_few_values_lie_outside_their_plausible_range(study: PreparedStudy, records: dict[str, Records]) -> None:
    for read in records.values():
        for variable in study.definition.contract.variables:
            values = read.values[variable.name]
            outside = (values < variable.minimum) | (values > variable.maximum)
            assert outside.mean() <= variable.maximum_out_of_range_fraction


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    def files(seed: int, folder: str) -> list[bytes]:
        load_study("demo", options={}, seed=seed, folder=tmp_path / folder, data=None)
        return [(tmp_path / folder / hospital.site / "aspirates.csv").read_bytes() for hospital in HOSPITALS]

    first = files(42, "a")
    assert first == files(42, "b")
    assert all(one != other for one, other in zip(first, files(43, "c"), strict=True))
