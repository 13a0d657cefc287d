"""Every command of the guide can be planned on its study, and those on generated patients give a result."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from experiments.analyse_plans import plan
from experiments.analyse_settings import read_settings
from experiments.analyse_sites import load_analysed_study
from experiments.studies.definition import read_contract
from experiments.studies.heart_disease.study import define
from tests.statistics_bench import analyse

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(
    r"```bash\n(.*?)```", (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8"), flags=re.DOTALL
)
COMMANDS = sorted(line for block in BLOCKS for line in block.splitlines() if line.startswith("cohortium analyse "))


def overrides_of(command: str) -> list[str]:
    words = shlex.split(command)[2:]
    return [word for word in words if "=" in word and not word.startswith("-")]


def test_the_guide_shows_every_analysis() -> None:
    shown = {word for command in COMMANDS for word in overrides_of(command) if word.startswith("analysis=")}
    assert len(shown) == 9  # penalised_logistic is a glm with another name


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_fits_its_study(command: str) -> None:
    settings, rest = read_settings(overrides_of(command))
    name = rest[0].partition("=")[2]
    contracts = ROOT / "experiments" / "analyse_contracts"
    contract = define().contract if name == "heart_disease" else read_contract(contracts / f"{name}.yaml")
    assert plan(settings, contract).name == settings.analysis


@pytest.mark.parametrize("command", [command for command in COMMANDS if "generated_survival" in command])
def test_a_command_on_generated_patients_gives_a_result(command: str, tmp_path: Path) -> None:
    overrides = overrides_of(command)
    _, rest = read_settings(overrides)
    study = load_analysed_study(rest, folder=tmp_path, data=None)
    result = analyse(study, tmp_path, *overrides)
    assert len(result.sites) == 8
    if result.privacy is None:
        assert result.patients == 800
    else:  # a count with noise; at the smallest epsilon of the guide its standard deviation is below 40
        assert 500 < result.patients < 1100
    assert all(table.rows for table in result.tables)
