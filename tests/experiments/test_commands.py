from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from conf.groups import option_names
from experiments.command_tree import whole
from experiments.main import root
from experiments.settings import SimulationSettings
from experiments.summary import Comparison, SimulationSummary
from federation.errors import CheckpointError, ConfigurationError
from tests.experiments.example_summary import fake_simulate, summary


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, object]]:
    """Every simulation succeeds at once, in an empty folder; what it was called with."""
    seen: list[dict[str, object]] = []

    def simulate(
        settings: SimulationSettings,
        *,
        output: Path,
        data: Path | None,
        progress: object,
        command: str = "",
        **_: object,
    ) -> SimulationSummary:
        seen.append({"settings": settings, "output": output, "data": data, "progress": progress, "command": command})
        sys.stdout.write("a library talks\n")
        return fake_simulate(settings, output=output, data=data, progress=progress)

    monkeypatch.setattr("experiments.simulate.simulate", simulate)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COHORTIUM_DATA", raising=False)
    return seen


def _run(*arguments: object) -> Result:
    result = CliRunner().invoke(whole(callback=root), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_simulation_ends_with_table_report_and_command(calls: list[dict[str, object]]) -> None:
    result = _run("simulate", "study=heart_disease", "privacy=patient_level", "privacy.epsilon=2", "algorithm=fedprox")
    assert "federated, private (epsilon 2, delta 0.001)" in result.stdout
    assert "report.html" in result.stdout
    assert "mlflow ui" in result.stdout
    assert "epsilon 1.99 spent" in result.stdout
    output = calls[0]["output"]
    assert isinstance(output, Path)
    assert output.parts[:2] == ("outputs", "heart_disease")
    settings = calls[0]["settings"]
    assert isinstance(settings, SimulationSettings)
    assert settings.algorithm.kind == "fedprox"


def test_two_runs_of_one_second_have_two_folders(calls: list[dict[str, object]]) -> None:
    _run("simulate")
    _run("simulate")
    assert calls[0]["output"] != calls[1]["output"]


def test_where_a_run_goes(calls: list[dict[str, object]], tmp_path: Path) -> None:
    _run("simulate", "output=here")
    _run("simulate", "output=here", "--output", tmp_path / "there")
    assert [call["output"] for call in calls] == [Path("here"), tmp_path / "there"]
    assert not Path("outputs").exists()


def test_json_is_all_there_is_on_stdout(calls: list[dict[str, object]]) -> None:
    result = _run("simulate", "--json")
    assert SimulationSummary.from_json(result.stdout).study == "demo"
    assert "a library talks" in result.stderr


def test_quiet_means_no_progress(calls: list[dict[str, object]]) -> None:
    _run("simulate", "--quiet")
    _run("simulate")
    assert calls[0]["progress"] is None
    assert calls[1]["progress"] is not None


def test_the_folder_of_records_comes_from_option_or_environment(
    calls: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run("simulate")
    monkeypatch.setenv("COHORTIUM_DATA", "/records")
    _run("simulate")
    _run("simulate", "--data", "/others")
    assert [call["data"] for call in calls] == [None, Path("/records"), Path("/others")]


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_cfg_prints_the_settings_and_stops(calls: list[dict[str, object]], option: tuple[str, ...]) -> None:
    result = _run("simulate", "privacy.epsilon=3", "--cfg", *option)
    data = json.loads(result.stdout) if option else yaml.safe_load(result.stdout)
    assert SimulationSettings.from_data(data).as_data() == data
    assert data["privacy"]["epsilon"] == 3
    assert calls == []
    assert list(Path.cwd().iterdir()) == []


def test_cfg_of_a_sweep_prints_every_job(calls: list[dict[str, object]]) -> None:
    jobs = yaml.safe_load(_run("simulate", "-m", "privacy.epsilon=1,2", "--cfg").stdout)
    assert [job["job"] for job in jobs] == ["privacy.epsilon=1", "privacy.epsilon=2"]
    assert [job["settings"]["privacy"]["epsilon"] for job in jobs] == [1, 2]
    assert list(Path.cwd().iterdir()) == []


def test_published_figures_are_shown(
    calls: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = summary(tmp_path, comparisons=(Comparison(name="pooled/accuracy", published=0.7, tolerance=0.1, here=0.7),))
    monkeypatch.setattr("experiments.simulate.simulate", lambda *_, **__: found)
    assert "beside published figures" in _run("simulate").stdout


def test_resuming_a_run(calls: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Path] = []

    def resume(output: Path, **_: object) -> SimulationSummary:
        seen.append(output)
        return summary(output)

    monkeypatch.setattr("experiments.simulate.resume", resume)
    assert "each site alone" in _run("simulate", "--resume", tmp_path / "run").stdout
    assert seen == [tmp_path / "run"]


@pytest.mark.parametrize("also", ["seeds=[1]", "-m", "--cfg", "--output=x"])
def test_resuming_takes_no_other_settings(also: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="leave out"):
        _run("simulate", "--resume", tmp_path, also)


def test_resuming_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a simulation's folder"):
        _run("simulate", "--resume", tmp_path)


SWEEP = ("simulate", "-m", "study=synthetic", "privacy=patient_level", "privacy.epsilon=1,2", "hydra/launcher=basic")


def test_a_sweep_ends_with_table_and_plot(calls: list[dict[str, object]]) -> None:
    result = _run(*SWEEP, "algorithm=fedavg,fedprox")
    assert result.exit_code == 0
    assert len(calls) == 4
    folder = next(Path("multirun/synthetic").iterdir())
    assert (folder / "sweep.png").is_file()
    assert "sweep.png" in result.stdout
    assert "fedprox" in result.stdout
    again = _run("sweep", "table", folder)
    assert again.stdout == result.stdout.replace("a library talks\n", "")


def test_a_sweep_as_json(calls: list[dict[str, object]]) -> None:
    data = json.loads(_run(*SWEEP, "--json").stdout)
    assert data["failed"] == {}
    assert {row["epsilon"] for row in data["sweep"]["rows"]} == {1.0, 2.0}


def test_a_sweep_over_studies_goes_to_a_folder_of_its_own(calls: list[dict[str, object]]) -> None:
    _run("simulate", "-m", "study=synthetic,demo", "hydra/launcher=basic", "-q")
    assert [path.name for path in Path("multirun").iterdir()] == ["several"]


def test_a_failed_job_is_named_and_sets_the_exit_code(
    calls: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def simulate(
        settings: SimulationSettings,
        *,
        output: Path,
        data: Path | None,
        progress: object,
        command: str = "",
        **_: object,
    ) -> SimulationSummary:
        if output.name == "1":
            raise CheckpointError("expected a checkpoint of this study")
        return fake_simulate(settings, output=output, data=data, progress=progress)

    monkeypatch.setattr("experiments.simulate.simulate", simulate)
    result = _run(*SWEEP, "--output", tmp_path / "sweep")
    assert "failed   privacy.epsilon=2: expected a checkpoint of this study" in result.stdout
    assert result.exit_code == 52
    (tmp_path / "sweep" / "0" / "summary.json").unlink()
    assert "failed   privacy.epsilon=2" in _run("sweep", "table", tmp_path / "sweep").stdout
    monkeypatch.setattr("experiments.simulate.simulate", fake_simulate)
    resumed = _run("simulate", "--resume", tmp_path / "sweep")
    assert resumed.exit_code == 0
    assert "failed   " not in resumed.stdout
    assert (tmp_path / "sweep" / "1" / "summary.json").is_file()


def test_a_folder_without_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        _run("sweep", "table", tmp_path)


def test_studies_are_listed() -> None:
    text = _run("studies", "list").stdout
    listed = json.loads(_run("studies", "list", "--json").stdout)
    assert set(listed) == set(option_names("study"))
    assert all(name in text for name in listed)


@pytest.mark.parametrize("study", option_names("study"))
def test_a_study_is_shown_with_its_page_and_settings(study: str) -> None:
    text = _run("studies", "show", study).stdout
    assert f"name: {study}" in text
    assert "licence" in text.lower()


def test_an_unknown_study_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match="unknown study 'hart_disease': did you mean 'heart_disease'"):
        _run("studies", "show", "hart_disease")


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_report_needs_a_finished_run(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(CheckpointError):
        _run("report", tmp_path)
    assert not (tmp_path / "report.html").exists()
