"""Two accounts for two processes: who owns what in a site's home, and how a process becomes one of them.

The agent's account owns everything. The gateway's may read ``gateway/``, write ``gateway/state/``, and connect to the agent's
socket; it cannot even list the home. Both lose every privilege of root for good (setpriv(1)), and the agent its network.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.errors import ConfigurationError, MissingDependencyError
from site_client.home_paths import SiteLayout

_FOLDER: Final = 0o700
_FILE: Final = 0o600
_HOME: Final = 0o710
"""The gateway may pass through, and list nothing."""
_SHARED_FOLDER: Final = 0o2750
_PASSAGE: Final = 0o2710
"""What is made in it belongs to its group: the agent's socket to the gateway's."""
_SHARED_FILE: Final = 0o640
_NO_PRIVILEGES: Final = ("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")


@dataclass(frozen=True)
class Account:
    """An account of this machine.

    Args:
        user: Its number.
        group: Number of its main group.
        name: Its name, empty if it has none.
    """

    user: int
    group: int
    name: str = ""

    @classmethod
    def named(cls, name: str) -> Account:
        """An account by its name, or by its number.

        Raises:
            ConfigurationError: If there is no such account.
        """
        try:
            found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
        except KeyError as failure:
            if name.isdigit():
                return cls(user=int(name), group=int(name))
            raise ConfigurationError(
                f"expected an account of this machine, got {name!r}",
                remedy="make it (`useradd --system`), or name another",
            ) from failure
        return cls(user=found.pw_uid, group=found.pw_gid, name=found.pw_name)

    @classmethod
    def own(cls) -> Account:
        """The account of this process."""
        return cls(user=os.getuid(), group=os.getgid())

    def prefix(self) -> tuple[str, ...]:
        """A command that becomes a program of this account, with no privilege left."""
        groups = "--init-groups" if self.name else "--clear-groups"
        return (
            _tool("setpriv"), f"--reuid={self.user}", f"--regid={self.group}", groups, *_NO_PRIVILEGES, "--",
        )  # fmt: skip


def check_interpreter(account: Account) -> None:
    """Check that processes of an account run in the Python of this process.

    The account may not be allowed to read where it is installed; its start then fails, or Python takes the library of another.

    Raises:
        ConfigurationError: If they do not.
    """
    command = [*account.prefix(), sys.executable, "-I", "-c", "import sys; print(sys.version)"]
    # With nothing of this environment: the hospital's passwords may be in it, and an account reads its processes' environment.
    found = subprocess.run(command, capture_output=True, text=True, check=False, env={})  # noqa: S603 - our own interpreter
    if found.returncode != 0 or found.stdout.strip() != sys.version:
        got = found.stdout.split(maxsplit=1)[0] if found.returncode == 0 and found.stdout.strip() else "none"
        raise ConfigurationError(
            f"expected account {account.name or account.user} to run Python {sys.version.split(maxsplit=1)[0]} of "
            f"{Path(sys.executable).resolve()}, got {got}",
            remedy="install Python and Cohortium where the account may read them, such as below /opt",
        )


def without_network() -> tuple[str, ...]:
    """A command that becomes a program in a network namespace of its own, where not even loopback is up.

    Raises:
        ConfigurationError: If this account may not do that here.
    """
    command = [_tool("unshare"), "--net"]
    if os.getuid() != 0:
        command += ["--user", "--map-current-user"]
    tried = subprocess.run([*command, "--", _tool("true")], capture_output=True, check=False)  # noqa: S603 - fixed words
    if tried.returncode != 0:
        raise ConfigurationError(
            "expected to start the agent without a network, this account may not do that here",
            remedy="start as root with --agent-user and --gateway-user, run the agent in a container without network, or accept "
            "the risk with --with-network",
        )
    return (*command, "--")


def share_out(layout: SiteLayout, agent: Account, gateway: Account) -> None:
    """Give every file of a site's home to the account that may have it. For root, while no process runs.

    Args:
        layout: Of the home.
        agent: Owns everything.
        gateway: Gets what its folder holds.
    """
    for folder in (layout.run, layout.gateway, layout.gateway / "state"):
        folder.mkdir(parents=True, exist_ok=True)
    logs = logs_folder(layout)
    for place, folders, files in os.walk(layout.folder):
        here = Path(place)
        folders[:] = [
            name for name in folders if here / name not in (logs, layout.gateway) and not (here / name).is_symlink()
        ]
        _give(here, agent.user, agent.group, _FOLDER)
        for name in files:
            if not (here / name).is_symlink():
                _give(here / name, agent.user, agent.group, _FILE)
    _give(layout.folder, agent.user, gateway.group, _HOME)
    _give(layout.run, agent.user, gateway.group, _PASSAGE)
    _give(layout.gateway, agent.user, gateway.group, _SHARED_FOLDER)
    for path in sorted(layout.gateway.iterdir()):
        if path.is_file() and not path.is_symlink():
            _give(path, agent.user, gateway.group, _SHARED_FILE)
    for place, folders, files in os.walk(layout.gateway / "state"):
        here = Path(place)
        folders[:] = [name for name in folders if not (here / name).is_symlink()]
        _give(here, gateway.user, gateway.group, _FOLDER)
        for name in files:
            if not (here / name).is_symlink():
                _give(here / name, gateway.user, gateway.group, _FILE)


def share_with_gateway(layout: SiteLayout) -> None:
    """Let the gateway's group read what was written into its folder since, such as a renewed certificate.

    For the agent's account, and for root. Where both processes are of one account there is nothing to do.
    """
    give_back(layout)
    folder = layout.gateway.stat()
    if not folder.st_mode & stat.S_ISGID or os.getuid() not in (0, folder.st_uid):
        return
    for path in layout.gateway.iterdir():
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_gid == folder.st_gid and found.st_uid == folder.st_uid:
            path.chmod(_SHARED_FILE)


def give_back(layout: SiteLayout) -> None:
    """Give what a command of root has written into a home to the account that owns the home: the agent could not read it otherwise.

    For any other account, and in a home of root, there is nothing to do. The logs stay the supervisor's.
    """
    owner = layout.folder.stat().st_uid
    if os.getuid() != 0 or owner == 0:
        return
    logs = logs_folder(layout)
    for place, folders, files, descriptor in os.fwalk(layout.folder, follow_symlinks=False):
        folders[:] = [name for name in folders if Path(place) / name != logs]
        if os.fstat(descriptor).st_uid == 0:
            os.fchown(descriptor, owner, -1)
        for name in files:
            _give_back_file(name, owner, folder=descriptor)


def _give_back_file(name: str, owner: int, *, folder: int) -> None:
    """By descriptors only: the owner of the home may put a link to a file of root in a name's place at any moment."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return  # a link, a socket, or gone
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and found.st_nlink == 1:
            os.fchown(descriptor, owner, -1)
    finally:
        os.close(descriptor)


def logs_folder(layout: SiteLayout) -> Path:
    """Where the supervisor keeps the logs of both processes; neither can write there."""
    return layout.folder / "logs"


def _give(path: Path, user: int, group: int, mode: int) -> None:
    os.chown(path, user, group, follow_symlinks=False)
    path.chmod(mode)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingDependencyError(
            f"expected the command {name}, it is not installed", remedy="install util-linux and coreutils"
        )
    return found
