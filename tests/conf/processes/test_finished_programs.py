"""A program whose work is done is not started again, and its name becomes free."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from conf.processes.supervisor import Program, Supervisor
from tests.conftest import ROOT

BODY = """
import pathlib, sys
def work():
    with open(sys.argv[1], "a") as stream:
        stream.write("ran\\n")
"""

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "working_program.py").write_text(BODY)
    return os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_program_that_is_over_stays_ended_and_another_is_started_again(tmp_path, environment):
    path, is_over = tmp_path / "runs", False
    program = Program(
        name="one",
        entry="working_program:work",
        arguments=(str(path),),
        ready=path.is_file,
        over=lambda: is_over,
    )
    with Supervisor(tmp_path / "run", environment) as supervisor:
        supervisor.start([program])
        wait_until(lambda: supervisor.states()["one"].restarts >= 2)  # its work is not done: it is started again
        is_over = True
        wait_until(lambda: supervisor.states()["one"].over)
        state, runs = supervisor.states()["one"], path.read_text()
        time.sleep(1.5)
        assert supervisor.states()["one"] == state
        assert path.read_text() == runs
        supervisor.forget("one")
        assert supervisor.states() == {}
        supervisor.forget("one")
        is_over = False
        supervisor.start([dataclasses.replace(program, arguments=(str(tmp_path / "again"),))])
        wait_until((tmp_path / "again").is_file)
