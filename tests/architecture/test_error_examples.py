"""The example on an error's page is what an error of that class said in the test that the page names."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from federation import errors
from federation.errors import CohortiumError
from tests.architecture.error_pages import NEVER_RAISED, Example, example_of
from tests.architecture.error_recorder import VARIABLE
from tests.architecture.named_tests import exists
from tests.architecture.source_tree import ROOT

CLASSES = [
    kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CohortiumError) and name not in NEVER_RAISED
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_page_shows_an_example_and_names_a_test_that_exists(kind: type[CohortiumError]) -> None:
    example = example_of(kind)
    assert example is not None
    assert exists(example.test)
    assert len(example.text.replace("…", "")) > 20, "an example says something"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_examples_are_what_was_said(tmp_path: Path) -> None:
    examples = {kind.__name__: example for kind in CLASSES if (example := example_of(kind)) is not None}
    path = tmp_path / "said.jsonl"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.architecture.error_recorder",
        "-p",
        "no:cacheprovider",
    ]
    result = subprocess.run(
        [*command, *sorted({example.test for example in examples.values()})],
        cwd=ROOT, env=os.environ | {VARIABLE: str(path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    said = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [name for name, example in examples.items() if not _was_said(name, example, said)] == []


def _was_said(name: str, example: Example, said: list[dict[str, str]]) -> bool:
    return any(
        entry["error"] == name and entry["test"].partition("[")[0] == example.test and example.is_of(entry["text"])
        for entry in said
    )


def test_an_example_that_nobody_said_is_noticed() -> None:
    said = [{"error": "QuorumError", "test": "tests/a.py::test_b[1]", "text": "expected 3 sites, got 2\n  → wait"}]
    assert _was_said("QuorumError", Example("expected … sites, got 2\n  → wait", "tests/a.py::test_b"), said)
    for name, text, test in (
        ("QuorumError", "expected … sites, got 1\n  → wait", "tests/a.py::test_b"),
        ("QuorumError", "expected … sites, got 2", "tests/a.py::test_b"),
        ("QuorumError", "expected … sites, got 2\n  → wait", "tests/a.py::test_c"),
        ("StudyError", "expected … sites, got 2\n  → wait", "tests/a.py::test_b"),
    ):
        assert not _was_said(name, Example(text, test), said)
