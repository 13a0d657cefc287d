"""Reading a study manifest from a file a person wrote (YAML or JSON) or that was sealed.

A document that will be signed must have one reading: a key that is written twice is refused, and YAML's old habit of
reading ``1e-5`` as text is not followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from federation.errors import ManifestError
from federation.study.manifest import StudyManifest, read_sealed

LARGEST_FILE: Final = 16 * 2**20
"""Bytes. A manifest is a page or two; a file beyond this is something else."""


@dataclass(frozen=True)
class ManifestFile:
    """A manifest and how it came.

    Args:
        manifest: Valid, and untampered if sealed.
        sealed: Whether the file carried a digest.
    """

    manifest: StudyManifest
    sealed: bool


def read_manifest_file(path: Path) -> ManifestFile:
    """Read and validate a manifest file.

    Args:
        path: YAML or JSON, plain or sealed.

    Raises:
        ManifestError: If the file is missing, unreadable or invalid; names path, value and fix.
        TamperedManifestError: If it is sealed and the digest does not match.
    """
    text = _read_text(path)
    data = _parse(text, path)
    if isinstance(data, dict) and set(data) == {"digest", "manifest"}:
        return ManifestFile(manifest=read_sealed(json.dumps(data, default=str)), sealed=True)
    if not isinstance(data, dict):
        raise ManifestError(
            f"expected a mapping of manifest keys in {path}, got {type(data).__name__}",
            remedy="see `cohortium study schema` for the keys",
        )
    return ManifestFile(manifest=StudyManifest.from_data(data), sealed=False)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ManifestError(
                f"expected a manifest of at most {LARGEST_FILE} bytes, got {path} with {path.stat().st_size}",
                remedy="give the manifest's own file",
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as failure:
        raise ManifestError(
            f"expected {path} to be UTF-8 text, got a byte that is not at position {failure.start}",
            remedy="save the file as UTF-8",
        ) from failure
    except OSError as failure:
        raise ManifestError(
            f"expected a manifest file at {path}, got: {failure.strerror}", remedy="check the path"
        ) from failure


def _parse(text: str, path: Path) -> object:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError):
            pass  # YAML may begin with a brace too, and says in which line it is wrong
    try:
        return _StrictLoader(text).get_single_data()
    except yaml.MarkedYAMLError as failure:
        line = failure.problem_mark.line + 1 if failure.problem_mark else 0
        raise ManifestError(
            f"expected YAML or JSON in {path}, got an error in line {line}: {failure.problem}",
            remedy="correct that line",
        ) from failure
    except (yaml.YAMLError, RecursionError) as failure:
        raise ManifestError(
            f"expected YAML or JSON in {path}, got text that does not parse", remedy="check the file's content"
        ) from failure


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ManifestError(f"expected every key once, got {repeated} twice", remedy="keep one of them")
    return dict(pairs)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without repeated keys and aliases (which can unfold to gigabytes), and with the numbers of YAML 1.2."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases are not used in a manifest", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the parent's
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {name!r} is written twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
