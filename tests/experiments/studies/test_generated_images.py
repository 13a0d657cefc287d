"""The study of generated images: real DICOM files of four scanners that mean the same, and a whole study with secure sums on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from conf.loading import load
from experiments.settings import SimulationSettings
from experiments.simulate import simulate
from experiments.studies.catalogue import load_study
from experiments.studies.generated_images.overlay import draw_overlay
from experiments.studies.generated_images.pictures import PictureOptions, draw_slices, scanner_of
from experiments.summary import SimulationSummary
from federation.privacy.randomness import seeded_streams
from site_client.arrays.store import read_store
from site_client.arrays.streamed import StreamedRows
from site_client.extraction import extract
from site_client.patients import SiteData

TINY = ("schedule=tiny", "study.options.patients_per_site=10", "tracking=none", "report.bootstrap_samples=20")


def prepared(folder: Path, **options: object):
    return load_study(
        "generated_images", options={"patients_per_site": 10, **options}, seed=3, folder=folder, data=None
    )


def extracted(folder: Path, **options: object) -> list[SiteData]:
    study = prepared(folder, **options)
    definition = study.definition
    return [
        extract(
            site.source, site=site.site, contract=definition.contract, definition=definition.cohort,
            task=definition.task, today=dt.date(2026, 1, 1),
        ).data
        for site in study.sites
    ]  # fmt: skip


def test_every_hospital_has_dicom_files_of_its_own_kind_that_say_that_they_are_generated(tmp_path: Path) -> None:
    prepared(tmp_path)
    syntaxes, kinds = set(), set()
    for number in range(1, 5):
        folder = tmp_path / f"hospital-{number:02d}"
        first = dcmread(folder / "files/00000.dcm")
        syntaxes.add(first.file_meta.TransferSyntaxUID)
        kinds.add((first.RescaleSlope, first.PhotometricInterpretation, first.Rows))
        assert "GENERATED" in first.DeidentificationMethod
        assert read_store(folder / "store", site="x").generated
    assert len(syntaxes) == len(kinds) == 4


def test_whatever_the_scanner_the_store_holds_the_values_that_were_drawn(tmp_path: Path) -> None:
    for data, number in zip(extracted(tmp_path, num_sites=4, task="segmentation"), range(4), strict=True):
        options = PictureOptions(task="segmentation", patients_per_site=10)
        scanner = scanner_of(number, noise=options.noise)
        streams = seeded_streams(3, provenance="synthetic").child("study", "generated_images")
        site = f"hospital-{number + 1:02d}"
        drawn = list(draw_slices(options, scanner, site=site, generator=streams.stream("slices", site)))
        found = np.concatenate([data.training.features[:], data.test.features[:]])
        masks = np.concatenate([data.training.outcomes[:], data.test.outcomes[:]])
        values = np.stack([one.values for one in drawn])
        truth = np.stack([one.mask for one in drawn]).astype(float)
        if scanner.side == 56:
            values = values.reshape(-1, 28, 2, 28, 2).mean(axis=(2, 4))
        encoded = np.clip(values / 150 - 1 / 3, -1, 1).reshape(len(drawn), -1)
        same = np.abs(found[:, None] - encoded[None]).mean(axis=2).argmin(axis=0)
        assert sorted(same) == list(range(len(drawn)))
        # Stored numbers have steps of at most 2 HU, on a scale of 150 HU.
        np.testing.assert_allclose(found[same], encoded, atol=1.2 * scanner.slope / 150)
        if scanner.side == 28:
            np.testing.assert_array_equal(masks[same].reshape(truth.shape), truth)


def test_patients_have_several_slices_that_stay_together(tmp_path: Path) -> None:
    for data in extracted(tmp_path):
        assert isinstance(data.training.features, StreamedRows)
        assert data.training.num_records > data.training.num_patients
        lesion = [
            np.unique(data.training.outcomes[data.training.patient_index == p])
            for p in range(data.training.num_patients)
        ]
        assert all(len(values) == 1 for values in lesion)


def run(folder: Path, *overrides: str) -> SimulationSummary:
    return simulate(
        load(SimulationSettings, [*overrides[:1], *TINY, *overrides[1:]]), output=folder, data=None, progress=None
    )


@pytest.mark.parametrize("study", ["study=generated_images", "experiment=generated_segmentation"])
def test_a_private_study_with_secure_sums(tmp_path: Path, study: str) -> None:
    summary = run(
        tmp_path / "run", study, "privacy=patient_level", "aggregation=masked", "baselines.local_only=false",
        "baselines.cyclic=false",
    )  # fmt: skip
    found = {row.setting: row.metrics for row in summary.settings_table}
    name = "dice" if "segmentation" in study else "auroc"
    assert set(found) == {"federated", "federated_non_private", "pooled"}
    assert all(0 <= metrics[name] <= 1 for metrics in found.values())
    assert 0 < max(summary.epsilon_spent.values()) <= summary.epsilon
    kept = (tmp_path / "run/seed-42/patients/hospital-01/patients.safetensors").stat().st_size
    assert kept < (tmp_path / "run/hospitals/hospital-01/store/slice.npy").stat().st_size


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*gitwildmatch.*:DeprecationWarning")
@pytest.mark.parametrize("engine", ["flower", "batched"])
def test_other_engines_give_the_model_of_inline(tmp_path: Path, engine: str) -> None:
    words = (
        "study=generated_images",
        "baselines.local_only=false",
        "baselines.cyclic=false",
        "baselines.pooled.enabled=false",
    )
    summaries = [run(tmp_path / name, *words, f"engine={name}") for name in ("inline", engine)]
    assert summaries[0].model_digest == summaries[1].model_digest


@pytest.mark.slow
def test_the_federation_finds_the_lesion_and_the_overlay_shows_it(tmp_path: Path) -> None:
    summary = run(
        tmp_path, "experiment=generated_segmentation", "schedule.rounds=4", "schedule.local_steps=25",
        "schedule.optimiser.kind=adam", "schedule.optimiser.learning_rate=0.005", "study.options.lesion_share=0.95",
        "study.options.patients_per_site=20", "study.options.num_sites=2", "study.options.contrast=120",
        "baselines.local_only=false", "baselines.cyclic=false", "baselines.pooled.enabled=false",
    )  # fmt: skip
    assert summary.settings_table[0].metrics["dice"] > 0.5
    draw_overlay(tmp_path)
    assert (tmp_path / "overlay.svg").read_text(encoding="utf-8").count("Dice") == 2


def test_the_overlay_is_of_generated_segmentations_only(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(draw_overlay)
    assert "expected a finished simulation" in str(CliRunner().invoke(app, [str(tmp_path)]).exception)
