"""Facts about the machine and the software of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

from experiments.benchmarks.peer_environment import ROOT
from experiments.benchmarks.records import MachineFacts

_PACKAGES: Final = ("cohortium", "torch", "numpy", "opacus", "flwr", "ray", "pydantic")
_CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")


def machine_facts() -> MachineFacts:
    """What a reader needs to judge a figure: processor, cores, caches, versions, threads."""
    import torch

    built = torch.__config__.show()
    return MachineFacts(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        caches=_caches(),
        memory_gib=_memory_gib(),
        system=platform.platform(),
        python=platform.python_version(),
        torch_build="; ".join(
            re.findall(r"(?:CPU capability usage: \w+|Intel\(R\) MKL-DNN v[\d.]+|BLAS_INFO=\w+)", built)
        ),
        threads=torch.get_num_threads(),
        accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        versions={name: _version(name) for name in _PACKAGES},
    )


def code_version(folder: Path = ROOT) -> str:
    """The commit of the code in a folder, ``-dirty`` where files were changed since; ``unknown`` without Git."""
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def load_average() -> tuple[float, float, float]:
    """Processes that wanted to run in the last 1, 5 and 15 minutes."""
    one, five, fifteen = (round(value, 2) for value in os.getloadavg())
    return one, five, fifteen


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "not installed"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _caches() -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in sorted(_CACHES.glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        found[f"L{level} {kind.lower()}"] = size
    return found


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
