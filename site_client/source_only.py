"""Our own modules are run from the sources that were hashed, never from compiled files beside them.

Python runs ``__pycache__/NAME.pyc`` in place of ``NAME.py`` if the two agree about a time and a length, whatever is in it. Here our
packages are compiled anew when they are imported (about a second for an agent), and each source must have the hash that was
checked: nothing can be put in its place between the check and the import. What this process has imported before is compared with
what its source compiles to. Compiled files of libraries are not looked at.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from federation.errors import CodeRefusedError
from site_client.installed_code import PACKAGES, ROOT

_REMEDY: Final = (
    "stop the site, delete the folders __pycache__ of the installation, and start again; then find out who wrote them"
)


class _Loader(SourceFileLoader):
    """Compiles a source that has the expected hash."""

    def __init__(self, name: str, path: str, expected: str | None) -> None:
        super().__init__(name, path)
        self._expected = expected

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        content = self.get_data(path)
        if hashlib.sha256(content).hexdigest() != self._expected:
            raise _refused(f"expected module {fullname} as it was when this process looked, got another")
        return self.source_to_code(content, path)


class _Finder:
    """Finds our own modules below one folder."""

    def __init__(self, files: Mapping[str, str], root: Path) -> None:
        self._files, self._root = files, root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return found
        name = _name(Path(found.origin), self._root)
        if not isinstance(found.loader, SourceFileLoader) or name is None:
            raise _refused(f"expected the source of module {fullname} among our own packages, got another file")
        found.loader, found.cached = _Loader(fullname, found.origin, self._files.get(name)), None
        return found


def run_sources_only(files: Mapping[str, str], *, root: Path = ROOT) -> None:
    """From now on import our own modules from the sources with these hashes.

    Args:
        files: SHA-256 by path from ``root``.
        root: The folder that holds our packages.

    Raises:
        CodeRefusedError: If a module that was imported already is not below ``root``, or was not compiled from its source.
    """
    specs = [module.__spec__ for module in list(sys.modules.values()) if getattr(module, "__spec__", None) is not None]
    for spec in specs:
        if spec is not None and spec.name.partition(".")[0] in PACKAGES:
            _check_imported(spec, files, root)
    sys.meta_path.insert(0, _Finder(files, root))


def _check_imported(spec: ModuleSpec, files: Mapping[str, str], root: Path) -> None:
    if spec.origin is None:
        return
    origin = Path(spec.origin)
    name = _name(origin, root)
    content = origin.read_bytes() if name is not None else b""
    if name is None or hashlib.sha256(content).hexdigest() != files.get(name):
        raise _refused(f"expected module {spec.name} as it was when this process looked, got another")
    # Python's own loader says what it runs: the compiled file beside the source, if it takes it for one of that source.
    loader = SourceFileLoader(spec.name, spec.origin)
    if loader.get_code(spec.name) != loader.source_to_code(content, spec.origin):
        raise _refused(f"expected the compiled file of module {spec.name} to be of its source, it is not")


def _name(path: Path, root: Path) -> str | None:
    return path.resolve().relative_to(root).as_posix() if path.resolve().is_relative_to(root) else None


def _refused(message: str) -> CodeRefusedError:
    return CodeRefusedError(message, remedy=_REMEDY, reason="installed_code", differ=(), hashes={})
