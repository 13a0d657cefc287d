"""One process at a time holds an installation, and others can see which: until it ends, however that is."""

import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from conf.processes.process_file import held_by_one, holder
from federation.errors import ConfigurationError


def hold(path):
    return held_by_one(path, expected="nobody else", remedy="stop it")


def test_it_is_held_once_and_told_who_holds_it(tmp_path) -> None:
    path = tmp_path / "pid"
    assert holder(path) is None
    with hold(path):
        assert holder(path) == os.getpid()
        with pytest.raises(ConfigurationError, match="nobody else"), hold(path):
            pass
    assert holder(path) is None
    with hold(path):
        assert holder(path) == os.getpid()


def test_it_falls_with_a_killed_process_and_its_old_number_means_nothing(tmp_path) -> None:
    path = tmp_path / "pid"
    program = (
        "import sys, time; from pathlib import Path; from conf.processes.process_file import held_by_one\n"
        "with held_by_one(Path(sys.argv[1]), expected='x', remedy='y'):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert holder(path) == process.pid
        process.kill()
        process.wait()
    assert path.read_text() == str(process.pid)
    assert holder(path) is None
    with hold(path):
        assert holder(path) == os.getpid()


def test_somebody_who_only_looks_stops_nobody_from_starting(tmp_path) -> None:
    path = tmp_path / "pid"
    path.touch()
    with path.open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        threading.Thread(target=lambda: (time.sleep(0.07), fcntl.flock(looked_at, fcntl.LOCK_UN))).start()
        with hold(path):
            assert holder(path) == os.getpid()
