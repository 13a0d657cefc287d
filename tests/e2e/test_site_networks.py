"""Three sites, each in a network of its own from which only the gate's port can be reached: from enrolment to a scored release.

`python -m experiments.rehearsal --namespaces` is the test: it stops with an error where anything is not as it says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.rehearsal.networks import problem_here

PROBLEM = problem_here()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(PROBLEM), reason=f"network namespaces cannot be made here: {PROBLEM}"),
]
CHECKED = (
    "without the wall's rules every site reaches 4 addresses of others",
    "with them every site reaches 10.231.0.2:8443 and nothing else, not another site, not another port",
    "with them the gate's machine reaches no site",
    "of hospital-01; the study waits for it",
    "hospital-01 is back",
    "the link of hospital-02 was cut",
    "nothing listens at a site, a site reaches 10.231.0.2:8443 and nothing else, an agent has no network",
)


def test_a_study_between_walled_sites_survives_a_death_and_a_cut(tmp_path: Path) -> None:
    words = ["--namespaces", "--study", "synthetic", "--rounds", "5", "--folder", str(tmp_path / "rehearsal")]
    found = subprocess.run(
        [sys.executable, "-m", "experiments.rehearsal", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "300"},
    )
    logs = "".join(path.read_text()[-2000:] for path in (tmp_path / "rehearsal").glob("*.log"))
    assert found.returncode == 0, f"{found.stdout[-3000:]}\n{found.stderr[-3000:]}\n{logs}"
    said = [line.removeprefix("checked: ") for line in found.stdout.splitlines() if line.startswith("checked: ")]
    for what in CHECKED:
        assert any(what in line for line in said), (what, said)
    assert "every ledger holds the charges of the simulation, each once" in found.stdout
    assert "the deployed model equals the simulated one, bit for bit" in found.stdout
    for command in ("site score release", "site audit verify --against", "site ledger verify"):
        assert sum(f"site hospital-0{number}  cohortium {command}" in found.stdout for number in (1, 2, 3)) == 3
    assert not [line for line in namespaces() if line.startswith("cohortium-")]


def namespaces() -> list[str]:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
