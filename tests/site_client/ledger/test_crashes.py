"""No crash, race or failing disk overspends, breaks the chain, or lets bytes leave that the ledger does not know."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT
from tests.site_client.ledger.crash_runs import POINTS

SOURCE = Path(__file__).with_name("failing_disk.c")


def run(*words: object, preload: Path | None = None) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"LD_PRELOAD": str(preload)} if preload else {})}
    command = [sys.executable, "-m", "tests.site_client.ledger.crash_runs", *map(str, words)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def failing_disk():
    """The library that lets the k-th call fail."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs Linux and a C compiler: the failing disk is a preloaded library")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "failing_disk.so"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
        yield library


def test_twelve_points_are_named():
    assert len(set(POINTS)) == 12


def test_killed_anywhere(tmp_path):
    found = run("kills", tmp_path, 24, 12)
    assert found["killed"] == {"at random": 12, **dict.fromkeys(POINTS, 2)}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_two_thousand_times(tmp_path):
    found = run("kills", tmp_path, 600, 1400)
    assert found["killed"] == {"at random": 1400, **dict.fromkeys(POINTS, 50)}
    assert found["studies"] > 50


def test_two_processes_race_for_one_cap(tmp_path):
    found = run("race", tmp_path, 200)
    assert found["charged"] == found["fits"] == 200
    assert found["epsilon"] <= found["cap"]
    assert found["refused"] > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_race_ten_thousand_reservations(tmp_path):
    found = run("race", tmp_path, 5000)
    assert found["charged"] == found["fits"] == 5000
    assert found["epsilon"] <= found["cap"]
    assert found["admitted"] + found["refused"] == 10_000


@pytest.mark.parametrize(("kind", "how"), [("ENOSPC", "once"), ("SHORT", "and again"), ("KILL", "once")])
def test_the_disk_fails_now_and_then(tmp_path, failing_disk, kind, how):
    found = run("faults", tmp_path, kind, 7, 2, how, preload=failing_disk)
    assert found["calls"] > 60
    assert found["killed" if kind == "KILL" else "refused"] > 4


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("how", ["once", "for good", "and again"])
@pytest.mark.parametrize("kind", ["EIO", "ENOSPC", "SHORT", "KILL"])
def test_the_disk_fails_at_every_call(tmp_path, failing_disk, kind, how):
    found = run("faults", tmp_path, kind, 1, 4, how, preload=failing_disk)
    assert found["calls"] > 150
    assert found["finished"] + found["refused"] + found["killed"] == found["calls"]
    assert found["killed" if kind == "KILL" else "refused"] > 40
