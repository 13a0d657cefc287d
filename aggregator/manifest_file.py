"""Reading a study manifest from a file a person wrote (YAML or JSON) or that was sealed.

A document that will be signed must have one reading: see :mod:`conf.strict_yaml`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from conf.strict_yaml import read_strict
from federation.errors import ManifestError
from federation.study.manifest import StudyManifest, read_sealed


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
    data = read_strict(path, what="a manifest", error=ManifestError)
    if isinstance(data, dict) and set(data) == {"digest", "manifest"}:
        return ManifestFile(manifest=read_sealed(json.dumps(data, default=str)), sealed=True)
    if not isinstance(data, dict):
        raise ManifestError(
            f"expected a mapping of manifest keys in {path}, got {type(data).__name__}",
            remedy="see `cohortium study schema` for the keys",
        )
    return ManifestFile(manifest=StudyManifest.from_data(data), sealed=False)
