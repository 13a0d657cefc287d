"""Tests that a page names: do they exist?"""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.architecture.source_tree import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")


@cache
def tests_of(file: str) -> frozenset[str]:
    """Names of the test functions of a file, found by parsing it; none if there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=file)
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def exists(test: str) -> bool:
    """Whether ``tests/path.py::test_name`` is a test."""
    file, _, name = test.partition("::")
    return name in tests_of(file)
