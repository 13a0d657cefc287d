"""Every YAML of conf/ composes, validates as SimulationSettings, and leaves no stray or missing key, whatever is combined."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from conf.groups import GROUPS, option_names
from conf.loading import compose, sweep_jobs
from conf.validation import build
from experiments.settings import SimulationSettings
from experiments.studies.catalogue import study_names
from experiments.studies.demo.study import DemoOptions
from experiments.studies.early_warning.study import EarlyWarningOptions
from experiments.studies.ecg_beats.study import EcgBeatsOptions
from experiments.studies.eicu_mortality.study import EicuOptions
from experiments.studies.eicu_stay.study import StayOptions
from experiments.studies.generated_images.pictures import PictureOptions
from experiments.studies.heart_disease.study import HeartDiseaseOptions
from experiments.studies.readmission.study import ReadmissionOptions
from experiments.studies.synthetic.study import SyntheticOptions
from experiments.studies.tcga_brca.study import TcgaBrcaOptions
from federation.documents import Document

CONF = Path(__file__).resolve().parents[2] / "conf"
YAML = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
REPLACEABLE = ("model", "privacy", "algorithm")


def _check(*overrides: str) -> SimulationSettings:
    """Compose; the tree must be the settings exactly, every default written out, nothing else."""
    tree = compose(overrides)
    settings = build(SimulationSettings, tree)
    expected = settings.as_data()
    if isinstance(expected["tracking"], dict) and isinstance(tree["tracking"], dict):
        expected["tracking"]["kind"] = tree["tracking"]["kind"]  # an address alone means a server
    assert json.loads(json.dumps(tree)) == expected
    return settings


def test_the_named_studies_are_those_of_the_catalogue() -> None:
    assert option_names("study") == study_names()


@pytest.mark.parametrize(
    ("study", "options"),
    [
        ("demo", DemoOptions),
        ("generated_images", PictureOptions),
        ("early_warning", EarlyWarningOptions),
        ("ecg_beats", EcgBeatsOptions),
        ("eicu_mortality", EicuOptions),
        ("eicu_stay", StayOptions),
        ("heart_disease", HeartDiseaseOptions),
        ("readmission", ReadmissionOptions),
        ("tcga_brca", TcgaBrcaOptions),
        ("synthetic", SyntheticOptions),
    ],
)
def test_a_study_file_writes_every_option_of_its_study_out(study: str, options: type[Document]) -> None:
    written = dict(_check(f"study={study}").study.options)
    written.pop("partition_seed", None)  # the simulation's, not the study's
    assert options.from_data(written).as_data() == written


@pytest.mark.parametrize("file", YAML)
def test_every_file_is_chosen_by_a_group_or_by_the_defaults(file: str) -> None:
    group, _, option = file.removesuffix(".yaml").rpartition("/")
    if group in GROUPS:
        _check(f"{group}={option}")
    elif group == "hydra/launcher":
        assert sweep_jobs([f"hydra/launcher={option}"])
    elif group.startswith("tuned/"):
        _check_tuned(group.removeprefix("tuned/"), option)
    else:
        assert file == "config.yaml"


def _check_tuned(group: str, name: str) -> None:
    """A tuned file is named after a study and options that exist; otherwise it would never be read."""
    orders = {
        "model": ("study", "model"),
        "privacy": ("study", "privacy"),
        "schedule": ("study", "schedule", "privacy"),
    }
    names = {"_".join(options): options for options in itertools.product(*map(option_names, orders[group]))}
    assert name in names, f"tuned/{group}/{name}.yaml is read by no combination of options"
    _check(*(f"{key}={option}" for key, option in zip(orders[group], names[name], strict=True)))


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in REPLACEABLE])
def test_every_option_of_the_other_groups_composes_with_every_study(group: str) -> None:
    for study, option in itertools.product(option_names("study"), option_names(group)):
        _check(*([] if group == "study" else [f"study={study}"]), f"{group}={option}")


@pytest.mark.parametrize("study", option_names("study"))
def test_model_privacy_and_algorithm_replace_one_another_cleanly(study: str) -> None:
    algorithms = itertools.cycle(option_names("algorithm"))
    for model, privacy in itertools.product(option_names("model"), option_names("privacy")):
        algorithm = next(algorithms)
        settings = _check(f"study={study}", f"model={model}", f"privacy={privacy}", f"algorithm={algorithm}")
        assert (settings.study.name, settings.model.kind, settings.algorithm.kind) == (study, model, algorithm)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen", [f"{group}={option}" for group in ("study", "experiment") for option in option_names(group)]
)
def test_every_combination_composes(chosen: str) -> None:
    for options in itertools.product(*map(option_names, REPLACEABLE)):
        settings = _check(chosen, *(f"{group}={option}" for group, option in zip(REPLACEABLE, options, strict=True)))
        assert (settings.model.kind, settings.algorithm.kind) == (options[0], options[2])


def test_every_job_of_every_experiment_composes() -> None:
    for experiment in option_names("experiment"):
        for job in sweep_jobs([f"experiment={experiment}"]):
            _check(*job)


def test_tiny_is_tiny_even_in_an_experiment() -> None:
    for experiment in option_names("experiment"):
        settings = _check(f"experiment={experiment}", "debug=tiny")
        assert (settings.schedule.rounds, settings.tracking.kind, len(settings.seeds)) == (1, "none", 1)
        found = settings.baselines
        assert [found.pooled.enabled, found.cyclic, found.local_only, found.non_private] == [False] * 4


def test_what_writes_everywhere_writes_into_no_replaceable_group() -> None:
    """A study that wrote ``model:`` would leave keys behind when the command line chooses another model."""
    for group in ("study", "experiment", "debug"):
        for option in option_names(group):
            text = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8")
            keys = set(re.findall(r"^(\w+):", text, flags=re.MULTILINE))
            assert keys & set(GROUPS) <= {"study"}, f"{group}/{option}.yaml: use `override /GROUP: OPTION` instead"


def test_our_files_read_no_environment_and_name_no_code() -> None:
    for file in YAML:
        text = (CONF / file).read_text(encoding="utf-8")
        found = re.findall(r"_target_|\$\{[^}]*\}", text)
        assert file == "config.yaml" or not found, f"{file}: {found}"
    root = (CONF / "config.yaml").read_text(encoding="utf-8")
    # The only interpolations are names of options in the defaults list, which Hydra resolves before any value is read.
    assert set(re.findall(r"\$\{([^}]*)\}", root)) == {"study", "model", "privacy", "schedule"}
