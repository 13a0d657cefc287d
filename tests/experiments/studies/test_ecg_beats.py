"""Pieces of one record: each beat once, in its own piece, and a private, masked run over them."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from experiments.studies.catalogue import PreparedStudy, load_study
from federation.errors import ConfigurationError, RecordsUnreadableError

DATA = os.environ.get("COHORTIUM_DATA")
needs_data = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "ecg" / "100.dat").is_file(), reason="COHORTIUM_DATA with ecg/ is not set"
)


def _prepare(folder: Path, **options: object) -> PreparedStudy:
    return load_study("ecg_beats", options=options, seed=1, folder=folder, data=Path(DATA or "absent"))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@needs_data
def test_every_beat_is_the_record_around_its_annotation(tmp_path: Path) -> None:
    import wfdb

    _prepare(tmp_path)
    record = wfdb.rdrecord(str(Path(DATA) / "ecg" / "100"))
    beats = wfdb.rdann(str(Path(DATA) / "ecg" / "100"), "atr")
    seconds = {round(at / 360, 3): symbol for at, symbol in zip(beats.sample, beats.symbol, strict=True)}
    counts = {"0": 0, "1": 0}
    part = record.sig_len // 3
    for number in range(3):
        store = tmp_path / f"part-{number + 1}" / "store"
        arrays = np.load(store / "ecg.npy", allow_pickle=False)
        for row in _rows(store / "records.csv"):
            piece = int(row["patient"].rpartition("p")[2])
            at = (number * part + piece * 5400) / 360 + float(row["window_end_seconds"]) - 0.6
            symbol = seconds[min(seconds, key=lambda known: abs(known - at))] if row["abnormal"] == "1" else "N"
            assert row["abnormal"] == ("0" if symbol == "N" else "1")
            counts[row["abnormal"]] += 1
            wanted = np.interp(at + np.arange(-60, 60) / 120, np.arange(record.sig_len) / 360, record.p_signal[:, 0])
            found = arrays[int(row["ecg"])][0, 60:180]
            assert np.corrcoef(wanted, found)[0, 1] > 0.9
    assert counts == _beats_inside(beats, part=part)


def _beats_inside(beats, *, part: int) -> dict[str, int]:
    """Beats whose window, one second before to 0.6 after, lies in their piece; by what they were annotated as."""
    counts = {"0": 0, "1": 0}
    for at, symbol in zip(beats.sample.tolist(), beats.symbol, strict=True):
        within = (at % part) % 5400
        is_inside = at < 3 * part and (at % part) // 5400 < part // 5400 and 360 <= within <= 5400 - 216
        if symbol in "NAV" and is_inside:
            counts["0" if symbol == "N" else "1"] += 1
    return counts


@needs_data
def test_no_beat_is_in_two_pieces(tmp_path: Path) -> None:
    _prepare(tmp_path, num_hospitals=2, piece_seconds=30.0)
    starts = []
    for number in range(2):
        for row in _rows(tmp_path / f"part-{number + 1}" / "store" / "records.csv"):
            piece = int(row["patient"].rpartition("p")[2])
            starts.append(round(number * 325_000 / 360 + piece * 30 + float(row["window_end_seconds"]), 2))
    assert len(set(starts)) == len(starts)
    assert sorted({row.name for row in tmp_path.iterdir()}) == ["part-1", "part-2"]


@needs_data
@pytest.mark.e2e
@pytest.mark.slow
def test_a_private_masked_run(tmp_path: Path) -> None:
    from conf.loading import load
    from experiments.settings import SimulationSettings
    from experiments.simulate import simulate

    overrides = [
        "study=ecg_beats", "tracking=none", "aggregation=masked", "privacy=patient_level", "privacy.epsilon=8",
        "schedule.rounds=2", "schedule.local_steps=1", "privacy.sampling_probability=0.3", "evaluation.release=none",
        "baselines.local_only=false", "baselines.cyclic=false", "baselines.pooled.enabled=false",
        "baselines.non_private=false", "report.bootstrap_samples=20",
    ]  # fmt: skip
    settings = load(SimulationSettings, overrides)
    summary = simulate(settings, output=tmp_path / "run", data=Path(DATA), progress=None)
    assert all(0 < spent <= 8.0 for spent in summary.epsilon_spent.values())
    assert (tmp_path / "run" / "seed-42" / "model.safetensors").is_file()


def test_without_the_record_the_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnreadableError, match=r"ecg/100\.hea"):
        load_study("ecg_beats", options={}, seed=1, folder=tmp_path, data=tmp_path)


def test_impossible_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_study("ecg_beats", options={"num_hospitals": 100}, seed=1, folder=tmp_path, data=tmp_path)
