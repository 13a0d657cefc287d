"""Reports of finished studies, end to end: a study with secure sums, one with patient-level privacy, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.statistics.masked_sums import MaskedSums
from experiments.main import run
from experiments.operations import asking
from experiments.operations.asking import NOT_PRIVATE
from experiments.operations.settings import BedSettings, read_settings
from federation.errors import CheckpointError, ConfigurationError, PrivacyRefusedError, TransportError
from tests.experiments.studies.made_up_eicu import drawn, write

Simulate = Callable[..., Path]
QUICK = (
    "debug=tiny", "tracking=none", "report.bootstrap_samples=20", "baselines.pooled.enabled=false",
    "baselines.local_only=false", "baselines.cyclic=false", "baselines.non_private=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine hospitals in three regions, 540 made-up patients."""
    return write(tmp_path_factory.mktemp("data"), drawn(540, hospitals=9))


@pytest.fixture(scope="module")
def simulate(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulate:
    known: dict[tuple[str, ...], Path] = {}

    def once(*overrides: str) -> Path:
        if overrides not in known:
            folder = tmp_path_factory.mktemp("run") / "out"
            code = run(["simulate", *QUICK, *overrides, "--data", str(data), "-o", str(folder), "-q"])
            assert code == 0
            known[overrides] = folder
        return known[overrides]

    return once


def report(name: str, folder: Path, data: Path, *settings: str) -> dict[str, Any]:
    place = folder / "reports" / "-".join([name, *settings]).replace("=", "_")
    assert run(["operations", name, str(folder), *settings, "--data", str(data), "-o", str(place)]) == 0
    result = json.loads((place / "result.json").read_text())
    assert list(place.glob("*.svg"))
    return result


def table(result: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (found,) = [table for table in result["tables"] if table["name"] == name]
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def numbers(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array(
        [[np.nan if x is None else x for x in row.values() if not isinstance(x, str)] for row in rows], float
    )


MASKED = ("study=eicu_mortality", "study.options.sites=hospital", "aggregation=masked")


class Vanished:
    """A site that answers nothing."""

    def __getattr__(self, name: str) -> Callable[..., bytes]:
        raise TransportError("expected an answer, got none")


def test_a_line_that_lost_a_site_on_the_way_and_is_of_two_is_not_shown(
    simulate: Simulate, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulate(*MASKED)
    original = asking.open_analyst

    def losing(study: Any, **rest: Any) -> Any:
        analyst, sites = original(study, **rest)
        assert isinstance(analyst.sums, MaskedSums)
        links = dict(analyst.sums.links)
        links[study.records[0].site] = Vanished()
        analyst.sums.links = links
        return analyst, sites

    monkeypatch.setattr(asking, "open_analyst", losing)
    place = folder / "reports" / "lost"
    assert run(["operations", "calibration", str(folder), "by=group", "--data", str(data), "-o", str(place)]) != 0
    assert "lines over at least 3 sites" in " ".join(capsys.readouterr().err.split())
    assert not (place / "result.json").exists()


def test_secure_sums_over_hospitals_give_the_calibration_by_region(simulate: Simulate, data: Path) -> None:
    folder = simulate(*MASKED)
    masked = report("calibration", folder, data, "by=group")
    lines = table(masked, "performance")
    assert [line["group"] for line in lines[:4]] == ["south", "unrecorded", "west", "all"]
    assert {line["score"] for line in lines} == {"this study", "APACHE IVa"}
    assert (
        masked["patients"]
        == sum(line["records"] for line in lines[:3]) + masked["figures"]["patients without a prediction"]
    )
    assert masked["figures"]["patients without a prediction"] > 0
    apache = next(line for line in lines if line["score"] == "APACHE IVa" and line["group"] == "all")
    assert apache["AUROC"] > 0.65
    assert 0.7 < apache["observed/expected"] < 1.4


def test_secure_sums_and_open_sums_are_the_same(simulate: Simulate, data: Path) -> None:
    folder = simulate(*MASKED)
    masked = report("calibration", folder, data, "by=none")
    opened = report("calibration", folder, data, "by=none", "aggregation=open")
    for name in ("performance", "reliability"):
        assert np.allclose(numbers(table(masked, name)), numbers(table(opened, name)), rtol=1e-6, equal_nan=True)


def test_a_masked_study_tells_no_site_apart(simulate: Simulate, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = simulate(*MASKED)
    code = run(["operations", "calibration", str(folder), "by=site", "--data", str(data)])
    assert code == PrivacyRefusedError.exit_code
    assert "opens no site's own sums, got 9 lines over fewer" in capsys.readouterr().err.replace("\n", " ")
    assert not (folder / "operations" / "calibration").exists()


def test_follow_up_under_secure_sums(simulate: Simulate, data: Path) -> None:
    result = report("follow-up", simulate(*MASKED), data, "by=group", "capacity=0.2")
    everybody = table(result, "capacity")[-1]
    assert everybody["followed up"] == pytest.approx(0.2 * everybody["records"], abs=3)
    assert 0 < everybody["reached"] < everybody["with the outcome"]
    assert everybody["needed to follow up"] == pytest.approx(everybody["followed up"] / everybody["reached"])


def test_a_study_that_releases_per_site_has_a_line_for_each(simulate: Simulate, data: Path) -> None:
    folder = simulate("study=eicu_mortality")
    result = report("calibration", folder, data)
    groups = [line["group"] for line in table(result, "performance") if line["score"] == "this study"]
    assert groups == ["south", "unrecorded", "west", "all"]


PRIVATE = (
    "study=eicu_stay", "study.options.sites=hospital", "privacy=patient_level", "privacy.epsilon=8", "aggregation=masked",
)  # fmt: skip


def test_beds_from_a_private_study_with_secure_sums(simulate: Simulate, data: Path) -> None:
    folder = simulate(*PRIVATE)
    manifest = json.loads((folder / "seed-42" / "manifest.json").read_text())["manifest"]
    assert manifest["privacy"]["kind"] == "patient_level"
    result = report("beds", folder, data, "days=30", "first=10", "horizon=3", "repeats=2")
    assert NOT_PRIVATE in result["notes"]
    accuracy = table(result, "accuracy")
    assert {line["forecast"] for line in accuracy} == {"this study", "usual stays", "mean stay"}
    for line in accuracy:
        assert line["forecasts made"] == 2 * 18
        if line["forecast"] != "this study":  # trained for two steps, to see that it runs
            assert line["mean absolute error"] < line["beds occupied"] / 2
            assert line["in the interval"] > 0.6
    opened = report("beds", folder, data, "days=30", "first=10", "horizon=3", "repeats=2", "aggregation=open")
    assert np.allclose(numbers(accuracy), numbers(table(opened, "accuracy")), rtol=1e-6)


def test_unknown_arrivals_make_a_forecast_less_certain(simulate: Simulate, data: Path) -> None:
    folder = simulate(*PRIVATE)
    settings = ("days=30", "first=10", "horizon=3", "repeats=1", "aggregation=open")
    known = table(report("beds", folder, data, *settings), "accuracy")
    expected = table(report("beds", folder, data, *settings, "arrivals=expected"), "accuracy")
    assert all(later["width"] > now["width"] for now, later in zip(known, expected, strict=True))


@pytest.mark.parametrize("predicts", ["count", "quantiles", "time"])
def test_every_kind_of_prediction_makes_a_report_on_stays_and_beds(
    predicts: str, simulate: Simulate, data: Path
) -> None:
    folder = simulate("study=eicu_stay", f"study.options.predicts={predicts}")
    stays = report("stays", folder, data)
    lines = table(stays, "accuracy")
    assert {line["prediction"] for line in lines} >= {"this study, mean", "this study, median", "APACHE IVa"}
    assert [line["group"] for line in table(stays, "interval")] == ["south", "unrecorded", "west", "all"]
    beds = table(report("beds", folder, data, "days=30", "first=10", "horizon=2", "repeats=1"), "accuracy")
    assert all(0 <= line["in the interval"] <= 1 for line in beds)


def test_counts_are_learned_with_patient_level_privacy(simulate: Simulate, data: Path) -> None:
    folder = simulate(*PRIVATE, "study.options.predicts=count", "evaluation.release=none")
    assert table(report("stays", folder, data, "by=none"), "accuracy")[0]["prediction"] == "this study, mean"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["beds", "{run}"], "expected a study of lengths of stay, got eicu_mortality"),
        (["stays", "{run}"], "expected a study of lengths of stay, got eicu_mortality"),
        (["calibration", "{run}", "treshold=3"], "did you mean 'threshold'"),
        (["calibration", "{run}", "by"], "expected KEY=VALUE, each key once, got 'by'"),
        (["follow-up", "{run}", "capacity=0"], "capacity"),
    ],
)
def test_a_wrong_word_or_study_is_said(
    command: list[str], said: str, simulate: Simulate, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulate("study=eicu_mortality")
    code = run(["operations", *(word.format(run=folder) for word in command), "--data", str(data)])
    assert code == ConfigurationError.exit_code
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_too_few_days_for_a_forecast_are_said() -> None:
    with pytest.raises(ConfigurationError, match="forecasts of 7 days from day 21 on, got 10 days"):
        read_settings(BedSettings, ["days=10"]).origins()
    assert read_settings(BedSettings, ["days=30", "first=22"]).origins() == (22, 23)


def test_a_folder_without_a_finished_study_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["operations", "beds", str(tmp_path)]) == CheckpointError.exit_code
    assert "expected a file" in capsys.readouterr().err
