"""A base image from Debian's packages, for machines that reach no registry of images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from deploy.container_test.engine import Engine, command

RELEASE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
_PACKAGES: Final = "ca-certificates,python3,python3-venv"
_LEFT_OUT: Final = ("./dev", "./proc", "./sys", "./var/cache/apt", "./var/lib/apt/lists")
_NAME: Final = "localhost/cohortium-base"


def find_or_make_base(engine: Engine, *, mirror: str = MIRROR) -> str:
    """The base image's reference, by digest.

    Args:
        engine: Where it is kept.
        mirror: Of Debian's packages.
    """
    found = engine.podman("image", "inspect", "--format", "{{.Digest}}", _NAME, check=False)
    if found.code != 0:
        _make(engine, mirror)
        found = engine.podman("image", "inspect", "--format", "{{.Digest}}", _NAME)
    return f"{_NAME}@{found.out.strip()}"


def _make(engine: Engine, mirror: str) -> None:
    root, archive = engine.folder / "base", engine.folder / "base.tar"
    shutil.rmtree(root, ignore_errors=True)
    command(("nice", "debootstrap", "--variant=minbase", f"--include={_PACKAGES}", RELEASE, str(root), mirror))
    command(("tar", "-C", str(root), *(f"--exclude={name}" for name in _LEFT_OUT), "-cf", str(archive), "."))
    engine.podman("import", str(archive), f"{_NAME}:latest")
    Path(archive).unlink()
    shutil.rmtree(root)
