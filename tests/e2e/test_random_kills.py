"""SIGKILL for random processes at random instants of a deployed study: it ends as if nothing had happened.

`COHORTIUM_KILLS` says how many; `python -m experiments.rehearsal.random_kills --kills 100` is the same in full.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("COHORTIUM_KILLS", "8"))

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(3600 + 120 * KILLS),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]


def test_a_study_ends_as_undisturbed_whatever_is_killed(tmp_path: Path) -> None:
    words = ["--kills", str(KILLS), "--rounds", str(max(4, KILLS // 3)), "--seed", "3"]
    found = subprocess.run(
        [sys.executable, "-m", "experiments.rehearsal.random_kills", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "300", "TMPDIR": "/tmp"},  # a socket's path has at most 107 bytes
    )
    assert found.returncode == 0, f"{found.stdout[-5000:]}\n{found.stderr[-3000:]}"
    numbers = [int(number) for number in re.findall(r"^kill +(\d+) after", found.stdout, flags=re.MULTILINE)]
    assert numbers == list(range(1, KILLS + 1))
    assert "every ledger holds the charges of the simulation, each once" in found.stdout
    assert "the deployed model equals the simulated one, bit for bit" in found.stdout
    assert re.search(rf"^{KILLS} kills over \d+ studies in \d+ s: every study finished", found.stdout, re.MULTILINE)
