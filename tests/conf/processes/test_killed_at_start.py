"""A program that is killed before it is ready is waited for; one that ends by itself is an error at once."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from conf.processes.supervisor import PROCESSES_FILE, Program, Supervisor
from federation.errors import TransportError
from tests.conftest import ROOT

MODULE = "slow_starter"
BODY = """
import pathlib, sys, time
def serve():
    begun, ready = map(pathlib.Path, sys.argv[1:3])
    if begun.exists():
        ready.touch()
    begun.touch()
    time.sleep(600)
def killed_then_fails():
    begun = pathlib.Path(sys.argv[1])
    if begun.exists():
        sys.exit("no such hospital")
    begun.touch()
    time.sleep(600)
"""

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")


@pytest.fixture
def supervisor(tmp_path):
    (tmp_path / f"{MODULE}.py").write_text(BODY)
    with Supervisor(tmp_path / "run", os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as found:
        yield found


def start_and_kill(supervisor: Supervisor, folder: Path, function: str) -> threading.Thread:
    """Start the program `one`, and kill it as soon as it has begun."""
    begun, ready = folder / "begun", folder / "ready"
    arguments = (str(begun), str(ready))
    supervisor.start([Program("one", f"{MODULE}:{function}", arguments, ready.is_file)])

    def kill() -> None:
        while not begun.exists():
            time.sleep(0.01)
        os.kill(json.loads((folder / "run" / PROCESSES_FILE).read_text())["one"], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_program_that_is_killed_at_start_is_waited_for(supervisor: Supervisor, tmp_path: Path) -> None:
    killing = start_and_kill(supervisor, tmp_path, "serve")
    supervisor.wait_until_ready(["one"])
    killing.join()
    assert supervisor.states()["one"].restarts == 1


def test_a_program_that_was_killed_and_then_ends_by_itself_is_an_error(supervisor: Supervisor, tmp_path: Path) -> None:
    killing = start_and_kill(supervisor, tmp_path, "killed_then_fails")
    with pytest.raises(TransportError, match="one to start, it ended: no such hospital"):
        supervisor.wait_until_ready(["one"])
    killing.join()
