from __future__ import annotations

import functools
import json
import logging
import sys
from pathlib import Path

import pytest

from conf.loading import compose, load, load_unless_sweep, run_sweep, sweep_jobs, sweeps_by_itself
from conf.validation import Tree
from experiments.settings import PatientLevelChoice, SimulationSettings
from federation.errors import ConfigurationError, InternalError


def _refused(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(SimulationSettings, overrides)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def test_the_command_of_the_issue_composes() -> None:
    settings = load(
        SimulationSettings, ["study=heart_disease", "privacy=patient_level", "privacy.epsilon=2", "algorithm=fedprox"]
    )
    assert settings.study.name == "heart_disease"
    assert isinstance(settings.privacy, PatientLevelChoice)
    assert (settings.privacy.epsilon, settings.algorithm.kind) == (2.0, "fedprox")


def test_the_demo_is_private_and_the_others_are_not() -> None:
    assert load(SimulationSettings, []).study.name == "demo"
    assert load(SimulationSettings, []).privacy.kind == "patient_level"
    assert load(SimulationSettings, ["study=heart_disease"]).privacy.kind == "none"


def test_an_option_replaces_another_without_a_stray_key() -> None:
    assert compose(["study=demo", "privacy=none"])["privacy"] == {"kind": "none"}
    assert compose(["study=demo", "model=mlp", "model=linear"])["model"] == {"kind": "linear", "bias": True}
    assert compose(["experiment=heart_disease_epsilon1", "privacy=none"])["privacy"] == {"kind": "none"}


def test_values_tuned_for_a_study_hold_for_that_study_and_option_only() -> None:
    tuned = load(SimulationSettings, ["study=heart_disease", "privacy=patient_level"])
    generic = load(SimulationSettings, ["study=readmission", "privacy=patient_level"])
    assert isinstance(tuned.privacy, PatientLevelChoice)
    assert isinstance(generic.privacy, PatientLevelChoice)
    assert tuned.privacy.delta == 1e-3
    assert generic.privacy.delta < 1e-4
    typed = load(SimulationSettings, ["study=heart_disease", "privacy=patient_level", "privacy.delta=0.01"])
    assert isinstance(typed.privacy, PatientLevelChoice)
    assert typed.privacy.delta == 0.01


def test_an_experiment_chooses_and_the_command_line_wins() -> None:
    flamby = load(SimulationSettings, ["experiment=flamby"])
    assert flamby.study.options["recipe"] == "flamby"
    assert (flamby.schedule.rounds, flamby.schedule.local_steps, flamby.schedule.batch_size) == (15, 100, 4)
    assert flamby.schedule.optimiser.learning_rate == 0.001
    assert flamby.preprocessing == "site_standardised"
    assert flamby.seeds == (42, 43, 44, 45, 46)
    assert flamby.baselines.pooled.epochs == 50
    changed = load(SimulationSettings, ["experiment=flamby", "schedule=short", "seeds=[1]", "model=mlp"])
    assert (changed.schedule.rounds, changed.seeds, changed.model.kind) == (5, (1,), "mlp")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("privacy.epsilom=2", "unknown setting 'privacy.epsilom': did you mean 'privacy.epsilon'?"),
        ("algoritm=fedprox", "unknown setting 'algoritm': did you mean 'algorithm'?"),
        ("+privacy.epsilom=2", "unknown setting 'privacy.epsilom': did you mean 'privacy.epsilon'?"),
        (
            "model.hidden=[8]",
            "unknown setting 'model.hidden' with model=linear: choose model=cnn or model=gru or model=mlp or model=cnn1d",
        ),
        ("hydra.job.name=x", "'hydra.job.name=x': hydra settings are for sweeps only; add -m"),
        ("privacy.epsilon=1,2", "'privacy.epsilon=1,2' has several values: add -m to sweep over them"),
        ("schedule.rounds=0", "schedule.rounds: expected greater than or equal to 1, got 0"),
        ("seeds=[1,1]", "seeds: expected distinct seeds, got [1, 1]"),
    ],
)
def test_a_wrong_setting_is_one_line(override: str, expected: str) -> None:
    assert _refused(override) == expected


@pytest.mark.parametrize("typed", [[], ["study=demo", "privacy.epsilon=2"]], ids=str)
def test_settings_of_a_single_run_are_those_of_two_looks(typed: list[str]) -> None:
    assert not sweeps_by_itself(typed)
    assert load_unless_sweep(SimulationSettings, typed) == load(SimulationSettings, typed)


def test_an_experiment_that_sweeps_by_itself_is_no_single_run() -> None:
    assert sweeps_by_itself(["experiment=epsilon_sweep"])
    assert load_unless_sweep(SimulationSettings, ["experiment=epsilon_sweep"]) is None


