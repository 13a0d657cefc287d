"""Whether a site's machine can take part: Python, packages, folder, processor."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from federation.documents import Document
from federation.errors import InvalidInputError, MissingDependencyError

_OLDEST_PYTHON: Final = (3, 11)
_OF_AGENT: Final = ("torch", "opacus", "duckdb", "pint", "cryptography", "safetensors", "randomgen")
_OF_GATEWAY: Final = ("flwr", "httpx", "cryptography", "safetensors")
_INSTALL: Final = 'pip install "cohortium[site]"'

Side = Literal["agent", "gateway", "both"]
"""Which of a site's two processes a machine or container is for."""


class MachineCheck(Document):
    """One thing that was looked at."""

    name: str
    found: str
    passed: bool
    remedy: str = ""
    exit_code: int = 0
    """Of the error that it would be; 0 if it passed."""


class MachineReport(Document):
    """All that was looked at."""

    checks: tuple[MachineCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.passed for check in self.checks)

    @property
    def exit_code(self) -> int:
        """Of the first failure; 0 if there is none."""
        return next((check.exit_code for check in self.checks if not check.passed), 0)


def check_machine(folder: Path, *, side: Side = "both") -> MachineReport:
    """Look at Python, packages, the folder for data and state, and the processor.

    Args:
        folder: Where the site keeps data and state; of the gateway, what it may write.
        side: Each process has packages of its own, and only the agent computes.
    """
    names = {"agent": _OF_AGENT, "gateway": _OF_GATEWAY, "both": tuple(dict.fromkeys(_OF_AGENT + _OF_GATEWAY))}[side]
    packages = tuple(_package(name) for name in names)
    return MachineReport(checks=(_python(), *packages, _folder(folder), *(() if side == "gateway" else _threads())))


def _python() -> MachineCheck:
    passed = sys.version_info >= _OLDEST_PYTHON
    return MachineCheck(
        name="Python",
        found=".".join(map(str, sys.version_info[:3])),
        passed=passed,
        remedy="" if passed else f"install Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer",
        exit_code=0 if passed else MissingDependencyError.exit_code,
    )


def _package(name: str) -> MachineCheck:
    try:
        return MachineCheck(name=name, found=metadata.version(name), passed=True)
    except metadata.PackageNotFoundError:
        return MachineCheck(
            name=name, found="not installed", passed=False, remedy=_INSTALL, exit_code=MissingDependencyError.exit_code
        )


def _folder(folder: Path) -> MachineCheck:
    try:
        with tempfile.TemporaryFile(dir=folder):
            found, passed = str(folder.absolute()), True
    except OSError as failure:
        found, passed = f"{folder.absolute()}: {failure.strerror or type(failure).__name__}", False
    return MachineCheck(
        name="folder is writable",
        found=found,
        passed=passed,
        remedy="" if passed else "make the folder, and give this account permission to write in it",
        exit_code=0 if passed else InvalidInputError.exit_code,
    )


def _threads() -> tuple[MachineCheck, ...]:
    try:
        import torch
    except ImportError:
        return ()  # already reported as a package that is missing
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    return (
        MachineCheck(
            name="torch threads",
            found=f"{threads} on {cores} cores",
            passed=True,
            remedy="" if threads <= cores else "set OMP_NUM_THREADS to the number of cores for speed",
        ),
        MachineCheck(
            name="GPU",
            found=torch.cuda.get_device_name() if torch.cuda.is_available() else "none; the processor is used",
            passed=True,
        ),
    )
