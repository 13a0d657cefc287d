from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conf.loading import load
from experiments.settings import SimulationSettings
from experiments.simulate import simulate
from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.tcga_brca.regions import PUBLISHED_PATIENTS
from federation.data.survival import decode_times
from federation.errors import ConfigurationError, ManifestError, RecordsUnreadableError
from tests.experiments.studies.reading import read_all, usable


@pytest.fixture(scope="module")
def published_data(cohortium_data: Path) -> Path:
    if not (cohortium_data / "fed_tcga_brca").is_dir():
        pytest.skip("COHORTIUM_DATA has no folder 'fed_tcga_brca'")
    return cohortium_data


@pytest.fixture(scope="module")
def default(published_data: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    return load_study("tcga_brca", options={}, seed=1, folder=tmp_path_factory.mktemp("default"), data=published_data)


@pytest.fixture(scope="module")
def flamby(published_data: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    folder = tmp_path_factory.mktemp("flamby")
    options = {"recipe": "flamby", "method": "cox"}
    return load_study("tcga_brca", options=options, seed=1, folder=folder, data=published_data)


def test_every_region_keeps_its_published_patients(default: PreparedStudy) -> None:
    records = read_all(default)
    assert {site: len(read) for site, read in records.items()} == {
        site: sum(parts) for site, parts in PUBLISHED_PATIENTS.items()
    }
    assert all(usable(default, read).all() for read in records.values())
    events = {site: int(read.values["died"].sum()) for site, read in records.items()}
    assert events == {"northeast": 59, "south": 39, "west": 22, "midwest": 19, "europe": 9, "canada": 3}


def test_the_published_identifiers_go_no_further(published_data: Path, tmp_path: Path) -> None:
    load_study("tcga_brca", options={}, seed=1, folder=tmp_path, data=published_data)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 12, "a table and a mapping of each region"
    assert not any("TCGA-" in path.read_text() for path in written)


def test_the_published_division_and_features_as_they_are(flamby: PreparedStudy) -> None:
    sizes = {site.site: (site.training.num_patients, site.test.num_patients) for site in flamby.ready}
    assert sizes == PUBLISHED_PATIENTS
    features = np.concatenate([part.features for site in flamby.ready for part in (site.training, site.test)])
    assert features.shape == (1088, 39)
    assert (features[:, 0].min(), features[:, 0].max()) == (26, 90)
    assert set(np.unique(features[:, 1:])) == {0, 1}
    times, events = decode_times(np.concatenate([site.test.outcomes for site in flamby.ready]))
    assert (times.min(), times.max(), int(events.sum())) == (0, 8605, 32)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"recipe": "flambe"}, ConfigurationError),
        ({"years": []}, ConfigurationError),
        ({"years": [2, 1]}, ManifestError),
        ({"hazards": "logistic"}, ConfigurationError),
    ],
    ids=str,
)
def test_impossible_options(
    options: dict[str, object], error: type[Exception], published_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(error):
        load_study("tcga_brca", options=options, seed=1, folder=tmp_path, data=published_data)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("90", "ninety", 1),
        lambda text: text.partition("\n")[2],
        lambda text: text + "one,two\n",
        lambda text: "\n".join(text.splitlines()[:40]),
        lambda text: text * 60,
        lambda _: "\x00",
    ],
    ids=["text", "no header", "short row", "patients missing", "too large", "no table"],
)
def test_another_table_is_refused_without_its_content(
    spoil: Callable[[str], str], published_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "fed_tcga_brca"
    shutil.copytree(published_data / "fed_tcga_brca", folder)
    table = folder / "brca.csv"
    table.chmod(0o644)
    table.write_text(spoil(table.read_text()))
    with pytest.raises(RecordsUnreadableError, match="tcga_brca") as caught:
        load_study("tcga_brca", options={}, seed=1, folder=tmp_path / "study", data=tmp_path)
    assert "TCGA-" not in str(caught.value)
    assert "ninety" not in str(caught.value)


def test_without_the_files_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnreadableError, match="COHORTIUM_DATA"):
        load_study("tcga_brca", options={}, seed=1, folder=tmp_path, data=None)


@pytest.mark.slow
def test_fedadagrad_reaches_the_goal_over_the_five_published_seeds(published_data: Path, tmp_path: Path) -> None:
    settings = load(
        SimulationSettings,
        [
            "experiment=tcga_brca_flamby",
            "tracking=none",
            "report.bootstrap_samples=20",
            "baselines.pooled.enabled=false",
            "baselines.local_only=false",
        ],
    )
    summary = simulate(settings, output=tmp_path / "study", data=published_data, progress=None)
    assert summary.seeds == (42, 43, 44, 45, 46)
    (row,) = (row for row in summary.settings_table if row.setting == "federated")
    assert row.metrics["concordance"] >= 0.76
    compared = {entry.name: entry for entry in summary.comparisons}
    assert compared["fedadagrad.pooled_test.concordance"].within
