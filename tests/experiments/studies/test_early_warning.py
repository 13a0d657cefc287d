"""The generated study: files of every format, known onsets, and a private, masked run judged by its alarms."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conf.loading import load
from experiments.settings import SimulationSettings
from experiments.simulate import simulate
from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.early_warning.files import FORMATS, START
from federation.errors import CheckpointError, ConfigurationError

OPTIONS = {"num_hospitals": 4, "patients_per_hospital": 8}
HORIZON, STRIDE = 8 * 3600, 2 * 3600


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedStudy, Path]:
    folder = tmp_path_factory.mktemp("early_warning")
    return load_study("early_warning", options=OPTIONS, seed=3, folder=folder, data=None), folder


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_hospitals_record_in_different_formats(prepared: tuple[PreparedStudy, Path]) -> None:
    study, folder = prepared
    for site, kind in zip(study.sites, FORMATS, strict=True):
        recordings = sorted((folder / site.site / "recordings").iterdir())
        assert {path.suffix for path in recordings} == {kind.suffix}
        assert len(recordings) == 8


def test_windows_are_the_recorded_vitals_of_their_patient_and_time(prepared: tuple[PreparedStudy, Path]) -> None:
    _, folder = prepared
    place = folder / "hospital-01"
    arrays = np.load(place / "store" / "vitals.npy", allow_pickle=False)
    checked = 0
    for row in _rows(place / "store" / "records.csv"):
        samples = {line["time"]: line for line in _rows(place / "recordings" / f"{row['patient']}.csv")}
        begin = dt.datetime.fromisoformat(row["window_start"])
        for step in (0, 40, 71):
            line = samples.get((begin + dt.timedelta(minutes=5 * step)).isoformat())
            if line is None or not line["heart_rate"] or not line["temperature"]:
                continue
            array = arrays[int(row["vitals"])]
            assert array[0, step] * 115 + 135 == pytest.approx(float(line["heart_rate"]), abs=1e-3)
            assert array[5, step] * 5.5 + 37.5 == pytest.approx(float(line["temperature"]), abs=1e-3)
            checked += 1
    assert checked > 100


def test_outcomes_follow_the_known_onset(prepared: tuple[PreparedStudy, Path]) -> None:
    study, folder = prepared
    positive = 0
    for site in study.sites:
        onset = {line["patient"]: line["onset"] for line in _rows(folder / site.site / "recordings.csv")}
        for row in _rows(folder / site.site / "store" / "records.csv"):
            known = onset[row["patient"]]
            end = float(row["window_end_seconds"])
            if not known:
                assert (row["deteriorates"], row["onset_seconds"]) == ("0", "")
                continue
            seconds = (dt.datetime.fromisoformat(known) - START).total_seconds()
            assert end <= seconds + 1e-6
            assert row["deteriorates"] == ("1" if seconds - end <= HORIZON else "0")
            positive += row["deteriorates"] == "1"
    assert positive > 10


def test_the_hospitals_depend_on_the_seed_alone(prepared: tuple[PreparedStudy, Path], tmp_path: Path) -> None:
    _, folder = prepared
    load_study("early_warning", options=OPTIONS, seed=3, folder=tmp_path / "same", data=None)
    load_study("early_warning", options=OPTIONS, seed=4, folder=tmp_path / "other", data=None)
    file = Path("hospital-03/store/vitals.npy")
    assert (tmp_path / "same" / file).read_bytes() == (folder / file).read_bytes()
    assert (tmp_path / "other" / file).read_bytes() != (folder / file).read_bytes()


def test_a_second_preparation_imports_nothing_again(prepared: tuple[PreparedStudy, Path]) -> None:
    _, folder = prepared
    store = folder / "hospital-01" / "store" / "store.json"
    before = store.stat().st_mtime_ns
    load_study("early_warning", options=OPTIONS, seed=3, folder=folder, data=None)
    assert store.stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "out"
    overrides = [
        "study=early_warning", "tracking=none", "aggregation=masked", "model.hidden=4", "schedule.rounds=2",
        "schedule.local_steps=1", "study.options.patients_per_hospital=24", "study.options.num_hospitals=3",
        "study.options.onset_probability=0.8", "baselines.local_only=false", "baselines.cyclic=false",
        "baselines.pooled.enabled=false", "baselines.non_private=false", "report.bootstrap_samples=20",
        "study.options.heterogeneity=0.5",
    ]  # fmt: skip
    settings = load(SimulationSettings, overrides)
    summary = simulate(settings, output=folder, data=None, progress=None)
    assert (summary.privacy_kind, summary.epsilon) == ("patient_level", 2.0)
    assert all(0 < spent <= 2.0 for spent in summary.epsilon_spent.values())
    assert json.loads((folder / "seed-42" / "manifest.json").read_text())["manifest"]["aggregation"]["masked"]
    return folder


@pytest.mark.e2e
@pytest.mark.slow
def test_a_private_masked_run_and_its_alarms(finished: Path) -> None:
    from experiments.alarms import alarm_step, alarms_of, finished_model, summary

    model = finished_model(finished)
    masked, opened = (alarms_of(model, finished, is_masked=is_masked) for is_masked in (True, False))
    assert summary(masked, rates=(1.0, 4.0)) == summary(opened, rates=(1.0, 4.0))
    assert np.array_equal(masked.lead, opened.lead)
    _compare_with_stores(masked, finished, step_hours=alarm_step().step_hours)


def _compare_with_stores(curve, folder: Path, *, step_hours: float) -> None:
    """Test patients by the study's own split; how many there are, and how many have an onset, from the files alone."""
    from federation.data.cohort import CohortDefinition
    from site_client.division import digests

    definition = CohortDefinition(provenance="synthetic")
    patients, onsets, windows = set(), set(), 0
    for path in sorted((folder / "hospitals").glob("*/store/records.csv")):
        for row in _rows(path):
            key = row["patient"]
            held_out = digests(np.array([key]), split_key=definition.split_key, purpose="divide")[0] < 0.3 * 2.0**64
            if not held_out:
                continue
            windows += 1
            patients.add(key)
            if row["deteriorates"] == "1":
                onsets.add(key)
    assert (curve.patients, curve.onsets) == (len(patients), len(onsets))
    assert curve.patient_days == pytest.approx(windows * step_hours / 24)


@pytest.mark.e2e
@pytest.mark.slow
def test_the_command_writes_figures(finished: Path, tmp_path: Path) -> None:
    import typer

    from experiments.alarms import main

    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(finished), "--json", "--aggregation", "open", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["onsets"] >= 5
    assert {path.name for path in tmp_path.iterdir()} == {
        "alarms.json", "lead_times.png", "lead_times.svg", "sensitivity.png", "sensitivity.svg",
    }  # fmt: skip


def test_alarms_need_a_finished_study(tmp_path: Path) -> None:
    from experiments.alarms import finished_model

    with pytest.raises(CheckpointError, match="folder of a finished simulation"):
        finished_model(tmp_path)


@pytest.mark.parametrize("option", [{"num_hospitals": 0}, {"onset_probability": 0.0}, {"patients": 3}])
def test_impossible_options_are_refused(option: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_study("early_warning", options=option, seed=1, folder=tmp_path, data=None)
