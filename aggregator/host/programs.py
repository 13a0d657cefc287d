"""Which processes an aggregator's host has, and how one sees that they are ready."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from aggregator.host.health import ask
from aggregator.host.home import AggregatorHome
from aggregator.host.home_paths import HostLayout
from aggregator.host.study_outcome import is_over
from aggregator.host.study_place import StudyPlace
from conf.processes.supervisor import Program

SUPERLINK: Final = "superlink"
GATE: Final = "gate"
MLFLOW: Final = "mlflow"
_OK: Final = 200

QUIET: Final[Mapping[str, str]] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_LOG_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Environment of every process: nothing calls home, loopback needs no proxy."""

_INHERITED: Final = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "USER"})


def environment(layout: HostLayout) -> dict[str, str]:
    """Environment of this host's processes: a few names are inherited, and no password or proxy among them."""
    inherited = {name: value for name, value in os.environ.items() if name in _INHERITED}
    return inherited | QUIET | {"FLWR_HOME": str(layout.state / "flower")}


def standing_programs(layout: HostLayout, home: AggregatorHome) -> list[Program]:
    """What runs as long as the host does."""
    programs = [
        _program(SUPERLINK, "superlink_process", layout, port=home.superlink_port),
        _program(GATE, "gate_process", layout, port=home.gate_health_port),
    ]
    if home.tracking:
        programs.append(_program(MLFLOW, "mlflow_process", layout, port=home.mlflow_port))
    return programs


def coordinator_program(layout: HostLayout, place: StudyPlace) -> Program:
    """The coordinator of one launched study; it is over when it has written an outcome."""
    return Program(
        name=coordinator_name(place),
        entry="aggregator.host.coordinator_process:main",
        arguments=("--home", str(layout.folder), "--study", place.folder.name),
        ready=place.status.is_file,
        over=lambda: is_over(place),
    )


def coordinator_name(place: StudyPlace) -> str:
    """Of the process and its log."""
    return f"coordinator-{place.folder.name[:16]}"


def _program(name: str, module: str, layout: HostLayout, *, port: int) -> Program:
    return Program(
        name=name,
        entry=f"aggregator.host.{module}:main",
        arguments=("--home", str(layout.folder)),
        ready=lambda: ask(port)[0] == _OK,
    )
