"""What a copy of the process prepared is what this one would have prepared; what fails there fails here."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conf.loading import load_unless_sweep
from experiments.preparation import prepare_sites
from experiments.preparation_process import PreparationProcess, Prepared, PreparedFiles
from experiments.settings import SimulationSettings
from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.loading_process import LoadingProcess
from federation.errors import CohortTooSmallError
from site_client.patients import SiteData
from site_client.sources.tables import TableSource

TODAY = dt.date(2026, 1, 1)


def settings_of(study: str, *words: str) -> SimulationSettings:
    found = load_unless_sweep(SimulationSettings, [f"study={study}", "debug=tiny", *words])
    assert found is not None
    return found


def preparation(folder: Path, study: str = "demo", *words: str) -> Callable[[], Prepared]:
    settings = settings_of(study, *words)

    def prepare() -> Prepared:
        options = {name: value for name, value in settings.study.options.items() if name != "partition_seed"}
        loaded = load_study(study, options=options, seed=0, folder=folder / "hospitals", data=None)
        return loaded, prepare_sites(settings, loaded, seed=1, folder=folder / "patients", today=TODAY)

    return prepare


def assert_same_patients(left: SiteData, right: SiteData) -> None:
    assert left.site == right.site
    for one, other in ((left.training, right.training), (left.test, right.test)):
        assert list(one.feature_names) == list(other.feature_names)
        for name in ("features", "outcomes"):
            first, second = getattr(one, name), getattr(other, name)
            rows = np.arange(len(first))
            np.testing.assert_array_equal(first[rows], second[rows])
            assert first.dtype == second.dtype
        np.testing.assert_array_equal(one.patient_index, other.patient_index)


def assert_same(there: Prepared, here: Prepared) -> None:
    (study, sites), (study_here, sites_here) = there, here
    assert study.definition == study_here.definition
    assert [(entry.site, entry.group, entry.public_patients) for entry in study.sites] == [
        (entry.site, entry.group, entry.public_patients) for entry in study_here.sites
    ]
    assert sites.manifest == sites_here.manifest
    assert sites.attrition == sites_here.attrition
    assert sites.readiness == sites_here.readiness
    assert sites.patient_files == sites_here.patient_files
    assert sites.identities == sites_here.identities
    for left, right in zip(sites.data, sites_here.data, strict=True):
        assert_same_patients(left, right)


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("demo", ()),
        ("demo", ("aggregation=masked",)),
        ("synthetic", ("study.options.task=survival",)),
        ("generated_images", ("study.options.num_sites=2", "study.options.patients_per_site=12")),
    ],
    ids=["tables", "identities", "survival", "images"],
)
def test_the_copy_prepares_what_this_process_would(study: str, words: tuple[str, ...], tmp_path: Path) -> None:
    prepare = preparation(tmp_path, study, *words)
    with PreparationProcess(prepare) as process:
        there, seconds = process.result()
    assert seconds > 0, "it was prepared here"
    assert_same(there, prepare())


def test_the_sources_that_come_back_can_be_read_for_another_seed(tmp_path: Path) -> None:
    settings, prepare = settings_of("demo"), preparation(tmp_path)
    with PreparationProcess(prepare) as process:
        (study, _), _ = process.result()
    again = prepare_sites(settings, study, seed=2, folder=tmp_path / "second", today=TODAY)
    expected = prepare_sites(settings, prepare()[0], seed=2, folder=tmp_path / "expected", today=TODAY)
    assert again.manifest == expected.manifest
    for left, right in zip(again.data, expected.data, strict=True):
        assert_same_patients(left, right)


def test_what_fails_there_fails_here_with_its_own_error() -> None:
    def prepare() -> Prepared:
        raise CohortTooSmallError("expected patients, got none", site="north")

    with PreparationProcess(prepare) as process, pytest.raises(CohortTooSmallError, match="got none"):
        process.result()


@pytest.mark.parametrize(
    "end", [lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGKILL)], ids=["exit", "kill"]
)
@pytest.mark.parametrize("words", [(), ("aggregation=masked", "seeded=false")], ids=["plain", "secret keys"])
def test_a_copy_that_ends_loses_nothing(end: Callable[[], None], words: tuple[str, ...], tmp_path: Path) -> None:
    prepare, here = preparation(tmp_path, "demo", *words), os.getpid()

    def ends_elsewhere() -> Prepared:
        found = prepare()
        if os.getpid() != here:
            end()
        return found

    with PreparationProcess(ends_elsewhere) as process:
        found, seconds = process.result()
    assert seconds == 0
    assert_same(found, prepare())


def test_files_that_are_gone_are_made_again(tmp_path: Path) -> None:
    prepare, here = preparation(tmp_path), os.getpid()

    def removes() -> Prepared:
        found = prepare()
        if os.getpid() != here:
            next(iter(found[1].patient_files.values())).unlink()
        return found

    with PreparationProcess(removes) as process:
        found, seconds = process.result()
    assert seconds == 0
    assert_same(found, prepare())


def test_patients_that_are_held_in_two_ways_are_prepared_here(tmp_path: Path) -> None:
    study, sites = preparation(tmp_path)()
    assert PreparedFiles.of(replace(study, ready=sites.data, ready_pooled=sites.data), sites, seconds=1) is None
    other = replace(study.sites[0], source=_Elsewhere())
    assert PreparedFiles.of(replace(study, sites=(other, *study.sites[1:])), sites, seconds=1) is None


def test_a_division_that_a_study_brings_is_ready_again(tmp_path: Path) -> None:
    study, sites = preparation(tmp_path)()
    files = PreparedFiles.of(replace(study, ready=sites.data), sites, seconds=1)
    assert files is not None
    opened = files.opened()
    assert [data.site for data in opened[0].ready] == [data.site for data in sites.data]
    assert opened[1].pooled_data is opened[1].data


def test_a_study_that_a_copy_loaded_is_the_same(tmp_path: Path) -> None:
    def load() -> PreparedStudy:
        return load_study("demo", options={}, seed=0, folder=tmp_path, data=None)

    with LoadingProcess(load) as loading:
        there = loading.study()
        again = loading.study()  # as a copy asks that comes too late
    for study in (there, again):
        assert study.definition == load().definition
        assert [(entry.site, entry.public_patients) for entry in study.sites] == [
            (entry.site, entry.public_patients) for entry in load().sites
        ]
        assert all(isinstance(entry.source, TableSource) for entry in study.sites)


@pytest.mark.parametrize("is_ready", [False, True])
def test_a_study_that_no_files_hold_is_loaded_here(is_ready: bool, tmp_path: Path) -> None:
    study, sites = preparation(tmp_path)()
    calls: list[int] = []

    def load() -> PreparedStudy:
        calls.append(os.getpid())
        if is_ready:
            return replace(study, ready=sites.data)
        return replace(study, sites=(replace(study.sites[0], source=_Elsewhere()), *study.sites[1:]))

    with LoadingProcess(load) as loading:
        loading.study()
    assert calls == [os.getpid()]


def test_what_fails_to_load_there_fails_here() -> None:
    def load() -> PreparedStudy:
        raise CohortTooSmallError("expected patients, got none", site="north")

    with LoadingProcess(load) as loading, pytest.raises(CohortTooSmallError, match="got none"):
        loading.study()


def test_a_copy_that_is_not_needed_ends_with_its_block() -> None:
    def prepare() -> Prepared:
        time.sleep(60)
        raise AssertionError

    with PreparationProcess(prepare) as process:
        assert process.is_alive
    assert not process.is_alive


class _Elsewhere:
    """Records of no table."""

    def survey(self, *_: object, **__: object) -> object:
        raise AssertionError

    read = survey
