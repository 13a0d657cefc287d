"""Supervising processes are started again, and a process is known by name only while it runs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conf.processes.supervisor import PROCESSES_FILE
from experiments.rehearsal.keeper import Keeper

PARENT = """
import json, pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
pathlib.Path(sys.argv[1]).write_text(json.dumps({"agent": child.pid, "gateway": int(sys.argv[2])}))
print("up", flush=True)
sys.stdin.read()
"""


class Site:
    """One site whose supervising process is a script."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "north" / "logs"
        self.logs.mkdir(parents=True)
        self.started: list[subprocess.Popen[bytes]] = []
        self.keeper = Keeper(
            SimpleNamespace(folder=folder, sites_home=lambda site: folder / site, start_site=lambda _: self.start())
        )

    def start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", PARENT, str(self.logs / PROCESSES_FILE), str(os.getpid())]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"up\n"
        self.started.append(process)
        return process


@pytest.fixture
def site(tmp_path):
    found = Site(tmp_path)
    found.keeper.keep("north", found.start())
    yield found
    for process in found.started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            stream.close()


def test_only_what_runs_below_its_supervisor_is_named(site: Site) -> None:
    numbers = site.keeper.processes()
    assert set(numbers) == {"north supervisor", "north agent"}  # the gateway's number is that of a stranger
    assert json.loads((site.logs / PROCESSES_FILE).read_text())["agent"] == numbers["north agent"]
    assert site.keeper.names() == ("north supervisor", "north agent", "north gateway")
    os.kill(numbers["north supervisor"], signal.SIGKILL)
    site.started[0].wait()
    assert site.keeper.processes() == {}


def test_a_supervisor_that_ended_is_started_again_and_an_end_that_nobody_asked_for_is_told(site: Site) -> None:
    os.kill(site.keeper.processes()["north supervisor"], signal.SIGKILL)
    assert site.keeper.wait(60, until=lambda: len(site.started) > 1)
    assert site.keeper.unasked == []
    site.started[1].stdin.close()
    assert site.keeper.wait(60, until=lambda: len(site.started) > 2)
    assert site.keeper.unasked == ["north supervisor ended with 0"]


def test_waiting_ends_at_its_end() -> None:
    keeper = Keeper(SimpleNamespace())
    assert not keeper.wait(0.01)
    assert keeper.wait(60, until=lambda: True)
