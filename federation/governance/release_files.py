"""Which files a release may have, and how long they may be."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from federation.errors import ReleaseRefusedError
from federation.statistics.result import StudyAnalysis
from federation.study.model_file import LARGEST_MODEL

LARGEST_STATISTICS: Final = 2**28
"""Of one analysis: an association study has a row for each variant."""
STATISTICS: Final = re.compile(r"statistics/([a-z][a-z0-9_]{0,63})\.json")
"""Exact statistics lie in a folder of their own."""
_LARGEST_TEXT: Final = 2**26
_MODELS: Final = frozenset({"model.safetensors", "model.onnx"})
_TEXTS: Final = frozenset({"model_card.md", "privacy_statement.json", "manifest.json", "audit.json"})


def _check_file_name(name: str) -> str:
    known = _MODELS | _TEXTS
    if name not in known and not STATISTICS.fullmatch(name):
        raise ValueError(f"expected one of {sorted(known)} or statistics/NAME.json, got {name[:80]!r}")
    return name


FileName = Annotated[str, AfterValidator(_check_file_name)]
"""A released file."""
REQUIRED: Final[tuple[FileName, ...]] = (
    "model.safetensors", "model.onnx", "model_card.md", "privacy_statement.json", "manifest.json",
)  # fmt: skip


def largest_bytes(name: FileName) -> int:
    """Bytes that a released file may have."""
    if STATISTICS.fullmatch(name):
        return LARGEST_STATISTICS
    return LARGEST_MODEL if name in _MODELS else _LARGEST_TEXT


def statistics_file(name: str) -> FileName:
    """Where an analysis of that name is, in a study's folder and in a release.

    >>> statistics_file("deaths")
    'statistics/deaths.json'
    """
    return f"statistics/{name}.json"


def read_analysis(content: bytes) -> StudyAnalysis:
    """An analysis from the bytes of its file.

    Raises:
        ReleaseRefusedError: If they are something else.
    """
    return StudyAnalysis.from_json(content, error=ReleaseRefusedError)