@pytest.mark.parametrize("typed", ["privacy.epsilon=1,2", "hydra.job.name=x", "study=nowhere", "privacy.epsilom=1"])
def test_what_no_single_run_takes_is_refused_as_before(typed: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_unless_sweep(SimulationSettings, [typed])
    assert str(caught.value) == _refused(typed)


def test_a_wrong_option_is_one_line_with_every_option() -> None:
    text = _refused("algorithm=fedpro")
    assert text.startswith("unknown algorithm 'fedpro': did you mean 'fedprox'? (one of: fedadagrad, ")
    assert "\n" not in text


def test_a_wrong_type_names_path_value_and_fix() -> None:
    text = _refused("privacy.epsilon=abc")
    assert text == "privacy.epsilon: expected a valid number, got 'abc'\n  → write for example privacy.epsilon=0.5"


@pytest.mark.parametrize("line", ["garbage", "a b=c", "", "=1", "x={", "privacy.epsilon"])
def test_text_that_is_no_override_is_refused(line: str) -> None:
    assert _refused(line).startswith(f"cannot read {line!r}")


def test_every_mistake_has_its_line() -> None:
    assert len(_refused("algorithm=fedpro", "privacy=patient_levl").splitlines()) == 2
    assert len(_refused("privacy.epsilom=2", "schedule.round=2").splitlines()) == 2


def test_the_environment_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COHORTIUM_SECRET", "do-not-print")
    assert "do-not-print" not in _refused("name=${oc.env:COHORTIUM_SECRET}")


def test_composing_writes_nothing_and_leaves_logging_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("federation").disabled)
    compose([])
    assert list(tmp_path.iterdir()) == []
    assert (list(root.handlers), root.level, logging.getLogger("federation").disabled) == before


def test_jobs_of_a_sweep() -> None:
    assert sweep_jobs(["privacy.epsilon=1,2", "algorithm=fedavg,fedprox", "seeds=[1]"]) == (
        ("privacy.epsilon=1", "algorithm=fedavg", "seeds=[1]"),
        ("privacy.epsilon=1", "algorithm=fedprox", "seeds=[1]"),
        ("privacy.epsilon=2", "algorithm=fedavg", "seeds=[1]"),
        ("privacy.epsilon=2", "algorithm=fedprox", "seeds=[1]"),
    )
    assert sweep_jobs(["schedule.rounds=range(1,4)", "hydra.launcher.n_jobs=1"]) == (
        ("schedule.rounds=1",), ("schedule.rounds=2",), ("schedule.rounds=3",),
    )  # fmt: skip
    assert sweep_jobs([]) == ((),)


def test_an_experiment_brings_its_own_sweep() -> None:
    assert sweeps_by_itself(["experiment=epsilon_sweep"])
    assert not sweeps_by_itself(["experiment=flamby"])
    assert not sweeps_by_itself([])
    assert len(sweep_jobs(["experiment=epsilon_sweep"])) == 12
    typed = sweep_jobs(["experiment=epsilon_sweep", "privacy.epsilon=3", "study=heart_disease"])
    assert len(typed) == 3
    assert all("privacy.epsilon=3" in job for job in typed)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("hydra.lancher.n_jobs=3", "did you mean 'hydra.launcher.n_jobs'?"),
        ("hydra/launcher=jobli", "hydra/launcher/jobli"),
        ("privacy.epsilon=interval(1,2)", "got an interval"),
    ],
)
def test_mistakes_in_a_sweep(override: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sweep_jobs([override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def _write_tree(tree: Tree, folder: Path, *, label: str) -> None:
    (folder / "tree.json").write_text(json.dumps({"label": label, "tree": tree}))


@pytest.mark.parametrize("launcher", ["basic", "two_processes"])
def test_a_sweep_runs_the_jobs_that_were_planned(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a folder's name, with=signs"
    overrides = ["study=heart_disease", "privacy=patient_level", "privacy.epsilon=1,2", "algorithm=fedavg,fedprox"]
    command_line = list(sys.argv)
    before = (list(logging.getLogger().handlers), logging.getLogger().level)
    run_sweep(
        [*overrides, f"hydra/launcher={launcher}"], folder=folder, job=functools.partial(_write_tree, label="here")
    )
    for number, job in enumerate(sweep_jobs(overrides)):
        written = json.loads((folder / str(number) / "tree.json").read_text())
        assert written == {"label": "here", "tree": compose(job)}
    assert sys.argv == command_line
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == before
    assert not list(folder.rglob(".hydra"))
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def _fail(tree: Tree, folder: Path) -> None:
    raise RuntimeError("a job that raises although it must not")


def test_a_job_that_raises_is_our_own_bug(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InternalError, match="stopped"):
        run_sweep(["seeds=[1]", "hydra/launcher=basic"], folder=tmp_path, job=_fail)
    capfd.readouterr()
