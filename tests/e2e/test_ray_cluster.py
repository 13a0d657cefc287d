"""`engine=ray` on a cluster that runs already, as docs/ray_engine.md starts it: the same model, and the cluster stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ray_machines import MARK, Machines, left_of, two_machines

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="finds the cluster's processes in /proc"),
]
COHORTIUM = "from experiments.main import main; main()"
STUDY = ("study=demo", "debug=tiny", "privacy=patient_level", "algorithm=scaffold", "schedule.rounds=3", "seeds=[1,2]")


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with two_machines() as running:
        yield running
    assert left_of(running.environment[MARK]) == []


def _python(machines: Machines, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=dict(machines.environment),
        capture_output=True,
        text=True,
        check=False,
    )


def _simulated(machines: Machines, folder: Path, *engine: str) -> dict[str, bytes]:
    """The model of each seed, as the command line leaves it."""
    done = _python(machines, "-c", COHORTIUM, "simulate", *STUDY, *engine, f"output={engine[0][-3:]}", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return {seed: (folder / engine[0][-3:] / seed / "model.safetensors").read_bytes() for seed in ("seed-1", "seed-2")}


def test_two_studies_on_a_cluster_have_the_models_of_inline_bit_for_bit_and_it_goes_on(
    machines: Machines, tmp_path: Path
) -> None:
    expected, before = _simulated(machines, tmp_path, "engine=inline"), machines.jobs()
    found = _simulated(machines, tmp_path, "engine=ray", f"engine.address={machines.address}")
    assert expected == found
    assert expected["seed-1"] != expected["seed-2"]
    assert len(machines.jobs() - before) == 2, "one for each seed: it is this cluster that worked"
    assert machines.is_running()


def test_what_differs_or_is_taken_is_refused_and_nobody_is_told(machines: Machines, tmp_path: Path) -> None:
    done = _python(machines, "-m", "tests.e2e.ray_driver", machines.address, str(tmp_path / "study"), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert said["worker"]["FLWR_TELEMETRY_ENABLED"] == said["worker"]["RAY_USAGE_STATS_ENABLED"] == "0"
    assert said["worker"]["OMP_NUM_THREADS"] == "1"
    assert said["usage"] is False
    assert said["nodes"] == 2
    assert said["connected"] is False
    assert said["left"] == []
    assert said["code"].count("cohortium's code") == 2, "of both nodes"
    assert "expected a Ray cluster with all of its processors free, got 1 of 2" in said["busy"]
    assert machines.is_running()
