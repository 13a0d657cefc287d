"""buildah and podman, with their storage in one folder, so that nothing else on this machine is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

TMP: Final = "/tmp:rw,noexec,nosuid,nodev,size=256m,mode=1777"  # noqa: S108 - a mount inside a container
CONFINED: Final = (
    "--read-only", "--read-only-tmpfs=false", "--tmpfs", TMP,
    "--cap-drop", "all", "--security-opt", "no-new-privileges", "--network", "none",
)  # fmt: skip
"""What the compose files ask for, for single commands."""
# Health checks of podman are systemd timers, which a machine without systemd cannot have: they are run by hand here.
_NO_TIMERS: Final = "--no-healthcheck"
_TOOLS: Final = ("buildah", "podman", "runc", "debootstrap")
OPEN_FILES: Final = 4096


@dataclass(frozen=True)
class Outcome:
    """What a command said."""

    code: int
    out: str
    error: str

    @property
    def text(self) -> str:
        """Both, for a message."""
        return (self.out + self.error).strip()


class CommandFailedError(Exception):
    """A command that had to succeed did not."""


def command(
    words: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
    check: bool = True,
    log: IO[str] | None = None,
) -> Outcome:
    """Run one command.

    Args:
        words: The command.
        environment: Beside this process's own.
        check: Whether it must succeed.
        log: Where what it says goes, in place of the outcome.

    Raises:
        CommandFailedError: If it fails and ``check`` is set; with the end of what it said.
    """
    found = subprocess.run(  # noqa: S603 - our own words, no shell
        list(words),
        env=None if environment is None else {**os.environ, **environment},
        stdout=subprocess.PIPE if log is None else log,
        stderr=subprocess.PIPE if log is None else subprocess.STDOUT,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    outcome = Outcome(found.returncode, found.stdout or "", found.stderr or "")
    if check and outcome.code != 0:
        said = outcome.text[-3000:] if log is None else f"see {log.name}"
        raise CommandFailedError(f"{' '.join(words)} ended with {outcome.code}:\n{said}")
    return outcome


def missing_tools() -> list[str]:
    """Commands that have to be installed first."""
    return [tool for tool in _TOOLS if shutil.which(tool) is None]


class Engine:
    """Builds and runs images.

    Args:
        folder: Of storage and settings; made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed: list[tuple[str, ...]] = []
        """Words of every ``cohortium`` command that ran in a container and succeeded."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "containers.conf").write_text(_settings(folder), encoding="utf-8")
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder / "storage"}"\nrunroot = "{folder / "run"}"\n',
            encoding="utf-8",
        )
        self.environment = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def podman(self, *words: str, check: bool = True) -> Outcome:
        """One podman command."""
        return command(("podman", *words), environment=self.environment, check=check)

    def build(self, target: str, *, source: Path, base: str, tag: str) -> None:
        """Build one target, without any privilege that a chroot does not need.

        Args:
            target: Of the Containerfile.
            source: Root of the source tree.
            base: Reference of the base image, by digest.
            tag: Name of the result.
        """
        deploy = source / "deploy"
        words = [
            "nice", "buildah", "build", "--isolation", "chroot", "--format", "docker", "--layers",
            "--file", str(deploy / "Containerfile"), "--ignorefile", str(deploy / "Containerfile.dockerignore"),
            "--target", target, "--build-arg", f"BASE={base}", *_pip_here(), "--tag", tag, str(source),
        ]  # fmt: skip
        with (self.folder / f"build-{target}.log").open("w", encoding="utf-8") as log:
            command(words, environment=self.environment, log=log)

    def run(
        self, image: str, *words: str, flags: Sequence[str] = CONFINED, entrypoint: str = "", check: bool = True
    ) -> Outcome:
        """Run one command in a container that is gone afterwards."""
        entry = ("--entrypoint", json.dumps([entrypoint])) if entrypoint else ()
        return self.podman("run", "--rm", _NO_TIMERS, *flags, *entry, image, *words, check=check)

    def python(
        self, image: str, code: str, *words: str, flags: Sequence[str] = CONFINED, check: bool = True
    ) -> Outcome:
        """Run Python code in an image."""
        return self.run(image, "-c", code, *words, flags=flags, entrypoint="/opt/cohortium/bin/python", check=check)

    def remove(self) -> None:
        """Delete every image and container of this storage, and the folder."""
        self.podman("system", "reset", "--force", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _settings(folder: Path) -> str:
    """runc, because crun refuses machines with both versions of cgroups; limits that need no right to raise them."""
    limits = f'["nofile={OPEN_FILES}:{OPEN_FILES}", "nproc={OPEN_FILES}:{OPEN_FILES}"]'
    return "\n".join((
        "[engine]", 'cgroup_manager = "cgroupfs"', 'runtime = "runc"', 'events_logger = "file"',
        "[containers]", f"default_ulimits = {limits}",
        "[network]", 'network_backend = "netavark"', f'network_config_dir = "{folder / "networks"}"', "",
    ))  # fmt: skip


def _pip_here() -> list[str]:
    """How pip reaches packages on this machine: its certificates and its folder of wheels, if it has one."""
    words: list[str] = []
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        words += ["--volume", f"{certificates}:{certificates}:ro", "--build-arg", f"PIP_CERT={certificates}"]
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if wheels and Path(wheels).is_dir():
        words += ["--volume", f"{wheels}:{wheels}:ro", "--build-arg", f"PIP_FIND_LINKS={wheels}"]
        if any(Path(wheels).glob("torch-*+cpu-*")):
            words += ["--build-arg", "TORCH_INDEX="]
    for name in ("PIP_INDEX_URL", "TORCH_INDEX"):
        if name in os.environ:
            words += ["--build-arg", f"{name}={os.environ[name]}"]
    return words


def say(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
