"""The most memory that a process of its own held, as the kernel counts it: what torch takes is seen, too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).parents[1]


def peak_mib() -> float:
    """The most that this process held so far, in MiB.

    Not `getrusage`: a new process takes its `ru_maxrss` over from the process that started it.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def grown_mib(script: str, *arguments: object) -> float:
    """What a script prints: by how many MiB its peak grew while it did what is measured.

    Args:
        script: Of Python; prints one number last, the difference of two :func:`peak_mib`.
        arguments: Of the script.
    """
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=_REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(_REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])
