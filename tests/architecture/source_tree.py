"""The project's own files, parsed once: what the architecture tests look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("federation", "conf", "site_client", "aggregator", "experiments")


@dataclass(frozen=True)
class Module:
    """One Python file of the packages."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def label(self) -> str:
        """Its path from the repository's root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def name(self) -> str:
        """Its import name."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def calls(self) -> Iterator[tuple[str, int]]:
        """Dotted name and line of every call, import aliases resolved as far as the file itself tells."""
        aliases = _aliases(self.tree)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                name = dotted(node.func)
                first, _, rest = name.partition(".")
                resolved = aliases.get(first, first)
                yield (f"{resolved}.{rest}" if rest else resolved), node.lineno


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a name or attribute; an attribute of anything else is ``?.name``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def _aliases(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                if item.asname:
                    names[item.asname] = item.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for item in node.names:
                names[item.asname or item.name] = f"{node.module}.{item.name}"
    return names


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file of the five packages."""
    found: list[Module] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(Module(path=path, text=text, tree=ast.parse(text, filename=str(path))))
    return tuple(found)


@cache
def files_of_tests() -> tuple[Path, ...]:
    """Every Python file below ``tests``."""
    return tuple(sorted((ROOT / "tests").rglob("*.py")))


@cache
def pages() -> tuple[Path, ...]:
    """Every Markdown page of the repository that a reader is meant to find."""
    own = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    inside = [page for package in PACKAGES for page in (ROOT / package).rglob("*.md")]
    return tuple(sorted([*own, *inside]))
