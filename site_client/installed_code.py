"""What is installed here, by its hashes, and whether it is what the site has accepted. The standard library only.

Two things are hashed. The *code*: every file of our own packages that Python can run or that steers it. The *lock*: for every
library, the record that its installer left, which has the version and a hash of each file (PEP 376, PEP 427). A process compares
both with the site's paper before it imports anything that reads records, holds keys or talks to a network. That paper's signature
is checked by :mod:`site_client.accepted_code`, as soon as it can be.

Whoever may change the installed files on purpose may change this check as well: it finds what was changed by accident, in part, or
unnoticed. Files of libraries are compared with their records when the site accepts a version, which takes up to a minute, and not
at each start.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Final

from federation.errors import CodeRefusedError

PACKAGES: Final = ("aggregator", "conf", "experiments", "federation", "site_client")
"""All that one wheel installs."""
OWN: Final = "cohortium"
ROOT: Final = Path(__file__).resolve().parent.parent
_SUFFIXES: Final = (*all_suffixes(), ".yaml", ".yml", ".json", ".csv", ".html", ".css")
_CACHE: Final = "__pycache__"
"""Compiled files in here are not hashed, since they come and go: they are not run either (:mod:`site_client.source_only`)."""
_LARGEST_BYTES: Final = 4 * 1024 * 1024
_MOST_NAMED: Final = 3
_LIBRARY_HOMES: Final = ("site-packages", "dist-packages")
_INSTALLERS_OWN: Final = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "RECORD", "RECORD.jws")
_REMEDY: Final = (
    "if this is an upgrade that was meant, read its change log and accept it: `cohortium site accept-code`; if not, install the "
    "old version again"
)


@dataclass(frozen=True)
class Installed:
    """Hashes of what is installed.

    Args:
        files: SHA-256 of each file of our own, by its path from the root of the packages.
        libraries: SHA-256 of each library's record, by the library's name.
    """

    files: Mapping[str, str]
    libraries: Mapping[str, str]

    @property
    def code(self) -> str:
        """One SHA-256 over all files of our own."""
        return _over(self.files)

    @property
    def lock(self) -> str:
        """One SHA-256 over all records of libraries."""
        return _over(self.libraries)


def installed_code(root: Path = ROOT) -> Installed:
    """What is installed.

    Args:
        root: The folder that holds our packages.
    """
    return Installed(installed_files(root), installed_libraries())


def installed_files(root: Path = ROOT) -> dict[str, str]:
    """SHA-256 of every file of our packages that can be run or that steers what runs; links are followed by nobody and refused.

    Raises:
        CodeRefusedError: If a file is a symbolic link, or cannot be read.
    """
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if _CACHE in path.parts or not path.name.endswith(_SUFFIXES) or path.is_dir():
                continue
            name = path.relative_to(root).as_posix()
            if path.is_symlink():
                raise _refused(f"expected files of our own, got a symbolic link: {name}", "installed_code")
            found[name] = _hash_of(path)
    return found


def installed_libraries() -> dict[str, str]:
    """SHA-256 of the record of every library that Python can find here: versions, and the hash of each file."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions(path=_library_folders()):
        name = normal_name(distribution.name or "")
        if name and name != OWN and name not in found:  # the first on the path is the one that is imported
            lines = record_lines(distribution)
            found[name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found


def normal_name(name: str) -> str:
    """A library's name as everybody spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def record_lines(distribution: metadata.Distribution) -> list[str]:
    """What a record says of a library itself, in order: neither scripts, which name a folder, nor what its installer adds."""
    text = distribution.read_text("RECORD") or ""
    kept = sorted(line for line in text.splitlines() if ",sha256=" in line and not line.startswith(("..", "/")))
    kept = [line for line in kept if not line.split(",")[0].endswith(_INSTALLERS_OWN)]
    return kept or [f"{distribution.name}=={distribution.version}"]


def changed_library_files(names: Mapping[str, str]) -> Iterator[str]:
    """Files of libraries that are not what the libraries' own records say; reads all of them, which takes seconds.

    Args:
        names: Of the libraries to look at, normal.
    """
    for distribution in metadata.distributions(path=_library_folders()):
        if normal_name(distribution.name or "") not in names:
            continue
        for name, value, *_ in csv.reader(record_lines(distribution)):
            path, expected = Path(str(distribution.locate_file(name))), value.removeprefix("sha256=")
            if not path.is_file() or _encoded(path) != expected:
                yield name


def differences(accepted: Installed, found: Installed, *, shared_only: bool = False) -> tuple[str, ...]:
    """Names of files and libraries that are not as accepted, absent or too many; of files first.

    Args:
        accepted: What the site's paper says.
        found: What is installed.
        shared_only: Look only at libraries that are in both: the gateway may be installed with others than the agent.
    """
    files = [name for name in {*accepted.files, *found.files} if accepted.files.get(name) != found.files.get(name)]
    names = {*accepted.libraries} & {*found.libraries} if shared_only else {*accepted.libraries, *found.libraries}
    libraries = [name for name in names if accepted.libraries.get(name) != found.libraries.get(name)]
    return (*sorted(files), *(f"library {name}" for name in sorted(libraries)))


def read_accepted(path: Path) -> Installed | None:
    """What the paper says; ``None`` if there is none. The signature is not looked at here.

    Raises:
        CodeRefusedError: If it is no such paper.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise _refused(
            f"expected to read {path}, got {failure.strerror or type(failure).__name__}", "paper"
        ) from failure
    try:
        data = json.loads(content[:_LARGEST_BYTES])["acceptance"]
        return Installed(dict(data["files"]), dict(data["libraries"]))
    except (ValueError, KeyError, TypeError, RecursionError) as failure:
        raise _refused(
            f"expected in {path} the code that this site has accepted, got something else", "paper"
        ) from failure


def check_installed(path: Path, *, root: Path = ROOT, shared_only: bool = False, is_needed: bool = False) -> Installed:
    """Compare what is installed with the site's paper.

    Args:
        path: The paper.
        root: The folder that holds our packages.
        shared_only: As in :func:`differences`.
        is_needed: Refuse if there is no paper. Before the first approval there is none.

    Returns:
        What is installed.

    Raises:
        CodeRefusedError: If it is not what was accepted. ``facts["differ"]`` names what.
    """
    found, accepted = installed_code(root), read_accepted(path)
    if accepted is None and is_needed:
        raise _refused(
            "expected installed code that this site has accepted, it has accepted none yet", "paper", found=found
        )
    names = () if accepted is None else differences(accepted, found, shared_only=shared_only)
    if names:
        named = ", ".join(names[:_MOST_NAMED]) + (
            f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        )
        reason = "installed_libraries" if names[0].startswith("library ") else "installed_code"
        raise _refused(
            f"expected the code that this site has accepted, got another: {named}", reason, found=found, names=names
        )
    return found


def _library_folders() -> list[str]:
    """Where Python looks for libraries. Folders inside a library, as Ray adds when it is imported, are its own record's matter."""
    homes = [Path(entry).resolve() for entry in sys.path if Path(entry).name in _LIBRARY_HOMES]

    def is_inside(entry: str) -> bool:
        path = Path(entry).resolve()
        return any(path != home and path.is_relative_to(home) for home in homes)

    return [entry for entry in sys.path if not is_inside(entry)]


def _refused(
    message: str, reason: str, *, found: Installed | None = None, names: tuple[str, ...] = ()
) -> CodeRefusedError:
    hashes = {} if found is None else {"code": found.code, "libraries": found.lock}
    return CodeRefusedError(message, remedy=_REMEDY, reason=reason, differ=names, hashes=hashes)


def _over(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name}\0{value}\n" for name, value in sorted(hashes.items())).encode()).hexdigest()


def _hash_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as failure:
        reason = failure.strerror or type(failure).__name__
        raise _refused(f"expected to read {path.name}, got {reason}", "installed_code") from failure


def _encoded(path: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
