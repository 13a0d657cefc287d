"""A command from a warm terminal does and says what it does from any other, and leaves the process that it was copied from alone."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments.rehearsal.terminal import Terminal
from experiments.rehearsal.warm_terminal import WarmTerminal
from federation.errors import StudyError

ALONE = """
import os, sys
from pathlib import Path
from rich.console import Console
from experiments.rehearsal.warm_terminal import WarmTerminal
terminal = WarmTerminal("lead", Path(sys.argv[1]), {"COHORTIUM_AUTHORITY": sys.argv[1] + "/office"}, Console(quiet=True))
before = Path.cwd(), dict(os.environ), list(sys.argv)
code, out, err = terminal.ended(("study", "check", "absent.yaml"))
assert (code, out, "absent.yaml" in err) == (11, "", True), (code, out, err)
made = terminal.ask("consortium", "init", "rehearsal")
assert made["authority"] == sys.argv[1] + "/office"
assert before == (Path.cwd(), dict(os.environ), list(sys.argv))
print(os.getpid())
"""


def test_a_warm_command_does_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    """In a process of its own: a copy of a test runner has the runner's threads."""
    words = [sys.executable, "-c", ALONE, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == f"{process.pid}\n"  # said once: no copy went on
    assert (tmp_path / "office").is_dir()
    cold = Terminal("lead", tmp_path, {}, Console(quiet=True)).ended(("study", "check", "absent.yaml"))
    assert cold[0] == 11
    assert Path.cwd() != tmp_path


def test_a_prefix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="without a prefix, got unshare --net --"):
        WarmTerminal("officer", tmp_path, {}, Console(quiet=True), ("unshare", "--net", "--"))
