"""Supervised processes: ready before use, restarted when they die, never left behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conf.processes.supervisor import PROCESSES_FILE, Program, Supervisor
from federation.errors import TransportError
from tests.conftest import ROOT
from tests.e2e.flower_study import alive, gone

MODULE = "supervised_program"
BODY = """
import pathlib, sys, time
def serve():
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(600)
def fail():
    print("no such hospital")
    sys.exit(3)
"""

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")


@pytest.fixture
def environment(tmp_path):
    (tmp_path / f"{MODULE}.py").write_text(BODY)
    return os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}


def program(tmp_path, name="one", *, function="serve"):
    path = tmp_path / f"{name}.ready"
    return Program(name=name, entry=f"{MODULE}:{function}", arguments=(str(path),), ready=path.is_file)


def pid_of(folder, name="one"):
    return json.loads((folder / PROCESSES_FILE).read_text())[name]


def test_programs_are_ready_then_gone(tmp_path, environment):
    with Supervisor(tmp_path / "run", environment) as supervisor:
        supervisor.start([program(tmp_path), program(tmp_path, "two")])
        supervisor.wait_until_ready(["one", "two"])
        numbers = [pid_of(tmp_path / "run", name) for name in ("one", "two")]
        assert alive(numbers) == numbers
    assert alive(numbers) == []
    supervisor.close()


def test_a_program_that_dies_at_start_is_an_error_that_names_its_log(tmp_path, environment):
    with Supervisor(tmp_path / "run", environment) as supervisor:
        supervisor.start([program(tmp_path, function="fail")])
        with pytest.raises(TransportError) as failure:
            supervisor.wait_until_ready(["one"])
    assert "the process one to start, it ended: no such hospital" in str(failure.value)
    assert str(tmp_path / "run" / "one.log") in str(failure.value)


def test_a_program_that_never_answers_is_an_error(tmp_path, environment):
    silent = Program(name="one", entry=f"{MODULE}:serve", arguments=(str(tmp_path / "x"),), ready=lambda: False)
    with Supervisor(tmp_path / "run", environment, start_seconds=0.5) as supervisor:
        supervisor.start([silent])
        with pytest.raises(TransportError, match="did not answer within"):
            supervisor.wait_until_ready(["one"])


def test_a_program_that_is_killed_is_started_again(tmp_path, environment):
    with Supervisor(tmp_path / "run", environment) as supervisor:
        supervisor.start([program(tmp_path)])
        supervisor.wait_until_ready(["one"])
        first = pid_of(tmp_path / "run")
        (tmp_path / "one.ready").unlink()
        os.kill(first, signal.SIGKILL)
        supervisor.wait_until_ready(["one"], may_die=True)
        assert pid_of(tmp_path / "run") != first
        assert alive([first]) == []


def test_no_program_outlives_a_supervisor_that_is_killed(tmp_path, environment):
    script = (
        "import sys, time; from pathlib import Path; import os\n"
        "from conf.processes.supervisor import Program, Supervisor\n"
        "folder = Path(sys.argv[1]); ready = folder / 'one.ready'\n"
        f"one = Program('one', '{MODULE}:serve', (str(ready),), ready.is_file)\n"
        "supervisor = Supervisor(folder / 'run', dict(os.environ)).__enter__()\n"
        "supervisor.start([one]); supervisor.wait_until_ready(['one']); print('ready', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        number = pid_of(tmp_path / "run")
        assert alive([number]) == [number]
        parent.kill()
    assert gone([number])
