from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from conf.loading import compose
from experiments import sweep_run
from experiments.settings import SimulationSettings
from experiments.summary import SimulationSummary
from experiments.sweep_run import (
    ERROR_FILE,
    SWEEP_FILE,
    failures,
    plan_sweep,
    read_plan,
    resume_sweep,
    run_job,
    run_planned,
)
from federation.errors import (
    CheckpointError,
    ConfigurationError,
    NonFiniteModelError,
    StudyInterruptedError,
)
from tests.experiments.example_summary import fake_simulate

OVERRIDES = ["study=synthetic", "privacy=patient_level", "privacy.epsilon=1,2", "algorithm=fedavg,fedprox"]
HERE = "hydra/launcher=basic"  # in this process, so that what the tests replace is replaced


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every simulation succeeds at once; the list of folders in which one ran."""
    seen: list[str] = []

    def simulate(
        settings: SimulationSettings, *, output: Path, data: Path | None, progress: object
    ) -> SimulationSummary:
        seen.append(output.name)
        return fake_simulate(settings, output=output, data=data, progress=progress)

    monkeypatch.setattr("experiments.simulate.simulate", simulate)
    return seen


def test_a_plan_labels_jobs_by_what_differs() -> None:
    plan = plan_sweep(OVERRIDES)
    assert [job.label for job in plan.jobs] == [
        "privacy.epsilon=1 algorithm=fedavg",
        "privacy.epsilon=1 algorithm=fedprox",
        "privacy.epsilon=2 algorithm=fedavg",
        "privacy.epsilon=2 algorithm=fedprox",
    ]
    assert [job.folder for job in plan.jobs] == ["0", "1", "2", "3"]
    assert plan.jobs[3].settings.algorithm.kind == "fedprox"
    assert plan_sweep(["study=synthetic"]).jobs[0].label == "the only job"


@pytest.mark.parametrize("override", ["hydra.sweep.subdir=x", "output=somewhere"])
def test_jobs_are_numbered_below_the_folder(override: str) -> None:
    with pytest.raises(ConfigurationError, match="use --output"):
        plan_sweep([override])


def test_no_job_starts_if_one_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown algorithm 'fedpro'"):
        plan_sweep(["algorithm=fedavg,fedpro"])


def test_every_planned_job_runs_and_nothing_failed(tmp_path: Path, simulated: list[str]) -> None:
    plan = plan_sweep([*OVERRIDES, HERE])
    run_planned(plan, folder=tmp_path, data=None, progress=None)
    assert simulated == ["0", "1", "2", "3"]
    assert read_plan(tmp_path) == plan
    for job in plan.jobs:
        stored = json.loads((tmp_path / job.folder / "settings.json").read_text())
        assert SimulationSettings.from_data(stored) == job.settings
    assert failures(tmp_path) == {}


def test_a_folder_holds_one_sweep(tmp_path: Path, simulated: list[str]) -> None:
    plan = plan_sweep(["study=synthetic", HERE])
    run_planned(plan, folder=tmp_path, data=None, progress=None)
    with pytest.raises(ConfigurationError, match="it holds a sweep"):
        run_planned(plan, folder=tmp_path, data=None, progress=None)


def test_a_job_that_fails_leaves_its_error_and_the_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(
        settings: SimulationSettings, *, output: Path, data: Path | None, progress: object
    ) -> SimulationSummary:
        if output.name == "1":
            raise NonFiniteModelError("expected finite parameters, got NaN", remedy="lower the learning rate")
        if output.name == "2":
            raise KeyError("patient 4711")
        return fake_simulate(settings, output=output, data=data, progress=progress)

    monkeypatch.setattr("experiments.simulate.simulate", simulate)
    run_planned(plan_sweep([*OVERRIDES, HERE]), folder=tmp_path, data=None, progress=None)
    found = failures(tmp_path)
    assert list(found) == ["privacy.epsilon=1 algorithm=fedprox", "privacy.epsilon=2 algorithm=fedavg"]
    assert [error["exit_code"] for error in found.values()] == [54, 70]
    assert "4711" not in json.dumps(found)  # a foreign exception's text may hold a patient value
    assert (tmp_path / "3" / "summary.json").is_file()


def test_resuming_runs_what_is_not_finished_and_forgets_the_error(tmp_path: Path, simulated: list[str]) -> None:
    plan = plan_sweep([*OVERRIDES, HERE])
    run_planned(plan, folder=tmp_path, data=None, progress=None)
    (tmp_path / "2" / "summary.json").unlink()
    (tmp_path / "2" / ERROR_FILE).write_text('{"message": "power cut", "exit_code": 50}')
    simulated.clear()
    resume_sweep(tmp_path, data=None, progress=Console(quiet=True))
    assert simulated == ["2"]
    assert failures(tmp_path) == {}


def test_an_interrupted_sweep_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_sweep(["study=synthetic", HERE])

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("conf.loading.run_sweep", interrupted)
    with pytest.raises(StudyInterruptedError, match="simulate --resume"):
        run_planned(plan, folder=tmp_path, data=None, progress=None)
    monkeypatch.setattr("experiments.simulate.simulate", interrupted)
    with pytest.raises(StudyInterruptedError, match="simulate --resume"):
        resume_sweep(tmp_path, data=None, progress=None)
    assert failures(tmp_path) == {}


def test_a_job_says_how_it_ended(tmp_path: Path, simulated: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"0": "privacy.epsilon=1", "1": "privacy.epsilon=2"}
    run_job(compose(["study=synthetic"]), tmp_path / "0", labels=labels, data=None, quiet=False)
    run_job({}, tmp_path / "1", labels=labels, data=None, quiet=False)
    run_job({}, tmp_path / "1", labels=labels, data=None, quiet=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("1/2 privacy.epsilon=1: finished\n2/2 privacy.epsilon=2: failed: missing setting")
    assert captured.err.count("2/2") == 1


@pytest.mark.parametrize("content", [None, "{", '{"overrides": []}'])
def test_a_folder_without_a_plan_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / SWEEP_FILE).write_text(content)
    with pytest.raises(CheckpointError):
        resume_sweep(tmp_path, data=None, progress=None)
    assert sweep_run.failures(tmp_path / "elsewhere") == {}
