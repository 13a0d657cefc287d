"""Fenced commands of the pages about simulations, ledgers and releases, typed as they stand, each page in a folder of its own.

One thing is added to a simulation: what makes it one round. Figures are not what is tested.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.fenced_commands import TYPED_BY, typed
from tests.architecture.source_tree import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]

_SIMULATIONS = f"{Path(__file__).relative_to(ROOT).as_posix()}::test_a_simulation_of_a_page_runs"
_IN_ORDER = f"{Path(__file__).relative_to(ROOT).as_posix()}::test_the_commands_of_a_page_work_in_its_order"


def _shorter(command: str) -> str:
    if not command.startswith("cohortium simulate"):
        return command
    # `debug=tiny` brings a schedule of its own, which would take the place of an experiment's.
    words = "schedule.rounds=1 'seeds=[42]' tracking=none" if "experiment=" in command else "debug=tiny"
    return f"{command} {words}"


def _commands(test: str) -> list[tuple[str, str]]:
    return [(page, command) for page, typing in TYPED_BY.items() if typing == test for _, command in typed(ROOT / page)]


def _type(command: str, folder: Path, data: Path | None = None) -> str:
    line = _shorter(command)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "HOME": str(folder)}
    environment |= {} if data is None else {"COHORTIUM_DATA": str(data)}
    found = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert found.returncode == 0, f"{line}\n{found.stdout[-2000:]}\n{found.stderr[-3000:]}"
    return found.stdout


@pytest.mark.parametrize(("page", "command"), _commands(_SIMULATIONS))
def test_a_simulation_of_a_page_runs(page: str, command: str, tmp_path: Path, cohortium_data: Path) -> None:
    assert _type(command, tmp_path, cohortium_data).strip()


@pytest.mark.parametrize("page", sorted({page for page, _ in _commands(_IN_ORDER)}))
def test_the_commands_of_a_page_work_in_its_order(page: str, tmp_path: Path) -> None:
    known = "PUBLIC_KEY"
    for _, command in typed(ROOT / page):
        said = _type(command.replace("PUBLIC_KEY", known), tmp_path)
        if shown := re.search(r"signed by lead ([0-9a-f]{64})", said):
            known = shown[1]
