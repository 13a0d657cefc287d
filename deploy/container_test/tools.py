"""Tools from PyPI that only the checks need, in an environment of their own: compose, Helm's engine, validators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from deploy.container_test.engine import command

PACKAGES: Final = (
    "podman-compose==1.6.0",
    "helm-python-sdk==0.2.2",
    "kubernetes-validate==1.37.0",
    "cyclonedx-python-lib[json-validation]==11.12.0",
    "pyyaml==6.0.3",
)


def find_or_make_tools(folder: Path) -> Path:
    """The environment's ``bin`` folder.

    Args:
        folder: Of the environment.
    """
    stamp = folder / ".complete"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != "\n".join(PACKAGES):
        command((sys.executable, "-m", "venv", str(folder)))
        command((str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *PACKAGES))
        stamp.write_text("\n".join(PACKAGES), encoding="utf-8")
    return folder / "bin"
